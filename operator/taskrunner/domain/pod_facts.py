"""What all pods of one attempt say together: the facts that an outcome is made from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from taskrunner.domain.pod_problems import Notice, Waiting, problem_of, refusal_of
from taskrunner.domain.pods import Container, Pod, Progress

_DETAIL_CHARACTERS: Final = 300


@dataclass(frozen=True, slots=True)
class PodFacts:
    """What is known of an attempt from its pods."""

    exit_code: int | None = None
    """Of the container that decided; None while none has ended, or when none ever ran."""
    reason: str = ""
    """Why it ended, in Kubernetes' words: Completed, Error, OOMKilled, Evicted, …"""
    detail: str = ""
    """The same as part of a sentence: `container main exited with code 3 (Error): no disk`."""
    result: str = ""
    problem: Waiting | None = None
    """Why it does not get on."""
    created: int | None = None
    """When the first pod was created."""
    running_since: int | None = None
    """When the first container started; stays when it has ended."""
    running: bool = False
    """A container of it runs, or has run."""
    up: bool = False
    """A pod runs now."""
    disrupted: bool = False
    """The deciding pod was ended by the cluster (eviction, preemption, a lost node) and not by what
    ran in it: its condition DisruptionTarget (KEP-3329)."""
    progress: Progress | None = None
    pods_left: int = 0
    """Pods that have not ended."""
    pods_over: int = 0
    asked: bool = False
    """The server itself has been asked for the pods, after the end of the Job."""

    @property
    def waiting(self) -> str:
        """Why its pod does not run, as a sentence; empty when nothing is known to be wrong."""
        return "" if self.problem is None else self.problem.message


NO_PODS: Final = PodFacts()


def facts(
    pods: Iterable[Pod],
    *,
    finished: str = "",
    job_uid: str = "",
    notices: Mapping[str, Notice] | None = None,
    asked: bool = False,
) -> PodFacts:
    """The facts of one attempt.

    `pods`: those of its Job. `finished`: the Job's Complete or Failed, or "". `notices`: what
    Warning events said, by the uid of the Job or pod that they are about. `asked`: these are all
    pods that the server has.
    """
    known = sorted(pods, key=lambda pod: (pod.created, pod.name))
    said = notices or {}
    left = [pod for pod in known if not pod.over]
    newest = known[-1] if known else None
    if left:
        staying = (pod for pod in reversed(left) if not pod.deleting)
        problem = next((w for pod in staying if (w := problem_of(pod, said.get(pod.uid)))), None)
    else:
        problem = None if finished else refusal_of(said.get(job_uid), newest)
    starts = [c.started for pod in known for c in pod.containers if c.started is not None]
    progress = next((pod.progress for pod in reversed(known) if pod.progress), None)
    over = [pod for pod in known if pod.over]
    decider = max(over, key=lambda pod: _weight(pod, finished), default=None)
    container = None if decider is None else deciding_container(decider)
    return PodFacts(
        exit_code=None if container is None else container.exit_code,
        reason=_reason(decider, container),
        detail=_detail(decider, container),
        result="" if container is None else container.result,
        problem=problem,
        created=known[0].created if known else None,
        running_since=min(starts, default=None),
        running=bool(starts),
        up=any(pod.phase == "Running" for pod in left),
        disrupted=decider is not None and decider.disrupted,
        progress=progress,
        pods_left=len(left),
        pods_over=len(over),
        asked=asked,
    )


def deciding_container(pod: Pod) -> Container | None:
    """The container that tells how a pod ended: the main one when it failed, else the one that
    failed first, else an init container that failed; the main one when none failed."""
    ended = [c for c in pod.containers if c.exit_code is not None]
    failed = [c for c in ended if c.exit_code]
    apps = [c for c in failed if not c.init]
    main = pod.containers[0] if pod.containers else None
    if main in apps:
        return main
    if apps:
        return min(apps, key=lambda c: c.finished or 0)
    if failed:
        return failed[0]
    return main if main in ended else None


def _weight(pod: Pod, finished: str) -> tuple[bool, bool, bool, int, str]:
    """The pod with the largest weight decides: one that ended as the Job did, that says how, that
    ended by itself; of these the last one. Pods that the Job controller deletes because another one
    failed end later, and by a signal."""
    as_the_job = finished == "" or (pod.phase == "Succeeded") == (finished == "Complete")
    told = pod.reason != "" or any(c.exit_code is not None for c in pod.containers)
    ended = max((c.finished for c in pod.containers if c.finished is not None), default=pod.created)
    return as_the_job, told, not pod.deleting, ended, pod.name


def _reason(pod: Pod | None, container: Container | None) -> str:
    if pod is not None and pod.reason:
        return pod.reason
    return "" if container is None else container.reason


def _detail(pod: Pod | None, container: Container | None) -> str:
    if pod is not None and pod.reason:
        said = f": {_one_line(pod.message)}" if pod.message else ""
        return f"pod {pod.name} was ended ({pod.reason}){said}"
    if container is None or not container.exit_code:
        return ""
    kind = "init container" if container.init else "container"
    if container.reason == "OOMKilled":
        return (
            f"{kind} {container.name} was killed, because it used more memory than its limit "
            f"allows (OOMKilled, exit code {container.exit_code}); raise its "
            "resources.limits.memory, or have it use less"
        )
    why = f" ({container.reason})" if container.reason else ""
    text = f"{kind} {container.name} exited with code {container.exit_code}{why}"
    said = _one_line(container.result)
    return f"{text}: {said}" if said else text


def _one_line(text: str) -> str:
    """The first line that says something, of a length that fits into a message."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= _DETAIL_CHARACTERS else line[: _DETAIL_CHARACTERS - 1] + "…"
