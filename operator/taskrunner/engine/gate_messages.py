"""What the gate says to people, with the remedy."""

from __future__ import annotations

from typing import Final

FORBIDDEN: Final = (
    "Another run of the task is active and concurrencyPolicy is Forbid; wait for it to end and"
    " create the execution again, or set concurrencyPolicy to Allow."
)
CIRCUIT_OPEN: Final = (
    "The last {failures} runs of the task failed (circuitBreaker). Find the cause, then run the"
    " task by hand: a success closes the circuit."
)
QUEUE_FULL: Final = "{ahead} runs of the task wait already, and queue.maxLength is {most}."
QUEUE_TIMED_OUT: Final = "No place became free within queue.timeoutSeconds ({seconds} s)."
REPLACE_BLOCKED: Final = (
    "The pods of {names} are not gone after {seconds} s (pendingTimeoutSeconds). Look what keeps"
    " them: a long grace period, a finalizer, or a node that does not answer."
)
REPLACING: Final = "It replaces {names}, and waits until the pods of that are gone."
TASK_BUSY: Final = (
    "It waits for another run of the task to end: {held} of at most {most} are active"
    " (concurrencyPolicy, maxConcurrent)."
)
QUEUE_BUSY: Final = (
    'It waits for a place in TaskQueue "{queue}": {held} of at most {most} are active'
    " (maxConcurrent)."
)
QUEUE_PACED: Final = (
    'It waits for TaskQueue "{queue}": {most} runs have started within the last minute'
    " (startsPerMinute)."
)
QUEUE_MISSING: Final = (
    'There is no TaskQueue "{queue}" in namespace "{namespace}". Runs wait until there is one, or'
    " until the task names another (spec.queue.name)."
)
NO_PLACE: Final = (
    "It waits for a place: {held} of at most {most} executions are active"
    " (SCHEDULER_MAX_CONCURRENT_EXECUTIONS)."
)
REPLACED: Final = 'A newer run, "{name}", took its place: concurrencyPolicy is Replace.'
