-- Health of a Calendar for Argo CD: Lua 5.1, without its standard library.
-- A Calendar is data: once the API server has taken it, its tasks say whether they can use it.
return {status = "Healthy", message = "Tasks that name it are planned with it."}
