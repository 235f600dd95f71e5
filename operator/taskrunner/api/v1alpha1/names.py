"""Names on the wire: the API group, its kinds, and the label and annotation keys we own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

GROUP: Final = "taskrunner.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"

MANAGER: Final = "taskrunner"
"""Value of `app.kubernetes.io/managed-by`, and the field manager of all that we write."""

LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
LABEL_TASK: Final = f"{GROUP}/task"
LABEL_EXECUTION: Final = f"{GROUP}/execution"
LABEL_SHARD: Final = f"{GROUP}/shard"
"""On what the fence guards, executions and Jobs: the shard whose holder created it."""
ANNOTATION_WRITER_EPOCH: Final = f"{GROUP}/writer-epoch"
"""On Jobs, as `spec.writer.epoch` of executions: the epoch in which it was created."""
LABEL_BACKFILL: Final = f"{GROUP}/backfill"
"""On a run that a Backfill has asked for: the name of that."""
LABEL_PAUSED: Final = f"{GROUP}/paused"
"""On a Namespace: no task in it starts runs while the label is there."""
LABEL_KUEUE_QUEUE: Final = "kueue.x-k8s.io/queue-name"
"""Of Kueue, on a Job: the queue that starts it."""
ANNOTATION_KUEUE_QUEUE: Final = f"{GROUP}/kueue-queue"
"""On a Job that we have halted: the queue that it was in, so that the next attempt goes there."""
LABEL_REDRIVEN_BY: Final = f"{GROUP}/redriven-by"
"""On a dead letter: the execution that has run it again, written by `taskrunner redrive`."""
ANNOTATION_REQUESTED_BY: Final = f"{GROUP}/requested-by"
"""On a ScheduledTask: who asked for it, stamped at admission. The one annotation of ours."""

ANNOTATION_PROGRESS: Final = f"{GROUP}/progress"
"""On a pod or Job of a run, written by the run itself: how far it is, such as "40 Copying"."""

TASK_NAME_MAX: Final = 52
"""As CronJob: 63 characters of a label value, less `-` and the ten digits of a slot."""
EXECUTION_NAME_MAX: Final = 60
"""63 characters of a Job name, less `-` and two digits of the attempt."""
SLOT_PATTERN: Final = "-[0-9]{10}(-[0-9a-f]{4})?$"
"""How the names of scheduled executions end: the slot's epoch, and a hash of its schedule."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of the API group under all the names that Kubernetes knows it by."""

    kind: str
    plural: str
    singular: str
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ("taskrunner",)

    @property
    def crd_name(self) -> str:
        """Name of the CustomResourceDefinition: `<plural>.<group>`."""
        return f"{self.plural}.{GROUP}"


# `all` holds what CronJob's `all` holds: the task. Its executions are reached through it.
SCHEDULED_TASK: Final = Resource(
    "ScheduledTask", "scheduledtasks", "scheduledtask", ("stask",), ("taskrunner", "all")
)
TASK_EXECUTION: Final = Resource("TaskExecution", "taskexecutions", "taskexecution", ("texec",))
BACKFILL: Final = Resource("Backfill", "backfills", "backfill", ("tbf",))
CALENDAR: Final = Resource("Calendar", "calendars", "calendar", ("tcal",))
TASK_QUEUE: Final = Resource("TaskQueue", "taskqueues", "taskqueue", ("tqueue",))
SHARD: Final = Resource("Shard", "shards", "shard", ("tshard",))


def shard_object(shard: str) -> str:
    """Name of a shard's Lease and of its Shard, both in the operator's namespace."""
    return f"taskrunner-shard-{shard}"
