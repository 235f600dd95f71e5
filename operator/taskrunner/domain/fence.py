"""The fence, as far as it can be decided without asking anybody (docs/adr/0006).

Each term of holding a shard has an epoch, `<identity>/<number>`. What the operator creates carries
the epoch of its writer, and the API server refuses every epoch but the one in the Shard.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from taskrunner.api.v1alpha1 import names

Obj = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes, as the fence sees it."""

    shard: str
    epoch: str

    def to_wire(self) -> dict[str, str]:
        """As `spec.writer` of a TaskExecution."""
        return {"shard": self.shard, "epoch": self.epoch}


def epoch_text(identity: str, number: int) -> str:
    """`<identity>/<number>`. An identity is a pod's name and some digits: no slash is in it, and
    one that is given all the same would be refused by the definition of Shard."""
    return f"{identity}/{number}"


def raised(present: Mapping[str, Any] | None, identity: str, at_least: int, shards: int) -> Obj:
    """The spec of a Shard whose turn it is now, following the spec that is there (None: none).

    The number only grows. `at_least` keeps it so when the Shard was deleted and made again: it is
    more than the number of the Lease's terms so far, and than every number that this process has
    had. Where Lease and Shard were deleted both, the identity makes the epoch unique.
    """
    number = max(int(present["number"]) + 1 if present else 1, at_least)
    return {
        "epoch": epoch_text(identity, number),
        "number": number,
        "shards": shards,
        "released": False,
    }


@dataclass(frozen=True, slots=True)
class Number:
    """Into how many shards the namespaces are divided, as Shard 0 says."""

    shards: int
    closing: int = 0
    """Shards below this one may have epochs from before the number changed: nobody may begin."""

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> Number:
        """What the spec of Shard 0 says."""
        return cls(int(spec["shards"]), int(spec.get("closing") or 0))

    @property
    def leases(self) -> int:
        """Shards below this one may have holders."""
        return max(self.shards, self.closing)


def follows_release(present: Mapping[str, Any] | None) -> bool:
    """Whether nothing of the epoch before can be under way any more, so that there is nothing to
    wait for. That of a Shard which is not there, nobody knows."""
    return bool(present and present.get("released"))


def signed(body: Obj, writer: Writer) -> Obj:
    """An execution or a Job with what the fence looks at; ours wins over what a template says."""
    metadata = body["metadata"]
    labels = {**(metadata.get("labels") or {}), names.LABEL_SHARD: writer.shard}
    found = {**body, "metadata": {**metadata, "labels": labels}}
    if body["kind"] == names.TASK_EXECUTION.kind:
        return {**found, "spec": {**body["spec"], "writer": writer.to_wire()}}
    annotations = metadata.get("annotations") or {}
    found["metadata"]["annotations"] = {
        **annotations,
        names.ANNOTATION_WRITER_EPOCH: writer.epoch,
    }
    return found


# --- is it there? --------------------------------------------------------------------------------

Standing = Literal["Active", "Missing", "Closed", "Unknown"]
"""What trying the fence has shown: it refuses the others and lets us in; it lets everybody in; it
refuses us, too; or somebody else's refusal hides it."""


@dataclass(frozen=True, slots=True)
class Tried:
    """The answer to one dry run."""

    accepted: bool
    by_fence: bool = False
    """If refused: by the fence, rather than by something else."""
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """What the fence does, with a sentence for people."""

    standing: Standing
    message: str


def judge(ours: Tried, stale: Mapping[str, Tried]) -> Finding:
    """What follows from a dry run with our own epoch and one of each kind with an ended one."""
    if not ours.accepted and ours.by_fence:
        return Finding(
            "Closed", f"The fence refuses the shard's own holder, too. It says: {ours.sentence}"
        )
    let_in = [kind for kind, tried in stale.items() if tried.accepted]
    if let_in:
        return Finding(
            "Missing",
            f"The API server would accept a {' and a '.join(let_in)} from a writer whose term has"
            " ended: the policy of the fence is not there, not active yet, or not for this user."
            " Install it (fence.enabled of the chart), or set SCHEDULER_FENCE_REQUIRED=false to go"
            " on without.",
        )
    hidden = [tried.sentence for tried in (ours, *stale.values()) if not _clear(tried)]
    if not any(tried.by_fence for tried in stale.values()):
        return Finding(
            "Unknown",
            "Whether the API server refuses writes of ended terms cannot be told, because something"
            f" else refuses the trial. It says: {hidden[0]}",
        )
    return Finding("Active", "The API server refuses writes of ended terms.")


def _clear(tried: Tried) -> bool:
    return tried.accepted or tried.by_fence


def probes(namespace: str) -> tuple[Obj, Obj]:
    """An execution and a Job for dry runs, valid but for their writer, which is to be signed."""
    labels = {names.LABEL_EXECUTION: PROBE, names.LABEL_MANAGED_BY: names.MANAGER}
    metadata = {"name": PROBE, "namespace": namespace, "labels": labels}
    execution = {
        "apiVersion": names.API_VERSION,
        "kind": names.TASK_EXECUTION.kind,
        "metadata": metadata,
        "spec": {
            "taskRef": {"name": "fence-probe"},
            "type": "Scheduled",
            "decision": {"type": "Skip", "reason": "Suspended", "message": "Only a dry run."},
            "scheduledTime": "1970-01-01T00:00:00Z",
        },
    }
    pod = {
        "restartPolicy": "Never",
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "probe",
                "image": "taskrunner.dev/none",
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                },
            }
        ],
    }
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {"suspend": True, "template": {"spec": pod}},
    }
    return execution, job


PROBE = "fence-probe-0000000000"
