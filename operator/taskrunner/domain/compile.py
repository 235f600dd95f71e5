"""From a ScheduledTask to what the engine keeps of it, or an error that names every bad field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import orjson

from taskrunner.api.v1alpha1.names import ANNOTATION_REQUESTED_BY
from taskrunner.api.v1alpha1.scheduled_task import (
    CatchUpPolicy,
    ConcurrencyPolicy,
    RetryPolicy,
    Schedule,
    ScheduledTask,
    ScheduledTaskSpec,
)
from taskrunner.domain.calendar import CalendarUse, CompiledCalendar
from taskrunner.domain.calendar_days import to_local
from taskrunner.domain.circuit import CircuitRule, circuit_rule
from taskrunner.domain.compile_limits import most_at_once, too_much
from taskrunner.domain.cron import CronError, cron_timeline
from taskrunner.domain.hashing import stable_hash
from taskrunner.domain.naming import schedule_part
from taskrunner.domain.overlap import PlaceRule, place_rule
from taskrunner.domain.parameters import Parameters, compile_parameters, schedule_problems
from taskrunner.domain.retry import RetryRule
from taskrunner.domain.timeline import (
    DstPolicy,
    IntervalTimeline,
    Timeline,
    once,
    once_local,
)
from taskrunner.domain.zones import EARLIEST, Zone, ZoneError, load_zone
from taskrunner.errors import Problem, SpecError

BY_HAND: Final = "by hand"
"""Summary of a task without schedules."""

_TIMING: Final = frozenset(
    {"schedule", "time_zone", "schedules", "dst", "start_time", "end_time", "jitter_seconds",
     "calendars"}
)  # fmt: skip
"""The fields that decide when slots are due. catchUp and maxExecutions decide what happens to a
slot, suspend whether; a change of them is no change of the plan."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One schedule of a task."""

    name: str
    """Empty for the single `spec.schedule`."""
    text: str
    """The schedule as people read it: the cron text, "every 900 s", "at …"."""
    field: str
    """Where it is in the spec, e.g. `spec.schedules[1].cron`."""
    timeline: Timeline
    zone: Zone
    zone_field: str
    """Where the zone is in the spec."""
    arguments: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CatchUpRule:
    """What happens to slots that were not decided in time."""

    policy: CatchUpPolicy
    window: int | None
    """Seconds; None for no bound but the deadline."""
    limit: int
    """Most runs at once under All."""


@dataclass(frozen=True, slots=True)
class CompiledTask:
    """A task ready to plan and run; no model objects are kept. Instants are UTC seconds."""

    key: str
    """namespace/name: the same for a task that is created again, so that jitter and H stay."""
    namespace: str
    name: str
    uid: str
    generation: int
    created: int
    """creationTimestamp: no slot at or before it. 0 for a task that is only previewed."""
    labels: Mapping[str, str]
    """Labels of the task, for those that the operator is told to copy."""
    plan_hash: str
    """Over all that decides when slots are due, calendars' content included, suspend excluded."""
    summary: str
    """The schedules in one line, for the Schedule column."""
    entries: tuple[Entry, ...]
    classes: tuple[int, ...]
    """Per entry: the index of the first entry with equal arguments. Coinciding slots of one class
    are one run."""
    timelines: tuple[tuple[Timeline, tuple[int, ...]], ...]
    """Those of the entries, each once with the indexes of the entries that follow it."""
    calendars: tuple[CalendarUse, ...]
    calendar_names: frozenset[str]
    """Calendars whose change re-plans this task."""
    start: int
    """startTime, or the beginning of time."""
    first: int
    """No slot before: startTime, and the second after `created`."""
    end: int | None
    """No slot from here on."""
    jitter: int
    """Most seconds of jitter; 0 for none."""
    suspended: bool
    starting_deadline: int | None
    concurrency_policy: ConcurrencyPolicy
    places: PlaceRule
    circuit_breaker: CircuitRule | None
    successful_history_limit: int
    failed_history_limit: int
    catch_up: CatchUpRule
    max_executions: int | None
    ttl: int | None
    """Seconds that executions are kept after they ended; None for no limit but the history's."""
    job_ttl: int | None
    """The same for their Jobs, from the template's `ttlSecondsAfterFinished`."""
    timeout: int | None
    """Seconds for one attempt."""
    pending_timeout: int | None
    """Seconds until a pod of an attempt must run."""
    retry: RetryRule
    default_retries: bool
    """The task does not say how often to retry: the operator's default holds."""
    parameters: Parameters
    """What arguments its runs take."""
    requested_by: str
    """Who asked for what the task does now, as stamped at admission; empty when nobody knows."""
    job_template: bytes
    """spec.jobTemplate as JSON."""
    left_out: frozenset[str] = frozenset()
    """Names of the slots that somebody has asked to skip: not of the spec, but of the executions
    that say so (`domain.skipping`)."""

    @property
    def moves_back(self) -> bool:
        """Whether a slot may be due before its nominal time."""
        return any(use.action == "PreviousBusinessDay" for use in self.calendars)

    @property
    def moves_by_days(self) -> bool:
        """Whether calendars move slots to business days."""
        return any(use.moves_by_days for use in self.calendars)


def compile_task(task: ScheduledTask, calendars: Mapping[str, CompiledCalendar]) -> CompiledTask:
    """Compile a task; `calendars` are those of its namespace, by name.

    Raises SpecError with every problem found.
    """
    meta, spec = task.metadata, task.spec
    namespace = meta.namespace or "default"
    key = f"{namespace}/{meta.name}"
    created = _seconds(meta.creation_timestamp) if meta.creation_timestamp else EARLIEST
    problems = list(task.problems())
    entries = tuple(_entries(spec, key, problems))
    uses = tuple(_calendar_uses(spec, namespace, calendars, problems))
    parameters, wrong = compile_parameters(spec.parameters, spec.job_template)
    problems += wrong or schedule_problems(spec, parameters)
    if not problems:
        problems += _name_clashes(entries)
        timelines = [entry.timeline for entry in entries]
        problems += too_much(spec, uses, timelines, created)
    if problems:
        raise SpecError(*problems)
    start = _seconds(spec.start_time) if spec.start_time else EARLIEST
    return CompiledTask(
        key=key,
        namespace=namespace,
        name=meta.name,
        uid=meta.uid,
        generation=meta.generation,
        created=created,
        labels=dict(meta.labels),
        plan_hash=_plan_hash(spec, uses),
        summary=_summary(entries),
        entries=entries,
        classes=_classes(entries),
        timelines=_timelines(entries),
        calendars=uses,
        calendar_names=frozenset(ref.name for ref in spec.calendars),
        start=start,
        first=max(created + 1, start),
        end=_seconds(spec.end_time) if spec.end_time else None,
        jitter=spec.jitter_seconds,
        suspended=spec.suspend,
        starting_deadline=spec.starting_deadline_seconds,
        concurrency_policy=spec.concurrency_policy,
        places=place_rule(spec),
        circuit_breaker=circuit_rule(spec.circuit_breaker),
        successful_history_limit=spec.successful_jobs_history_limit,
        failed_history_limit=spec.failed_jobs_history_limit,
        catch_up=CatchUpRule(
            spec.catch_up.policy,
            spec.catch_up.window_seconds,
            most_at_once(uses) if spec.catch_up.limit is None else spec.catch_up.limit,
        ),
        max_executions=spec.max_executions,
        ttl=spec.ttl_seconds_after_finished,
        job_ttl=_job_ttl(spec),
        timeout=spec.timeout_seconds,
        pending_timeout=spec.pending_timeout_seconds,
        retry=_retry_rule(spec.retry_policy),
        default_retries=spec.retry_policy is None or spec.retry_policy.max_retries is None,
        parameters=parameters,
        requested_by=meta.annotations.get(ANNOTATION_REQUESTED_BY, "")[:1024],
        job_template=orjson.dumps(spec.job_template),
    )


def _retry_rule(policy: RetryPolicy | None) -> RetryRule:
    given = policy or RetryPolicy()
    return RetryRule(
        max_retries=given.max_retries or 0,
        initial_delay=given.initial_delay_seconds,
        multiplier=given.backoff_multiplier,
        max_delay=given.max_delay_seconds,
        jitter_percent=given.jitter_percent,
        retry_on=tuple(given.retry_on_exit_codes),
        fail_on=tuple(given.fail_on_exit_codes),
    )


def _job_ttl(spec: ScheduledTaskSpec) -> int | None:
    """Of a template that nobody has checked yet: the server refuses what is no number, when asked
    for a Job."""
    template = spec.job_template.get("spec")
    found = template.get("ttlSecondsAfterFinished") if isinstance(template, dict) else None
    return found if isinstance(found, int) else None


def _entries(spec: ScheduledTaskSpec, key: str, problems: list[Problem]) -> Iterator[Entry]:
    dst = DstPolicy(spec.dst.gap, spec.dst.overlap)
    default = spec.time_zone or "UTC"
    default_zone = _zone(default, "spec.timeZone", problems)
    if spec.schedule is not None:
        field = "spec.schedule"
        timeline = _cron(spec.schedule, field, default_zone, dst, key, problems)
        if timeline and default_zone:
            text = spec.schedule.strip()
            yield Entry("", text, field, timeline, default_zone, "spec.timeZone", {})
    for position, schedule in enumerate(spec.schedules):
        path = f"spec.schedules[{position}]"
        zone, zone_field = default_zone, "spec.timeZone"
        if schedule.time_zone is not None:
            zone_field = f"{path}.timeZone"
            zone = _zone(schedule.time_zone, zone_field, problems)
        found = _timeline(schedule, path, zone, dst, key, problems)
        if found and zone:
            kind, text, timeline = found
            yield Entry(
                schedule.name,
                text,
                f"{path}.{kind}",
                timeline,
                zone,
                zone_field,
                dict(schedule.arguments),
            )


def _timeline(
    schedule: Schedule,
    path: str,
    zone: Zone | None,
    dst: DstPolicy,
    key: str,
    problems: list[Problem],
) -> tuple[str, str, Timeline] | None:
    """The kind, text and timeline of an entry; None when a problem was found."""
    if schedule.cron is not None:
        timeline = _cron(schedule.cron, f"{path}.cron", zone, dst, key, problems)
        return ("cron", schedule.cron.strip(), timeline) if timeline else None
    if schedule.every_seconds is not None:
        every = schedule.every_seconds
        anchor = _seconds(schedule.anchor) if schedule.anchor else EARLIEST
        return "everySeconds", f"every {every} s", IntervalTimeline(every, anchor)
    if schedule.at is not None:
        return "at", f"at {schedule.at.isoformat()}", once(_seconds(schedule.at))
    if schedule.at_local is not None and zone is not None:
        local = schedule.at_local
        return "atLocal", f"at {local.isoformat()}", once_local(to_local(local), zone, dst)
    return None


def _cron(
    text: str,
    field: str,
    zone: Zone | None,
    dst: DstPolicy,
    key: str,
    problems: list[Problem],
) -> Timeline | None:
    try:
        # A bad zone is told already; the expression is checked all the same.
        return cron_timeline(text, zone=zone.name if zone else "UTC", dst=dst, hash_key=key)
    except CronError as error:
        problems.append(Problem(field, error.value, error.message, error.remedy))
        return None


def _zone(name: str, field: str, problems: list[Problem]) -> Zone | None:
    try:
        return load_zone(name)
    except ZoneError as error:
        problems.append(Problem(field, error.value, error.message, error.remedy))
        return None


def _calendar_uses(
    spec: ScheduledTaskSpec,
    namespace: str,
    calendars: Mapping[str, CompiledCalendar],
    problems: list[Problem],
) -> Iterator[CalendarUse]:
    for position, ref in enumerate(spec.calendars):
        calendar = calendars.get(ref.name)
        if calendar is not None:
            yield CalendarUse(calendar, ref.on_excluded)
            continue
        problems.append(
            Problem(
                f"spec.calendars[{position}].name",
                ref.name,
                f'There is no usable Calendar of this name in the namespace "{namespace}".',
                "Create it, look at its Ready condition, or remove the entry.",
            )
        )


def _name_clashes(entries: tuple[Entry, ...]) -> Iterator[Problem]:
    """Four hex digits tell schedules with arguments apart in names; one chance in 65,536 a pair."""
    taken: dict[str, str] = {}
    for position, entry in enumerate(entries):
        if not entry.arguments:
            continue
        other = taken.setdefault(schedule_part(entry.name), entry.name)
        if other != entry.name:
            yield Problem(
                f"spec.schedules[{position}].name",
                entry.name,
                f'Executions of "{entry.name}" and "{other}" would get the same names.',
                "Rename one of the two.",
            )


def _classes(entries: tuple[Entry, ...]) -> tuple[int, ...]:
    arguments = [entry.arguments for entry in entries]
    return tuple(arguments.index(entry.arguments) for entry in entries)


def _timelines(entries: tuple[Entry, ...]) -> tuple[tuple[Timeline, tuple[int, ...]], ...]:
    found: dict[Timeline, tuple[int, ...]] = {}
    for index, entry in enumerate(entries):
        found[entry.timeline] = (*found.get(entry.timeline, ()), index)
    return tuple(found.items())


def _summary(entries: tuple[Entry, ...]) -> str:
    texts = [entry.name or entry.text for entry in entries]
    if len(texts) <= 2:
        return ", ".join(texts) or BY_HAND
    return f"{texts[0]}, {texts[1]} and {len(texts) - 2} more"


def _plan_hash(spec: ScheduledTaskSpec, uses: tuple[CalendarUse, ...]) -> str:
    timing = spec.model_dump_json(include=set(_TIMING), by_alias=True, exclude_none=True)
    contents = (use.calendar.content for use in uses)
    return f"{stable_hash('plan', timing, *contents):016x}"


def _seconds(moment: datetime) -> int:
    """Creation times and times in specs are whole seconds; a fraction would be cut off."""
    return int(moment.timestamp() // 1)
