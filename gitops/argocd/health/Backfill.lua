-- Health of a Backfill for Argo CD: Lua 5.1, without its standard library.
-- Progressing until every slot has ended; Degraded when it cannot go on, or when a run failed.
local health = {status = "Progressing", message = "Waiting for the operator."}
local status = obj.status
if status == nil or status.conditions == nil then
  return health
end
local conditions = {}
for _, condition in ipairs(status.conditions) do
  conditions[condition.type] = condition
end
local stalled = conditions.Stalled
if stalled ~= nil and stalled.status == "True" then
  health.status = "Degraded"
  health.message = stalled.message
  return health
end
local complete = conditions.Complete
if complete == nil or complete.status ~= "True" then
  if conditions.Ready ~= nil then
    health.message = conditions.Ready.message
  end
  return health
end
health.message = complete.message
health.status = "Healthy"
if (status.failed or 0) > 0 then
  health.status = "Degraded"
end
return health
