"""What `taskrunner doctor` looks at while the operator runs: who acts, clocks, lag, tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from taskrunner.cli.checks import DEPLOYMENTS, LABEL, Check, Checks, Level
from taskrunner.cli.cluster import place_of, status_of
from taskrunner.cli.shared import Session
from taskrunner.cli.times import instant, length
from taskrunner.errors import NotFound
from taskrunner.ports import LEASES, SCHEDULED_TASKS, SHARDS, TASK_EXECUTIONS, Obj

MOST_SKEW: Final = 2.0
"""Seconds that clocks may differ; the operator stops at the same."""
SLOW_MILLISECONDS: Final = 1_000
LATE_SECONDS: Final = 60


async def operator(session: Session) -> Checks:
    """The Deployments of the chart."""
    found = await session.api.list(DEPLOYMENTS, label_selector=LABEL)
    if not found:
        text = "No Deployment of the chart is there; a replica may run elsewhere."
        yield Check("pods", "warn", text, "Install the chart, or start `taskrunner operator`.")
    for deployment in found:
        namespace, name = place_of(deployment)
        wanted = deployment["spec"].get("replicas", 1)
        ready = status_of(deployment).get("readyReplicas", 0)
        text = f"{namespace}/{name}: {ready} of {wanted} pods are ready."
        level: Level = "ok" if ready >= wanted else "warn" if ready else "FAIL"
        remedy = f"kubectl describe pods -n {namespace}; kubectl logs -n {namespace} deploy/{name}"
        yield Check("pods", level, text, "" if level == "ok" else f"Look: {remedy}")


async def shards(session: Session, now: float) -> Checks:
    """Who acts: the Leases, the fence, and the lag."""
    found = await session.api.list(SHARDS)
    if not found:
        yield Check(
            "shards", "FAIL", "There is no Shard: no operator has acted here yet.",
            "Start the operator; its log says what it waits for.",
        )  # fmt: skip
    for shard in found:
        namespace, name = place_of(shard)
        status, about = status_of(shard), f"shard {namespace}/{name}"
        try:
            lease = (await session.api.get(LEASES, namespace, name))["spec"]
        except NotFound:
            lease = {}
        yield _lease(about, lease, now)
        fenced = next((c for c in status.get("conditions") or () if c["type"] == "Fenced"), None)
        if fenced is not None and fenced["status"] != "True":
            level: Level = "FAIL" if fenced["status"] == "False" else "warn"
            yield Check(about, level, fenced["message"], "See docs/explanation/fence.md.")
        elif fenced is not None:
            yield Check(about, "ok", "The API server refuses writes of ended terms.")
        lag = status.get("lagMilliseconds")
        if lag is not None:
            slow = lag > SLOW_MILLISECONDS
            text = (
                f"Runs started at most {lag} ms after they were due, {status.get('tasks')} tasks."
            )
            remedy = (
                "Look at the load of the API server and the CPU of the operator." if slow else ""
            )
            yield Check(about, "warn" if slow else "ok", text, remedy)


def _lease(about: str, lease: Mapping[str, Any], now: float) -> Check:
    holder, renewed = lease.get("holderIdentity"), instant(lease.get("renewTime"))
    if not holder or renewed is None:
        remedy = "Look at the operator's pods and their logs."
        return Check(about, "FAIL", "Nobody holds its Lease: nothing starts.", remedy)
    age, valid = now - renewed, lease.get("leaseDurationSeconds", 15)
    if age > valid:
        text = f"{holder} renewed its Lease {length(age)} ago, and it is valid for {valid} s."
        return Check(
            about, "FAIL", text, "Nobody acts: look at the operator's pods and their logs."
        )
    return Check(about, "ok", f"{holder} holds the Lease, renewed {length(age)} ago.")


async def tasks(session: Session, now: float) -> Checks:
    """Tasks that cannot be followed, are overdue, or have left dead letters."""
    from taskrunner.api.v1alpha1.reasons import ExecutionReason

    found = await session.api.list(SCHEDULED_TASKS)
    broken, late = [], []
    for task in found:
        name, status = "/".join(place_of(task)), status_of(task)
        conditions: Sequence[Obj] = status.get("conditions") or ()
        ready: Obj = next((c for c in conditions if c["type"] == "Ready"), {})
        if ready.get("status") == "False":
            broken.append(name)
        held = task["spec"].get("suspend") or ready.get("reason") == "Paused"
        due = instant(status.get("nextRunTime"))
        if due is not None and due + LATE_SECONDS < now and not held:
            late.append(name)
    yield _some("tasks", f"{len(found)} tasks", broken, "cannot be followed", "FAIL",
                "kubectl describe stask says why.")  # fmt: skip
    yield _some("tasks", "No task", late, "should have run", "FAIL",
                "Look at the Leases and the operator's log.")  # fmt: skip
    field = f"status.reason={ExecutionReason.RETRIES_EXHAUSTED}"
    dead = await session.api.list(TASK_EXECUTIONS, field_selector=field)
    names = ["/".join(place_of(one)) for one in dead]
    yield _some("dead letters", "No run", names, "have exhausted their retries", "warn",
                "Mend the cause, then: taskrunner redrive.")  # fmt: skip


def _some(about: str, none: str, names: list[str], what: str, level: Level, remedy: str) -> Check:
    if not names:
        return Check(about, "ok", f"{none}: none {what}." if none[0].isdigit() else f"None {what}.")
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return Check(about, level, f"{len(names)} {what}: {shown}.", remedy)


async def clock(session: Session) -> Checks:
    """This machine's clock against that of the API server."""
    skew = session.skew()
    if skew is None:
        yield Check("clock", "warn", "The API server did not tell its time.", "Try again.")
    elif abs(skew) > MOST_SKEW:
        text = f"This machine's clock is {abs(skew):.1f} s {'ahead' if skew > 0 else 'behind'}."
        yield Check("clock", "warn", text, "Set it (NTP). Replicas with such a clock do not act.")
    else:
        yield Check(
            "clock", "ok", f"This machine and the API server agree within {MOST_SKEW:.0f} s."
        )
