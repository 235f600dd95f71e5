-- Health of a TaskQueue for Argo CD: Lua 5.1, without its standard library.
-- A TaskQueue is data, as a Calendar is: how long its line is does not make it ill.
return {status = "Healthy", message = "Tasks that name it share its limits."}
