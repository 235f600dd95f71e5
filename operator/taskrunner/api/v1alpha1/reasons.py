"""The one list of reasons: why an execution is in its phase, and why a condition holds.

`kubectl get texec --field-selector status.reason=…` finds executions by them, so a reason keeps its
name and meaning. What only people need is in the message beside it.
"""

from __future__ import annotations

from enum import StrEnum


class ExecutionReason(StrEnum):
    """Why an execution is in its phase (`status.reason`), or was decided so (`spec.decision`)."""

    # Run
    ON_SCHEDULE = "OnSchedule"
    CATCH_UP = "CatchUp"
    REQUESTED = "Requested"

    # Pending and Running
    WAITING_UNTIL_DUE = "WaitingUntilDue"
    PAUSED = "Paused"
    """The namespace or the operator is paused: nothing starts."""
    JOB_CREATED = "JobCreated"
    JOB_REJECTED = "JobRejected"
    """The API server refused the Job: the message has its words."""
    QUOTA_EXCEEDED = "QuotaExceeded"
    POD_PENDING = "PodPending"
    POD_REJECTED = "PodRejected"
    """The Job is there, but its pod was refused: the message has the words of who refused it."""
    UNSCHEDULABLE = "Unschedulable"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    INVALID_IMAGE_NAME = "InvalidImageName"
    CREATE_CONTAINER_CONFIG_ERROR = "CreateContainerConfigError"
    """A ConfigMap, Secret or key that the container needs is missing."""
    CREATE_CONTAINER_ERROR = "CreateContainerError"
    FAILED_MOUNT = "FailedMount"
    CRASH_LOOP_BACK_OFF = "CrashLoopBackOff"

    # Queued
    WAITING_FOR_PLACE = "WaitingForPlace"
    """As many runs are active as the operator may have at once. Waiting for runs of its own task
    has the reason ConcurrentRun."""

    WAITING_FOR_QUEUE = "WaitingForQueue"
    """The task's TaskQueue lets no more of its runs start now."""
    QUEUE_NOT_FOUND = "QueueNotFound"
    """There is no TaskQueue of the name that the task gives."""
    WAITING_FOR_KUEUE = "WaitingForKueue"
    """Its Job is there, suspended, for Kueue or whoever else starts suspended Jobs."""

    # Succeeded
    JOB_COMPLETE = "JobComplete"

    # Failed
    JOB_FAILED = "JobFailed"
    JOB_DELETED = "JobDeleted"
    NAME_COLLISION = "NameCollision"
    TASK_NOT_FOUND = "TaskNotFound"
    INVALID_SPEC = "InvalidSpec"
    INVALID_ARGUMENTS = "InvalidArguments"
    """They do not fit the parameters of the task as it is now."""
    RETRIES_EXHAUSTED = "RetriesExhausted"
    TIMED_OUT = "TimedOut"
    PENDING_TIMED_OUT = "PendingTimedOut"
    REPLACE_BLOCKED = "ReplaceBlocked"

    # Cancelled
    TASK_DELETED = "TaskDeleted"
    BACKFILL_DELETED = "BackfillDeleted"
    """The Backfill that asked for it was deleted before it started."""
    STOPPED = "Stopped"
    NOT_A_SLOT = "NotASlot"
    """Somebody asked to skip a time at which nothing is due: nothing is skipped."""
    REPLACED = "Replaced"

    # Skipped
    CONCURRENT_RUN = "ConcurrentRun"
    EXCLUDED_BY_CALENDAR = "ExcludedByCalendar"
    COALESCED = "Coalesced"
    SUSPENDED = "Suspended"
    QUEUE_FULL = "QueueFull"
    QUEUE_TIMED_OUT = "QueueTimedOut"
    CIRCUIT_OPEN = "CircuitOpen"

    # Missed
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    CATCH_UP_WINDOW = "CatchUpWindow"
    """Older than `catchUp.windowSeconds`."""
    CATCH_UP_POLICY = "CatchUpPolicy"
    """`catchUp.policy` None, or more slots than `catchUp.limit`."""
    SUPERSEDED = "Superseded"
    """`catchUp.policy` Last: a later slot runs instead."""
    PLAN_CHANGED = "PlanChanged"


class TaskConditionType(StrEnum):
    """The conditions of a ScheduledTask."""

    READY = "Ready"
    COMPLETED = "Completed"
    CIRCUIT_OPEN = "CircuitOpen"
    OVERDUE = "Overdue"


class ExecutionConditionType(StrEnum):
    """The conditions of a TaskExecution: a Job's, so that `kubectl wait` and kstatus know them."""

    COMPLETE = "Complete"
    FAILED = "Failed"


class BackfillConditionType(StrEnum):
    """The conditions of a Backfill. Reconciling and Stalled are those of kstatus:
    https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md"""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    COMPLETE = "Complete"


class BackfillReason(StrEnum):
    """Why a condition of a Backfill holds or does not."""

    IN_PROGRESS = "InProgress"
    WAITING = "Waiting"
    DONE = "Done"
    NOTHING_TO_RUN = "NothingToRun"
    TASK_NOT_FOUND = "TaskNotFound"
    TASK_REPLACED = "TaskReplaced"
    INVALID_SPEC = "InvalidSpec"
    NO_SCHEDULE = "NoSchedule"
    TOO_MANY_SLOTS = "TooManySlots"
    PLAN_CHANGED = "PlanChanged"


class LeftOutReason(StrEnum):
    """Why nothing is run of a part of a backfill's range."""

    NOT_DECIDED = "NotDecided"
    """The schedule has yet to decide these slots."""
    BEFORE_TASK = "BeforeTask"
    PLAN_CHANGED = "PlanChanged"
    FORGOTTEN = "Forgotten"
    """More was missed since than a task remembers."""
    AMBIGUOUS = "Ambiguous"
    """Some of these slots were missed, but not which."""
    OTHER_BACKFILL = "OtherBackfill"


class TaskReason(StrEnum):
    """Why a condition of a ScheduledTask holds or does not."""

    PLANNED = "Planned"
    INVALID_SPEC = "InvalidSpec"
    CALENDAR_NOT_FOUND = "CalendarNotFound"
    QUEUE_NOT_FOUND = "QueueNotFound"
    CLOCK_BEHIND_WATERMARK = "ClockBehindWatermark"
    SUSPENDED = "Suspended"
    PAUSED = "Paused"
    NO_SCHEDULE = "NoSchedule"
    SLOTS_TO_COME = "SlotsToCome"
    END_TIME_REACHED = "EndTimeReached"
    MAX_EXECUTIONS_REACHED = "MaxExecutionsReached"
    NO_SLOT_TO_COME = "NoSlotToCome"
    ON_TIME = "OnTime"
    SLOT_OVERDUE = "SlotOverdue"
    FAILURE_THRESHOLD_REACHED = "FailureThresholdReached"
    RUN_SUCCEEDED = "RunSucceeded"
    NO_CIRCUIT_BREAKER = "NoCircuitBreaker"
