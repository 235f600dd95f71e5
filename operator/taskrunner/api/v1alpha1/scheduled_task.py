"""ScheduledTask: what to run and when. Every valid CronJob spec is a valid spec of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from taskrunner.api.v1alpha1.common import (
    REQUIRED_BY_RULE,
    STORED,
    Arguments,
    Conditions,
    Cron,
    Instant,
    Items,
    Label,
    LocalTime,
    ObjectMeta,
    Rule,
    SpecModel,
    StatusModel,
    WholeSecond,
    ZoneName,
    format_time,
    keyed,
    repeated,
    wrong,
)
from taskrunner.api.v1alpha1.names import TASK_NAME_MAX
from taskrunner.api.v1alpha1.parameters import Parameter
from taskrunner.errors import Problem

ConcurrencyPolicy = Literal["Allow", "Forbid", "Replace", "Queue"]
GapPolicy = Literal["RunAfter", "Skip"]
OverlapPolicy = Literal["First", "Second", "Both"]
OnExcluded = Literal["Skip", "Defer", "NextBusinessDay", "PreviousBusinessDay"]
CatchUpPolicy = Literal["None", "Last", "All"]

ExitCode = Annotated[int, Field(ge=1, le=255)]
"""How a container ends that fails."""

_DAY = 86_400
_YEAR = 366 * _DAY
_INT32 = 2**31 - 1
_JOB_TEMPLATE_EXAMPLE = {
    "spec": {
        "template": {
            "spec": {
                "restartPolicy": "Never",
                "containers": [{"name": "main", "image": "busybox"}],
            }
        }
    }
}


def _check_job_template(value: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(value.get("spec"), dict):
        raise wrong(
            "The template of the Job has no spec.",
            "Write the spec of the Job under jobTemplate.spec, as in a CronJob.",
        )
    return value


JobTemplate = Annotated[
    dict[str, Any],
    AfterValidator(_check_job_template),
    WithJsonSchema(
        {
            "type": "object",
            "required": ["spec"],
            "properties": {
                "metadata": {
                    "type": "object",
                    "description": "Labels and annotations of the Jobs.",
                    "x-kubernetes-preserve-unknown-fields": True,
                },
                "spec": {
                    "type": "object",
                    "description": "Spec of the Jobs; see `kubectl explain job.spec`.",
                    "x-kubernetes-preserve-unknown-fields": True,
                },
            },
        }
    ),
]
"""A batch/v1 JobTemplateSpec, kept as given: the API server checks it when the Job is made."""


class Schedule(SpecModel):
    """One entry of `schedules`: exactly one of cron, everySeconds, at and atLocal."""

    rules: ClassVar = (
        Rule(
            "[has(self.cron), has(self.everySeconds), has(self.at), has(self.atLocal)]"
            ".filter(given, given).size() == 1",
            "set exactly one of cron, everySeconds, at and atLocal",
        ),
        Rule(
            "!has(self.anchor) || has(self.everySeconds)",
            "anchor belongs to everySeconds; set everySeconds or remove anchor",
            "anchor",
        ),
    )

    name: Label = Field(
        description="Name of the entry, unique in the list: lower-case letters, digits and"
        " hyphens. Executions, previews and metrics show it.",
        examples=["weekdays"],
    )
    cron: Cron | None = Field(
        None,
        description='Cron expression: minute, hour, day of month, month, day of week, as in "30 2 *'
        ' * MON-FRI". A sixth field in front gives seconds. Also L, W, #, H and macros such as'
        " @daily.",
        examples=["30 2 * * MON-FRI"],
    )
    every_seconds: int | None = Field(
        None,
        ge=1,
        le=_YEAR,
        description="Run every so many seconds, counted from `anchor`, so that the slots do not"
        " depend on when the operator started. 1 to 31622400.",
        examples=[900],
    )
    anchor: WholeSecond | None = Field(
        None,
        description="Any one slot of `everySeconds`; the others follow from it in both directions."
        " Default: 1970-01-01T00:00:00Z, so that 3600 runs at each full hour.",
        examples=["2026-01-01T00:00:00Z"],
    )
    at: WholeSecond | None = Field(
        None,
        description="Run once, at this moment: RFC 3339 with an offset.",
        examples=["2026-12-24T18:00:00+01:00"],
    )
    at_local: LocalTime | None = Field(
        None,
        description="Run once, when clocks in the time zone show this; without an offset.",
        examples=["2026-12-24T18:00:00"],
    )
    time_zone: ZoneName | None = Field(
        None,
        description="IANA time zone of this entry. Default: `spec.timeZone`.",
        examples=["America/New_York"],
    )
    arguments: Arguments = Field(
        {},
        description="Values that each container of this entry's runs gets as environment"
        " variables; Kubernetes expands $(NAME) in command and args. Default: none.",
        examples=[{"SUITE": "full"}],
    )

    def problems(self) -> Iterator[Problem]:
        kinds = {
            "cron": self.cron,
            "everySeconds": self.every_seconds,
            "at": self.at,
            "atLocal": self.at_local,
        }
        given = [name for name, value in kinds.items() if value is not None]
        if len(given) != 1:
            found = f"{' and '.join(given)} are set together." if given else "It has no time."
            yield Problem("", "", found, "Set exactly one of cron, everySeconds, at and atLocal.")
        if self.anchor is not None and self.every_seconds is None:
            yield Problem(
                "anchor",
                format_time(self.anchor),
                "It belongs to everySeconds, which is not set.",
                "Set everySeconds or remove anchor.",
            )


class Dst(SpecModel):
    """What happens to slots when clocks are set forward (gap) or back (overlap)."""

    gap: GapPolicy = Field(
        "RunAfter",
        description="For a slot at a local time that does not exist: RunAfter runs it when the gap"
        " ends, Skip leaves it out. Default: RunAfter.",
        examples=["RunAfter"],
    )
    overlap: OverlapPolicy = Field(
        "First",
        description="For a slot at a local time that comes twice: run it the First time, the"
        " Second time, or Both times. Default: First.",
        examples=["First"],
    )


class CalendarRef(SpecModel):
    """A Calendar of the same namespace, and what happens to the slots that it excludes."""

    name: Label = Field(
        description="Name of a Calendar in this namespace.", examples=["de-holidays"]
    )
    on_excluded: OnExcluded = Field(
        "Skip",
        description="For a slot in an excluded time: Skip leaves it out, Defer runs it when the"
        " excluded time ends, NextBusinessDay and PreviousBusinessDay run it at the same local"
        " time of that day. Default: Skip.",
        examples=["Skip"],
    )


class CatchUp(SpecModel):
    """What happens to slots that were missed: the operator was down, or the task suspended or
    blocked."""

    policy: CatchUpPolicy = Field(
        "Last",
        description="None runs no missed slot, Last the latest one, All each of them up to"
        " `limit`. What does not run is recorded as missed. Default: Last, as CronJob.",
        examples=["Last"],
    )
    window_seconds: int | None = Field(
        None,
        ge=1,
        le=_YEAR,
        description="Catch up only on slots that are not older than this. 1 to 31622400. Default:"
        " no bound other than `startingDeadlineSeconds`.",
        examples=[3600],
    )
    limit: int | None = Field(
        None,
        ge=1,
        le=500,
        description="With All: run at most so many missed slots, the latest ones. 1 to 500; with"
        " several schedules at most 100, with calendars 25. Default: 100; with calendars 25.",
        examples=[10],
    )


class QueueRef(SpecModel):
    """Where runs wait when they may not start yet."""

    name: Label | None = Field(
        None,
        description="Name of a TaskQueue in this namespace, whose limits the task shares with"
        " others that name it. While there is none of the name, runs wait. Default: none.",
        examples=["load-tests"],
    )
    max_length: int | None = Field(
        None,
        ge=0,
        le=10_000,
        description="Most runs of this task that may wait; further ones are skipped with the reason"
        " QueueFull. 0 to 10000. Default: 100 with Queue, `maxConcurrent` or a TaskQueue, else no"
        " limit.",
        examples=[10],
    )
    timeout_seconds: int | None = Field(
        None,
        ge=1,
        le=_YEAR,
        description="Longest wait of a run; then it is skipped with the reason QueueTimedOut. The"
        " wait does not count against startingDeadlineSeconds. 1 to 31622400. Default: no limit.",
        examples=[3600],
    )


class RetryPolicy(SpecModel):
    """How failed attempts of a run are repeated. A retry is a Job like the one of the attempt
    before; it waits min(initialDelaySeconds × backoffMultiplier^(n-1), maxDelaySeconds), give or
    take jitterPercent."""

    max_retries: int | None = Field(
        None,
        ge=0,
        le=10,
        description="Most attempts after the first. 0 to 10. Default: what the operator is set to"
        " (SCHEDULER_DEFAULT_RETRY_COUNT, 0 unless changed).",
        examples=[3],
    )
    initial_delay_seconds: int = Field(
        10, ge=0, le=_DAY, description="Wait before the first retry. Default: 10.", examples=[10]
    )
    backoff_multiplier: int = Field(
        2, ge=1, le=10, description="Each wait is so many times the last. Default: 2.", examples=[2]
    )
    max_delay_seconds: int = Field(
        600, ge=0, le=_DAY, description="Longest wait. Default: 600.", examples=[600]
    )
    jitter_percent: int = Field(
        20,
        ge=0,
        le=100,
        description="Waits vary by so many percent, so that runs which failed together do not come"
        " back together. Default: 20.",
        examples=[20],
    )
    retry_on_exit_codes: Items[ExitCode] = Field(
        (),
        max_length=50,
        description="Retry only when the container ended with one of these. A failure without an"
        " exit code (lost node, eviction, image that cannot be pulled, time-out) is retried all the"
        " same. Default: all.",
        examples=[[75]],
    )
    fail_on_exit_codes: Items[ExitCode] = Field(
        (),
        max_length=50,
        description="Never retry when the container ended with one of these. Default: none.",
        examples=[[2]],
    )


class CircuitBreaker(SpecModel):
    """Stops starting runs of a task that keeps failing. While it is open, slots are skipped with
    the reason CircuitOpen; runs by hand start all the same. A success closes it."""

    failure_threshold: int = Field(
        5,
        ge=1,
        le=1000,
        description="Failures in a row that open it. 1 to 1000. Default: 5.",
        examples=[5],
    )
    reset_seconds: int = Field(
        1800,
        ge=1,
        le=_YEAR,
        description="When the last run failed so long ago, one run is tried. 1 to 31622400."
        " Default: 1800.",
        examples=[1800],
    )


class ScheduledTaskSpec(SpecModel):
    """What to run and when. A CronJob's spec can be used as it is."""

    rules: ClassVar = (
        Rule(
            "!has(self.schedule) || !has(self.schedules)",
            "set only one of schedule and schedules; move the expression of schedule into an entry"
            " of schedules",
            "schedules",
        ),
        Rule(
            "has(self.jobTemplate)",
            "spec needs exactly one target; set spec.jobTemplate to the template of the Job, as in"
            " a CronJob",
            "jobTemplate",
            "FieldValueRequired",
        ),
        Rule(
            "!has(self.startTime) || !has(self.endTime) || self.startTime < self.endTime",
            "endTime must be after startTime; set a later endTime or remove it",
            "endTime",
        ),
        Rule(
            "!has(self.maxConcurrent) || !has(self.concurrencyPolicy) ||"
            " self.concurrencyPolicy in ['Allow', 'Queue']",
            "maxConcurrent belongs to Allow and Queue; remove it, or set concurrencyPolicy to"
            " Queue",
            "maxConcurrent",
        ),
    )

    schedule: Cron | None = Field(
        None,
        description="When to run, in cron format: minute, hour, day of month, month, day of week,"
        ' as in "0 2 * * 1-5". A sixth field in front gives seconds; also L, W, #, H and macros'
        " such as @daily or @every 90s. Use this or `schedules`; with neither, the task runs only"
        " by hand.",
        examples=["0 2 * * 1-5"],
    )
    time_zone: ZoneName | None = Field(
        None,
        description="IANA time zone in which schedules are read, such as Europe/Berlin. Default:"
        " UTC.",
        examples=["Europe/Berlin"],
    )
    suspend: bool = Field(
        False,
        description="Start no more runs on schedule; runs that are active go on. On resume, missed"
        " slots are caught up as `catchUp` says. Default: false.",
        json_schema_extra=STORED,
        examples=[True],
    )
    starting_deadline_seconds: int | None = Field(
        None,
        ge=0,
        json_schema_extra={"format": "int64"},
        description="Start a run at most so many seconds after it was due (after jitter and"
        " deferral); later it is recorded as missed. Default: no deadline.",
        examples=[3600],
    )
    concurrency_policy: ConcurrencyPolicy = Field(
        "Allow",
        description="When a slot is due while a run of the task is active: Allow starts it beside"
        " (up to `maxConcurrent`), Forbid waits for the end and then catches up as `catchUp` says,"
        " Replace stops the active run first, Queue starts the runs one after the other. Default:"
        " Allow.",
        json_schema_extra=STORED,
        examples=["Forbid"],
    )
    successful_jobs_history_limit: int = Field(
        3,
        ge=0,
        le=_INT32,
        description="How many succeeded executions to keep, with their Jobs. Default: 3.",
        json_schema_extra=STORED,
        examples=[3],
    )
    failed_jobs_history_limit: int = Field(
        1,
        ge=0,
        le=_INT32,
        description="How many failed executions to keep, with their Jobs; those that have exhausted"
        " their retries are counted apart (SCHEDULER_DEAD_LETTER_LIMIT). Default: 1.",
        json_schema_extra=STORED,
        examples=[1],
    )
    job_template: JobTemplate = Field(
        description="Template of the Job that a run creates (batch/v1, as in a CronJob). Its"
        " content is kept as given; see `kubectl explain cronjob.spec.jobTemplate`.",
        json_schema_extra={REQUIRED_BY_RULE: True},
        examples=[_JOB_TEMPLATE_EXAMPLE],
    )

    display_name: str | None = Field(
        None,
        max_length=200,
        description="Name for people; at most 200 characters. Default: the object's name.",
        examples=["Nightly regression"],
    )
    description: str | None = Field(
        None,
        max_length=1000,
        description="What the task does, for people; at most 1000 characters.",
        examples=["Full regression on staging"],
    )
    schedules: Items[Schedule] = Field(
        (),
        max_length=50,
        description="When to run, as a list: a slot is due when any entry is. Each entry has its"
        " own name, kind, time zone and arguments. At most 50.",
        json_schema_extra=keyed("name"),
        examples=[[{"name": "smoke", "everySeconds": 900}]],
    )
    dst: Dst = Field(
        Dst(),
        description="What happens to slots when clocks are set forward or back. Default: a slot in"
        " the gap runs right after it, a slot in the overlap runs once, the first time.",
        examples=[{"gap": "Skip", "overlap": "Both"}],
    )
    start_time: WholeSecond | None = Field(
        None,
        description="No slot before this moment. Default: the creation of the task.",
        examples=["2026-09-01T00:00:00Z"],
    )
    end_time: WholeSecond | None = Field(
        None,
        description="No slot from this moment on; then the condition Completed is True. Default:"
        " none.",
        examples=["2027-01-01T00:00:00Z"],
    )
    max_executions: int | None = Field(
        None,
        ge=1,
        le=_INT32,
        description="End the schedule after so many started slots; then the condition Completed is"
        " True. Default: no limit.",
        examples=[100],
    )
    jitter_seconds: int = Field(
        0,
        ge=0,
        le=_DAY,
        description="Start each run up to so many seconds late, to spread load: the same delay on"
        " each replica, never reaching the next slot. 0 to 86400. Default: 0.",
        examples=[300],
    )
    calendars: Items[CalendarRef] = Field(
        (),
        max_length=10,
        description="Calendars that exclude times, and what happens to the slots in them. At most"
        " 10.",
        json_schema_extra=keyed("name"),
        examples=[[{"name": "de-holidays", "onExcluded": "NextBusinessDay"}]],
    )
    catch_up: CatchUp = Field(
        CatchUp(),
        description="What happens to missed slots, after downtime, suspension or a blocking run"
        " alike. Default: the latest missed slot runs, if its deadline allows.",
        examples=[{"policy": "Last", "windowSeconds": 3600}],
    )

    parameters: Items[Parameter] = Field(
        (),
        max_length=50,
        description="What arguments runs take: their types, values and defaults, and variables from"
        " Secrets and ConfigMaps. They reach each container as environment variables. At most 50."
        " Default: any argument, as text.",
        json_schema_extra=keyed("name"),
        examples=[[{"name": "SUITE", "enum": ["smoke", "full"], "default": "smoke"}]],
    )
    priority: int | None = Field(
        None,
        ge=0,
        le=1000,
        description="Larger starts first when starts are limited; a run gains 1 for every 10 s that"
        " it waits. 0 to 1000. Default: 500.",
        examples=[500],
    )
    max_concurrent: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="Most runs of the task that may be active at once, with Allow and Queue; the"
        " others wait. 1 to 10000. Default: 1 with Queue, no limit with Allow.",
        examples=[1],
    )
    queue: QueueRef | None = Field(
        None,
        description="How runs wait that may not start yet, because of concurrencyPolicy Queue,"
        " maxConcurrent, a TaskQueue, or the maximum of the operator. Default: as long as it"
        " takes.",
        examples=[{"maxLength": 10, "timeoutSeconds": 3600}],
    )
    timeout_seconds: int | None = Field(
        None,
        ge=1,
        le=_DAY,
        description="Longest time for one attempt, from the start of its Job; also set as the"
        " Job's activeDeadlineSeconds, where that is not shorter. Then the attempt fails and is"
        " retried as retryPolicy says. 1 to 86400. Default: none.",
        examples=[7200],
    )
    pending_timeout_seconds: int | None = Field(
        None,
        ge=1,
        le=_DAY,
        description="Longest time from the creation of an attempt's Job until a pod of it runs."
        " Then the attempt fails and is retried as retryPolicy says. 1 to 86400. Default: none.",
        examples=[600],
    )
    retry_policy: RetryPolicy | None = Field(
        None,
        description="How failed attempts of a run are repeated. With it, the Job's backoffLimit is"
        " 0 where the template has none.",
        examples=[{"maxRetries": 3}],
    )
    circuit_breaker: CircuitBreaker | None = Field(
        None,
        description="Stop starting runs when the task keeps failing. Default: never.",
        examples=[{"failureThreshold": 5, "resetSeconds": 1800}],
    )
    ttl_seconds_after_finished: int | None = Field(
        None,
        ge=0,
        le=_INT32,
        description="Delete executions so many seconds after they ended, also those that the"
        " history limits would keep. Default: only the history limits hold.",
        examples=[2_592_000],
    )

    def problems(self) -> Iterator[Problem]:
        if self.schedule is not None and self.schedules:
            yield Problem(
                "schedules",
                "",
                "schedule and schedules are set together.",
                "Set only one of them; move the expression of schedule into an entry of schedules.",
            )
        if self.max_concurrent is not None and self.concurrency_policy in ("Forbid", "Replace"):
            yield Problem(
                "maxConcurrent",
                str(self.max_concurrent),
                f"It belongs to Allow and Queue; with {self.concurrency_policy} one run is active.",
                "Remove it, or set concurrencyPolicy to Queue.",
            )
        for position, name in repeated(entry.name for entry in self.schedules):
            yield Problem(
                f"schedules[{position}].name",
                name,
                "Another entry has the same name.",
                "Give each entry a name of its own.",
            )
        for position, name in repeated(entry.name for entry in self.parameters):
            yield Problem(
                f"parameters[{position}].name",
                name,
                "Another parameter has the same name.",
                "Give each parameter a name of its own.",
            )
        for position, name in repeated(entry.name for entry in self.calendars):
            yield Problem(
                f"calendars[{position}].name",
                name,
                "The calendar is in the list already.",
                "Remove one of the two entries.",
            )
        if self.start_time and self.end_time and self.end_time <= self.start_time:
            yield Problem(
                "endTime",
                format_time(self.end_time),
                "It is not after startTime.",
                "Set a later endTime or remove it.",
            )


class NextRun(StatusModel):
    """One run that is to come."""

    time: Instant = Field(description="When it is due, after jitter and deferral.")
    schedule: str | None = Field(None, description="Name of the entry of `spec.schedules`.")
    note: str | None = Field(
        None, description='What moved it, e.g. "moved by the DST gap"; absent when nothing did.'
    )


class Plan(StatusModel):
    """Which timing fields the schedule is planned from, and since when."""

    hash: str = Field(description="Hash over the timing fields of the spec, without suspend.")
    since: Instant = Field(description="When the operator first saw them; slots count from here.")


class MissedRange(StatusModel):
    """Slots that were due and did not run, for one reason."""

    from_: Instant = Field(alias="from", description="The first slot.")
    to: Instant = Field(description="The last slot.")
    count: int = Field(description="How many slots.")
    reason: str = Field(description="Why, as one word.")


class ActiveExecution(StatusModel):
    """An execution that is active now."""

    name: str = Field(description="Name of the TaskExecution.")
    start_time: Instant | None = Field(None, description="When its first Job was created.")


class LastExecution(StatusModel):
    """The run that ended last, or is active."""

    name: str = Field(description="Name of the TaskExecution.")
    phase: str | None = Field(None, description="Its phase, e.g. Succeeded.")
    start_time: Instant | None = Field(None, description="When its first Job was created.")
    completion_time: Instant | None = Field(None, description="When it ended.")


class ScheduledTaskStatus(StatusModel):
    """What the operator planned and did. Written by the operator alone."""

    observed_generation: int | None = Field(
        None, description="The generation of the spec that this status was computed from."
    )
    conditions: Conditions = Field(
        (),
        description="Ready: the spec can be followed. Completed: no slot is to come. CircuitOpen:"
        " it failed too often to go on. Overdue: a slot is past due and not decided.",
    )
    decided_until: Instant | None = Field(
        None, description="Every slot that was due at or before this moment is decided."
    )
    plan: Plan | None = Field(
        None, description="Which timing fields the schedule is planned from, and since when."
    )
    next_run_time: Instant | None = Field(
        None, description="When the next run is due; absent when none is to come."
    )
    next_runs: Items[NextRun] = Field(
        (), description="The next five runs, with what jitter, calendars and DST did to them."
    )
    schedule_summary: str | None = Field(None, description="The schedules, in one line.")
    last_schedule_time: Instant | None = Field(
        None, description="The latest slot for which a run was started."
    )
    last_successful_time: Instant | None = Field(
        None, description="When a run last ended with success."
    )
    last_failure_time: Instant | None = Field(
        None, description="When a run last ended with failure."
    )
    last_missed_time: Instant | None = Field(None, description="The latest slot that was missed.")
    last_skipped_time: Instant | None = Field(None, description="The latest slot that was skipped.")
    last_update_time: Instant | None = Field(None, description="When this status was written.")
    consecutive_failures: int = Field(
        0, description="How many runs have failed since the last success."
    )
    scheduled_count: int = Field(
        0,
        description="How many slots have started a run up to `decidedUntil`; `maxExecutions`"
        " counts against it.",
        json_schema_extra={"format": "int64"},
    )
    missed_ranges: Items[MissedRange] = Field(
        (), description="The last ten ranges of slots that were missed, and why."
    )
    active_count: int = Field(0, description="How many executions are active now.")
    active: Items[ActiveExecution] = Field(
        (),
        description="The executions that are active now, the oldest first.",
        json_schema_extra=keyed("name"),
    )
    last_execution: LastExecution | None = Field(
        None,
        description="The run that ended last, and how; while none has, the one that is active.",
    )


class ScheduledTask(SpecModel):
    """A task that runs on schedule, by hand, or both. A CronJob becomes one by changing apiVersion
    and kind."""

    rules: ClassVar = (
        Rule(
            f"self.metadata.name.size() <= {TASK_NAME_MAX}",
            f"metadata.name must have at most {TASK_NAME_MAX} characters, as a CronJob's; the rest"
            " of 63 is for the suffix of each run",
            "metadata.name",
        ),
    )

    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: ScheduledTaskSpec = Field(description="What to run and when.")
    status: ScheduledTaskStatus = Field(
        ScheduledTaskStatus(), description="What the operator planned and did."
    )

    def problems(self) -> Iterator[Problem]:
        """What is wrong with the object around its spec."""
        name = self.metadata.name
        if len(name) > TASK_NAME_MAX:
            yield Problem(
                "metadata.name",
                name,
                f"The name has {len(name)} characters; at most {TASK_NAME_MAX} leave room for the"
                " suffix of each run.",
                "Choose a shorter name, and put the long one into spec.displayName.",
            )
