"""Pods of the runs that have not ended, as last seen, and what Warning events say about them.

Of 1,000 concurrent runs this is about a megabyte; what has ended is forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from taskrunner.domain.observed import Execution, Job
from taskrunner.domain.pod_facts import NO_PODS, PodFacts, facts
from taskrunner.domain.pod_problems import Notice
from taskrunner.domain.pods import Pod

_NOTICES: Final = 4_096
"""Most Jobs and pods of which a Warning is remembered."""


class Pods:
    """Pods by execution. `execution` finds an execution by its key, `namespace/name`."""

    def __init__(self, execution: Callable[[str], Execution | None]) -> None:
        self._execution = execution
        self._of: dict[str, dict[str, Pod]] = {}
        """By the execution's key, then by uid."""
        self._key_of: dict[str, str] = {}
        """The execution's key, by the uid of the pod."""
        self.notices: OrderedDict[str, Notice] = OrderedDict()
        """By the uid of the Job or pod; the oldest go first."""
        self._asked: dict[str, str] = {}
        """The uid of the Job that has ended and whose pods have been read, by the execution."""

    def __len__(self) -> int:
        return len(self._key_of)

    def __iter__(self) -> Iterator[Pod]:
        return (pod for pods in self._of.values() for pod in pods.values())

    def of(self, execution_key: str) -> list[Pod]:
        """All pods of an execution that are known, of all its attempts."""
        return list(self._of.get(execution_key, {}).values())

    def facts(self, job: Job | None) -> PodFacts:
        """What the pods of an attempt's Job say together."""
        if job is None:
            return facts(())
        mine = [p for p in self._of.get(job.execution_key, {}).values() if p.job_uid == job.uid]
        asked = self._asked.get(job.execution_key) == job.uid
        if not (mine or asked or job.progress or job.uid in self.notices):
            return NO_PODS
        found = facts(
            mine, finished=job.finished, job_uid=job.uid, notices=self.notices, asked=asked
        )
        return found if job.progress is None else replace(found, progress=job.progress)

    def put(self, pod: Pod) -> bool:
        """Note a pod unless a newer version is known; True when it says something new."""
        known = self._of.get(pod.execution_key, {}).get(pod.uid)
        if known is not None and (known.gone or known.resource_version >= pod.resource_version):
            return False
        execution = self._execution(pod.execution_key)
        if execution is None and pod.gone:
            # The last of a run that was deleted. One that is seen before its execution is kept.
            self._discard(pod)
            return False
        if execution is not None and execution.terminal:
            return False
        self._of.setdefault(pod.execution_key, {})[pod.uid] = pod
        self._key_of[pod.uid] = pod.execution_key
        return known != pod

    def asked(self, job: Job) -> None:
        """The pods of a Job that has ended have been read from the server."""
        self._asked[job.execution_key] = job.uid

    def forget(self, execution_key: str) -> None:
        """The execution has ended, or is gone."""
        self._asked.pop(execution_key, None)
        for pod in self._of.pop(execution_key, {}).values():
            self._key_of.pop(pod.uid, None)
            self.notices.pop(pod.uid, None)
            self.notices.pop(pod.job_uid, None)

    def notice(self, notice: Notice) -> None:
        """Note what an event said; of a Job or pod only the last is kept, and when it began: each
        refused pod has a name, and so an event, of its own."""
        known = self.notices.get(notice.about)
        if known is not None:
            if known.last > notice.last:
                return
            notice = replace(notice, first=min(known.first, notice.first))
        self.notices[notice.about] = notice
        self.notices.move_to_end(notice.about)
        if len(self.notices) > _NOTICES:
            self.notices.popitem(last=False)

    def execution_of(self, pod_uid: str) -> str:
        """The key of the execution that a pod belongs to; empty when the pod is not known."""
        return self._key_of.get(pod_uid, "")

    def _discard(self, pod: Pod) -> None:
        pods = self._of.get(pod.execution_key, {})
        if pods.pop(pod.uid, None) is not None:
            del self._key_of[pod.uid]
        if not pods:
            self._of.pop(pod.execution_key, None)
