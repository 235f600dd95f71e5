-- Health of a ScheduledTask for Argo CD: Lua 5.1, without its standard library.
-- Degraded when it cannot be planned, when its circuit is open, or when its last slot was missed or
-- its last run failed; Suspended while it is suspended or paused.
local health = {status = "Progressing", message = "Waiting for the operator."}
local status = obj.status
if obj.spec ~= nil and obj.spec.suspend == true then
  health.status = "Suspended"
  health.message = "Suspended: no slot starts until spec.suspend is false."
  return health
end
if status == nil or status.conditions == nil then
  return health
end
-- What the operator has not read yet says nothing about the spec that was applied.
if status.observedGeneration ~= nil and obj.metadata.generation ~= nil
    and status.observedGeneration < obj.metadata.generation then
  health.message = "Waiting for the operator to read the change."
  return health
end
local conditions = {}
for _, condition in ipairs(status.conditions) do
  conditions[condition.type] = condition
end
local ready = conditions.Ready
if ready == nil then
  return health
end
if ready.status ~= "True" then
  health.status = "Degraded"
  health.message = ready.message
  return health
end
if ready.reason == "Paused" or ready.reason == "Suspended" then
  health.status = "Suspended"
  health.message = ready.message
  return health
end
local open = conditions.CircuitOpen
if open ~= nil and open.status == "True" then
  health.status = "Degraded"
  health.message = open.message
  return health
end
-- Times are RFC 3339 in UTC, so that their order is that of the text.
local good = status.lastSuccessfulTime or ""
if status.lastFailureTime ~= nil and status.lastFailureTime > good then
  health.status = "Degraded"
  health.message = "The last run failed at " .. status.lastFailureTime .. "; "
    .. tostring(status.consecutiveFailures or 1) .. " in a row."
  return health
end
if status.lastMissedTime ~= nil and status.lastMissedTime > good
    and status.lastMissedTime > (status.lastScheduleTime or "") then
  health.status = "Degraded"
  health.message = "The slot of " .. status.lastMissedTime .. " was missed."
  return health
end
health.status = "Healthy"
health.message = ready.message
local completed = conditions.Completed
if completed ~= nil and completed.status == "True" then
  health.message = completed.message
end
return health
