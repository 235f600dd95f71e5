-- Health of a TaskExecution for Argo CD: Lua 5.1, without its standard library.
local health = {status = "Progressing", message = "Waiting for the operator."}
local status = obj.status
if status == nil or status.phase == nil then
  return health
end
local words = {
  Pending = "Progressing", Queued = "Progressing", Running = "Progressing", Retrying = "Progressing",
  Succeeded = "Healthy", Skipped = "Healthy", Cancelled = "Suspended",
  Failed = "Degraded", Missed = "Degraded",
}
health.status = words[status.phase] or "Unknown"
health.message = status.message or status.reason or status.phase
return health
