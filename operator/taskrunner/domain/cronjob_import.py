"""A CronJob as a ScheduledTask, and what would be different: what the importer prints.

Pure: objects in, objects and sentences out. Every valid CronJob spec is a valid ScheduledTask spec;
the sentences are the published list of differences, where they apply.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from taskrunner.api.v1alpha1.names import API_VERSION, SCHEDULED_TASK
from taskrunner.domain.cron_differences import GAP, OVERLAP, differences_from_cronjob
from taskrunner.domain.zones import ZoneError
from taskrunner.errors import Problem, SpecError

Json = dict[str, Any]
Level = Literal["refused", "differs", "note"]

_PREFIX: Final = re.compile(r"\s*(?:CRON_)?TZ=(\S+)\s+(.*)")
_SHORT_DEADLINE: Final = 10
_DROPPED: Final = (
    "kubectl.kubernetes.io/last-applied-configuration",
    "meta.helm.sh/release-name",
    "meta.helm.sh/release-namespace",
    "argocd.argoproj.io/tracking-id",
    "argocd.argoproj.io/instance",
    "kustomize.toolkit.fluxcd.io/name",
    "kustomize.toolkit.fluxcd.io/namespace",
    "helm.toolkit.fluxcd.io/name",
    "helm.toolkit.fluxcd.io/namespace",
    "batch.kubernetes.io/cronjob-scheduled-timestamp",
)
"""Labels and annotations with which a tool says that the object is its own."""

GENERAL: Final = (
    "Runs start within milliseconds of their slot, seconds when a thousand are due; CronJob looks"
    " every ten seconds at most, and later with many CronJobs.",
    "A TaskExecution stands between the task and its Job, and Jobs are named after it. What looks"
    " for Jobs by owner CronJob, by their names, or by kube_cronjob_… metrics is to be changed.",
    "Each slot that does not run is recorded, with the reason; history is deleted up to a minute"
    " late.",
    "After downtime or a suspension the latest missed slot runs, as with CronJob; spec.catchUp"
    " changes that. Slots of a schedule that was edited meanwhile do not count as missed.",
    "Where SCHEDULER_DEFAULT_RETRY_COUNT is not 0, failed runs are retried by taskrunner, and"
    " backoffLimit is 0 where the template has none; retryPolicy: {maxRetries: 0} prevents it.",
)
"""What holds for all that is imported."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that would not be as it was."""

    level: Level
    about: str
    text: str


@dataclass(frozen=True, slots=True)
class Imported:
    """One CronJob, as it would be here."""

    namespace: str
    name: str
    schedule: str
    zone: str
    """In which the schedule is read here."""
    task: Json
    """The ScheduledTask; not to be used when something is refused."""
    findings: tuple[Finding, ...]

    @property
    def level(self) -> Literal["refused", "differs", "same"]:
        """What the findings come to; notes change nothing."""
        levels = {finding.level for finding in self.findings}
        return "refused" if "refused" in levels else "differs" if "differs" in levels else "same"


@dataclass(frozen=True, slots=True)
class Choices:
    """How to import. `zone`: the local zone of the controller, for CronJobs that name none.
    `keep_dst`: write a `dst` that does what CronJob does. `suspend`: everything begins suspended.
    """

    zone: str = ""
    keep_dst: bool = False
    suspend: bool = False


def imported(cronjob: Mapping[str, Any], choices: Choices) -> Imported:
    """What becomes of a CronJob (batch/v1) as decoded YAML."""
    meta: Json = dict(cronjob.get("metadata") or {})
    # Null means the same as left out, in a CronJob too.
    spec: Json = {k: v for k, v in (cronjob.get("spec") or {}).items() if v is not None}
    found: list[Finding] = []
    if spec.get("concurrencyPolicy") == "":  # As templates write it; the API server reads Allow.
        del spec["concurrencyPolicy"]
    _take_zone(spec, choices, found)
    text, zone = str(spec.get("schedule", "")), str(spec.get("timeZone", "UTC"))
    _take_dst(spec, text, zone, choices, found)
    found += _about_runs(spec)
    metadata, kept_by = _metadata(meta)
    if kept_by:
        note = (
            f"It is kept by {kept_by}, whose marks are left out. Change it at its source instead."
        )
        found.append(Finding("note", "source", note))
    if choices.suspend and not spec.get("suspend"):
        spec["suspend"] = True
    task = {
        "apiVersion": API_VERSION,
        "kind": SCHEDULED_TASK.kind,
        "metadata": metadata,
        "spec": spec,
    }
    found += (Finding("refused", "spec", str(problem)) for problem in _problems(task))
    where = str(meta.get("namespace") or "default")
    return Imported(where, str(meta.get("name", "")), text, zone, task, tuple(found))


def _take_zone(spec: Json, choices: Choices, found: list[Finding]) -> None:
    """Have the zone where it belongs: in timeZone."""
    if prefix := _PREFIX.fullmatch(str(spec.get("schedule", ""))):
        spec["timeZone"], spec["schedule"] = prefix[1], prefix[2].strip()
        text = f"The zone {prefix[1]} was written in the schedule; it is in timeZone now."
        found.append(Finding("note", "time zone", text))
    if "timeZone" in spec:
        return
    if choices.zone:
        spec["timeZone"] = choices.zone
        text = f"None is given: {choices.zone} is written, as --zone says."
        found.append(Finding("note", "time zone", text))
    else:
        text = (
            "None is given: CronJob reads the schedule in the local zone of its controller, which"
            " is UTC nearly everywhere; here it is UTC. If it is another one, import with --zone."
        )
        found.append(Finding("note", "time zone", text))


def _take_dst(spec: Json, text: str, zone: str, choices: Choices, found: list[Finding]) -> None:
    try:
        sentences = differences_from_cronjob(text, zone)
    except ZoneError:
        return  # What is wrong with it, the check of the whole tells.
    dst = {"gap": "Skip", "overlap": "Both"}
    kept = [form.format(zone=zone) for form in (GAP, OVERLAP)]
    for sentence in sentences:
        if sentence.startswith("Refused"):
            continue
        if choices.keep_dst and sentence in kept:
            spec["dst"] = {**spec.get("dst", {}), **_one(dst, kept.index(sentence))}
            what = (
                "a time that is jumped over" if sentence == kept[0] else "a time that comes twice"
            )
            text = f"spec.dst is written so that {what} does what it does with CronJob."
            found.append(Finding("note", "DST", text))
        else:
            about = "DST" if sentence in kept else "schedule"
            found.append(Finding("differs", about, sentence))


def _one(fields: Mapping[str, str], index: int) -> Json:
    name = list(fields)[index]
    return {name: fields[name]}


def _about_runs(spec: Json) -> Iterator[Finding]:
    deadline = spec.get("startingDeadlineSeconds")
    if isinstance(deadline, int) and deadline < _SHORT_DEADLINE:
        yield Finding(
            "differs",
            "missed runs",
            f"startingDeadlineSeconds is {deadline}: CronJob looks every ten seconds and may never"
            " start such a run; here it starts when it is due.",
        )
    if spec.get("concurrencyPolicy") == "Replace":
        yield Finding(
            "differs",
            "concurrency",
            "Replace: CronJob deletes the old Job and starts the new one at once, so that pods of"
            " both may run; here the new run waits until the pods of the old one are gone, and the"
            " old one is kept as Cancelled.",
        )
    template = (spec.get("jobTemplate") or {}).get("spec") or {}
    if template.get("ttlSecondsAfterFinished") is not None:
        yield Finding(
            "differs",
            "Job TTL",
            f"ttlSecondsAfterFinished is {template['ttlSecondsAfterFinished']}: taskrunner applies"
            " it itself, after the outcome is recorded; the TaskExecution stays as the history"
            " limits say.",
        )
    if 0 in (spec.get("successfulJobsHistoryLimit"), spec.get("failedJobsHistoryLimit")):
        yield Finding(
            "note",
            "history",
            "A history limit is 0: the executions of such runs are deleted with their Jobs, so"
            " `taskrunner history` does not show them.",
        )
    if spec.get("suspend"):
        yield Finding("note", "suspend", "It is suspended, and stays so.")


def _metadata(meta: Json) -> tuple[Json, str]:
    """The metadata to keep, and which tool keeps the CronJob."""
    kept: Json = {"name": meta.get("name", "")}
    if meta.get("namespace"):
        kept["namespace"] = meta["namespace"]
    tools: list[str] = []
    for part in ("labels", "annotations"):
        entries = {str(key): value for key, value in (meta.get(part) or {}).items()}
        for key in list(entries):
            helm = key == "app.kubernetes.io/managed-by" and entries[key] == "Helm"
            if helm or key in _DROPPED:
                tools += [_tool(key)]
                del entries[key]
        if entries:
            kept[part] = entries
    if meta.get("ownerReferences"):
        tools.append(str(meta["ownerReferences"][0].get("kind", "its owner")))
    return kept, " and ".join(dict.fromkeys(tool for tool in tools if tool))


def _tool(key: str) -> str:
    if "helm.sh" in key or key == "app.kubernetes.io/managed-by":
        return "Helm"
    if "argocd" in key:
        return "Argo CD"
    return "Flux" if "fluxcd" in key else ""


def _problems(task: Json) -> tuple[Problem, ...]:
    """What admission would say about it."""
    from taskrunner.api.v1alpha1.parse import parse_scheduled_task
    from taskrunner.domain.compile import compile_task

    metadata = {"namespace": "default", **task["metadata"]}
    try:
        compile_task(parse_scheduled_task({**task, "metadata": metadata}), {})
    except SpecError as error:
        return error.problems
    return ()
