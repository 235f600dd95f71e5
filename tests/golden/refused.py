"""Objects that are refused, and in which words: by `parse`, and by the API server.

One table for both, so that the two cannot drift apart: the unit tests read it, and so do the tests
on a real API server. `change` is a JSON merge patch on a good object of the kind; None removes.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

JOB_TEMPLATE: Json = {
    "spec": {
        "template": {
            "spec": {
                "restartPolicy": "Never",
                "containers": [{"name": "main", "image": "busybox:1.37"}],
            }
        }
    }
}
API_VERSION = "taskrunner.dev/v1alpha1"
GOOD: dict[str, Json] = {
    "ScheduledTask": {
        "apiVersion": API_VERSION,
        "kind": "ScheduledTask",
        "metadata": {"name": "good"},
        "spec": {"timeZone": "Europe/Berlin", "jobTemplate": JOB_TEMPLATE},
    },
    "TaskExecution": {
        "apiVersion": API_VERSION,
        "kind": "TaskExecution",
        "metadata": {"name": "good"},
        "spec": {"taskRef": {"name": "good"}, "type": "Manual"},
    },
    "TaskQueue": {
        "apiVersion": API_VERSION,
        "kind": "TaskQueue",
        "metadata": {"name": "good"},
        "spec": {"maxConcurrent": 2},
    },
    "Calendar": {
        "apiVersion": API_VERSION,
        "kind": "Calendar",
        "metadata": {"name": "good"},
        "spec": {"exclude": {"weekdays": ["Sunday"]}},
    },
    "Backfill": {
        "apiVersion": API_VERSION,
        "kind": "Backfill",
        "metadata": {"name": "good"},
        "spec": {
            "taskRef": {"name": "good"},
            "from": "2026-01-01T00:00:00Z",
            "to": "2026-02-01T00:00:00Z",
        },
    },
}


@dataclass(frozen=True)
class Refused:
    """One bad object."""

    title: str
    kind: str
    change: Json
    problems: tuple[str, ...]
    """What `parse` says: each problem in full."""
    server: tuple[str, ...]
    """What the API server's answer contains, but for the value after "Invalid value"."""
    obj: Json = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "obj", merged(GOOD[self.kind], self.change))


def merged(base: Json, change: Mapping[str, Any]) -> Json:
    """The JSON merge patch (RFC 7386) of `change` onto `base`."""
    found = deepcopy(base)
    for key, value in change.items():
        if value is None:
            found.pop(key, None)
        elif isinstance(value, dict) and isinstance(found.get(key), dict):
            found[key] = merged(found[key], value)
        else:
            found[key] = value
    return found


def task(title: str, spec: Json, problems: str | list[str], server: str | list[str]) -> Refused:
    """A bad ScheduledTask, by what is changed in its spec."""
    return _refused(title, "ScheduledTask", {"spec": spec}, problems, server)


def execution(
    title: str, spec: Json, problems: str | list[str], server: str | list[str]
) -> Refused:
    """A bad TaskExecution, by what is changed in its spec."""
    return _refused(title, "TaskExecution", {"spec": spec}, problems, server)


def calendar(title: str, spec: Json, problems: str | list[str], server: str | list[str]) -> Refused:
    """A bad Calendar, by what is changed in its spec."""
    return _refused(title, "Calendar", {"spec": spec}, problems, server)


def backfill(title: str, spec: Json, problems: str | list[str], server: str | list[str]) -> Refused:
    """A bad Backfill, by what is changed in its spec."""
    return _refused(title, "Backfill", {"spec": spec}, problems, server)


def _refused(
    title: str, kind: str, change: Json, problems: str | list[str], server: str | list[str]
) -> Refused:
    def many(texts: str | list[str]) -> tuple[str, ...]:
        return (texts,) if isinstance(texts, str) else tuple(texts)

    return Refused(title, kind, change, many(problems), many(server))


_ONE_KIND = "set exactly one of cron, everySeconds, at and atLocal"
_LABEL = (
    "This is not a valid name. Write at most 63 lower-case letters, digits and hyphens,"
    " with a letter or digit at both ends."
)
_LONG = "a" * 53
_SECRET = {"name": "ci", "key": "token"}
_SLOT = "good-1767225600"
_RESERVED = (
    "Names that end in ten digits are reserved for slots."
    " Choose another name, or write generateName: <task>- instead of name."
)

NOT_BUILT: tuple[Refused, ...] = (
    *(
        execution(
            f"type {kind}, which is not built yet",
            {"type": kind},
            f'spec.type "{kind}": {kind} is not supported by this version of taskrunner.'
            " Write Scheduled, Manual or Backfill.",
            f"spec.type: Forbidden: spec.type {kind} is not supported by this version of"
            " taskrunner; write Scheduled or Manual or Backfill",
        )
        for kind in ("Event", "Chained", "Redrive")
    ),
)

TASKS: tuple[Refused, ...] = (
    task(
        "a misspelt field",
        {"shedule": "* * * * *"},
        'spec.shedule "* * * * *": There is no such field. Did you mean schedule?',
        'unknown field "spec.shedule"',
    ),
    task(
        "a field in Python's spelling",
        {"time_zone": "UTC"},
        'spec.time_zone "UTC": There is no such field. Did you mean timeZone?',
        'unknown field "spec.time_zone"',
    ),
    task(
        "an unknown field in an entry",
        {"schedules": [{"name": "a", "everySeconds": 5, "zone": "UTC"}]},
        'spec.schedules[0].zone "UTC": There is no such field. Remove it; known are name, cron,'
        " everySeconds, anchor, at, atLocal, timeZone and arguments.",
        'unknown field "spec.schedules[0].zone"',
    ),
    task(
        "text for a number",
        {"startingDeadlineSeconds": "3600"},
        'spec.startingDeadlineSeconds "3600": This is not a whole number.'
        " Write a whole number, at least 0.",
        "spec.startingDeadlineSeconds in body must be of type integer",
    ),
    task(
        "text for a switch",
        {"suspend": "yes"},
        'spec.suspend "yes": This is not true or false. Write e.g. suspend: true.',
        "spec.suspend in body must be of type boolean",
    ),
    task(
        "a number for text",
        {"schedules": [{"name": "a", "cron": "@daily", "arguments": {"COUNT": 3}}]},
        'spec.schedules[0].arguments.COUNT "3": This is not text. Put it in quotes: "3".',
        "spec.schedules[0].arguments.COUNT in body must be of type string",
    ),
    task(
        "text for a list",
        {"schedules": "daily"},
        'spec.schedules "daily": This is not a list.'
        ' Write e.g. schedules: [{"name": "smoke", "everySeconds": 900}].',
        "spec.schedules in body must be of type array",
    ),
    task(
        "text for an object",
        {"dst": "Skip"},
        'spec.dst "Skip": This is not an object with fields.'
        ' Write e.g. dst: {"gap": "Skip", "overlap": "Both"}.',
        "spec.dst in body must be of type object",
    ),
    task(
        "a value that is not in the list of values",
        {"concurrencyPolicy": "Never"},
        'spec.concurrencyPolicy "Never": This is not one of the values that the field takes.'
        " Write Allow, Forbid, Replace or Queue.",
        'spec.concurrencyPolicy: Unsupported value: "Never"',
    ),
    task(
        "numbers out of bounds",
        {
            "failedJobsHistoryLimit": -1,
            "jitterSeconds": 86401,
            "catchUp": {"limit": 0},
            "schedules": [{"name": "a", "everySeconds": 0}],
        },
        [
            'spec.failedJobsHistoryLimit "-1": The number is less than 0.'
            " Write a whole number from 0 to 2147483647.",
            'spec.schedules[0].everySeconds "0": The number is less than 1.'
            " Write a whole number from 1 to 31622400.",
            'spec.jitterSeconds "86401": The number is more than 86400.'
            " Write a whole number from 0 to 86400.",
            'spec.catchUp.limit "0": The number is less than 1.'
            " Write a whole number from 1 to 500.",
        ],
        [
            "spec.failedJobsHistoryLimit in body should be greater than or equal to 0",
            "spec.schedules[0].everySeconds in body should be greater than or equal to 1",
            "spec.jitterSeconds in body should be less than or equal to 86400",
            "spec.catchUp.limit in body should be greater than or equal to 1",
        ],
    ),
    task(
        "texts that are too long",
        {"displayName": "x" * 201, "schedule": "* " * 129},
        [
            f'spec.schedule "{("* " * 129)[:79]}…": The text is longer than 256 characters.'
            " Write e.g. schedule: 0 2 * * 1-5.",
            f'spec.displayName "{"x" * 79}…": The text is longer than 200 characters.'
            " Write e.g. displayName: Nightly regression.",
        ],
        ["spec.schedule: Too long", "spec.displayName: Too long"],
    ),
    task(
        "schedule and schedules together",
        {"schedule": "@daily", "schedules": [{"name": "a", "everySeconds": 5}]},
        "spec.schedules: schedule and schedules are set together. Set only one of them;"
        " move the expression of schedule into an entry of schedules.",
        "spec.schedules: Invalid value: set only one of schedule and schedules; move the"
        " expression of schedule into an entry of schedules",
    ),
    task(
        "no jobTemplate",
        {"jobTemplate": None},
        "spec.jobTemplate: The field is required. Write e.g. jobTemplate: "
        '{"spec": {"template": {"spec": {"restartPolicy": "Never", "containers":'
        ' [{"name": "main", "image": "busybox"}]}}}}.',
        "spec.jobTemplate: Required value: spec needs exactly one target; set spec.jobTemplate to"
        " the template of the Job, as in a CronJob",
    ),
    task(
        "a jobTemplate without spec",
        {"jobTemplate": {"spec": None}},
        'spec.jobTemplate "{}": The template of the Job has no spec.'
        " Write the spec of the Job under jobTemplate.spec, as in a CronJob.",
        "spec.jobTemplate.spec: Required value",
    ),
    task(
        "an empty expression",
        {"schedule": ""},
        'spec.schedule: The expression is empty. Write e.g. "0 2 * * *" for 02:00 every day.',
        "spec.schedule: Invalid value: the expression is empty; write e.g."
        ' "0 2 * * *" for 02:00 every day',
    ),
    task(
        "a time zone inside the expression",
        {"schedule": "CRON_TZ=Asia/Tokyo 0 2 * * *"},
        'spec.schedule "CRON_TZ=Asia/Tokyo 0 2 * * *": A time zone inside the expression is not'
        " supported. Remove it, and write timeZone: Asia/Tokyo beside the expression.",
        "a time zone inside the expression is not supported; remove it, and write timeZone beside"
        " the expression",
    ),
    task(
        "entries with no time, and with two",
        {"schedules": [{"name": "a"}, {"name": "b", "cron": "@daily", "everySeconds": 5}]},
        [
            "spec.schedules[0]: It has no time."
            " Set exactly one of cron, everySeconds, at and atLocal.",
            "spec.schedules[1]: cron and everySeconds are set together."
            " Set exactly one of cron, everySeconds, at and atLocal.",
        ],
        [
            f"spec.schedules[0]: Invalid value: {_ONE_KIND}",
            f"spec.schedules[1]: Invalid value: {_ONE_KIND}",
        ],
    ),
    task(
        "an anchor without an interval",
        {"schedules": [{"name": "a", "cron": "@daily", "anchor": "2026-01-01T00:00:00Z"}]},
        'spec.schedules[0].anchor "2026-01-01T00:00:00Z": It belongs to everySeconds, which is not'
        " set. Set everySeconds or remove anchor.",
        "spec.schedules[0].anchor: Invalid value: anchor belongs to everySeconds; set everySeconds"
        " or remove anchor",
    ),
    task(
        "an entry without a name",
        {"schedules": [{"everySeconds": 5}]},
        "spec.schedules[0].name: The field is required. Write e.g. name: weekdays.",
        "spec.schedules[0].name: Required value",
    ),
    task(
        "an entry whose name is no label",
        {"schedules": [{"name": "Week days", "everySeconds": 5}]},
        f'spec.schedules[0].name "Week days": {_LABEL}',
        "spec.schedules[0].name in body should match",
    ),
    task(
        "two entries of one name",
        {"schedules": [{"name": "a", "everySeconds": 5}, {"name": "a", "cron": "@daily"}]},
        'spec.schedules[1].name "a": Another entry has the same name.'
        " Give each entry a name of its own.",
        "spec.schedules[1]: Duplicate value",
    ),
    task(
        "a calendar named twice",
        {"calendars": [{"name": "a"}, {"name": "a", "onExcluded": "Defer"}]},
        'spec.calendars[1].name "a": The calendar is in the list already.'
        " Remove one of the two entries.",
        "spec.calendars[1]: Duplicate value",
    ),
    task(
        "times that are none",
        {"startTime": "2026-01-01", "schedules": [{"name": "a", "at": "tomorrow"}]},
        [
            'spec.schedules[0].at "tomorrow": This is not a time with an offset from UTC.'
            ' Write RFC 3339 with an offset, e.g. "2026-12-24T18:00:00Z".',
            'spec.startTime "2026-01-01": This is not a time with an offset from UTC.'
            ' Write RFC 3339 with an offset, e.g. "2026-12-24T18:00:00Z".',
        ],
        [
            "spec.schedules[0].at in body must be of type date-time",
            "spec.startTime in body must be of type date-time",
        ],
    ),
    task(
        "a local time with an offset",
        {"schedules": [{"name": "a", "atLocal": "2026-12-24T18:00:00Z"}]},
        'spec.schedules[0].atLocal "2026-12-24T18:00:00Z": This is not a local time.'
        ' Write a local time without an offset, e.g. "2026-12-24T18:00:00".',
        "spec.schedules[0].atLocal",
    ),
    task(
        "a day that does not exist",
        {"startTime": "2026-02-30T00:00:00Z"},
        'spec.startTime "2026-02-30T00:00:00Z": There is no such time.'
        ' Write RFC 3339 with an offset, e.g. "2026-12-24T18:00:00Z".',
        "spec.startTime in body must be of type date-time",
    ),
    task(
        "an end before the start",
        {"startTime": "2027-01-01T00:00:00Z", "endTime": "2026-01-01T00:00:00Z"},
        'spec.endTime "2026-01-01T00:00:00Z": It is not after startTime.'
        " Set a later endTime or remove it.",
        "spec.endTime: Invalid value: endTime must be after startTime; set a later endTime or"
        " remove it",
    ),
    task(
        "several runs at once where one is active",
        {"concurrencyPolicy": "Replace", "maxConcurrent": 2},
        'spec.maxConcurrent "2": It belongs to Allow and Queue; with Replace one run is active.'
        " Remove it, or set concurrencyPolicy to Queue.",
        "spec.maxConcurrent: Invalid value: maxConcurrent belongs to Allow and Queue; remove it, or"
        " set concurrencyPolicy to Queue",
    ),
    task(
        "an argument that cannot be a variable",
        {"schedules": [{"name": "a", "cron": "@daily", "arguments": {"1st": "x"}}]},
        'spec.schedules[0].arguments "{"1st": "x"}": "1st" cannot be the name of an environment'
        " variable. Write names of letters, digits and underscores that do not begin with a digit,"
        " at most 128 characters.",
        "spec.schedules[0].arguments: Invalid value: names of arguments become environment"
        " variables; write letters, digits and underscores, not beginning with a digit, at most"
        " 128 characters",
    ),
    task(
        "parameters whose fields do not go together",
        {
            "parameters": [
                {"name": "TOKEN", "default": "x", "valueFrom": {"secretKeyRef": _SECRET}},
                {"name": "KEY", "type": "integer", "valueFrom": {"secretKeyRef": _SECRET}},
                {"name": "SUITE", "minimum": 1},
                {"name": "COUNT", "type": "integer", "minimum": 3, "maximum": 2},
                {"name": "BOTH", "valueFrom": {}},
            ]
        },
        [
            "spec.parameters[0].default: A value from a Secret or ConfigMap has no default."
            " Remove default or valueFrom.",
            "spec.parameters[1].valueFrom: taskrunner never reads the value of a Secret or"
            " ConfigMap, so it cannot check it. Remove type, enum, minimum and maximum.",
            'spec.parameters[2].type "string": minimum and maximum are for numbers.'
            " Write type: integer or type: number, or remove them.",
            'spec.parameters[3].maximum "2": It is less than minimum.'
            " Write a larger maximum or remove one of them.",
            "spec.parameters[4].valueFrom: Neither is set."
            " Set exactly one of secretKeyRef and configMapKeyRef.",
        ],
        [
            "spec.parameters[0].default: Invalid value: a value from a Secret or ConfigMap has no"
            " default; remove default or valueFrom",
            "spec.parameters[1].valueFrom: Invalid value: taskrunner never reads the value of a"
            " Secret or ConfigMap, so it cannot check it; remove type, enum, minimum and maximum",
            "spec.parameters[2].type: Invalid value: minimum and maximum are for numbers; write"
            " type: integer or type: number, or remove them",
            "spec.parameters[3].maximum: Invalid value: maximum must not be less than minimum;"
            " write a larger maximum or remove one of them",
            "spec.parameters[4].valueFrom: Invalid value: set exactly one of secretKeyRef and"
            " configMapKeyRef",
        ],
    ),
    task(
        "parameters with names that cannot be",
        {
            "parameters": [
                {"name": "1st"},
                {"name": "A", "valueFrom": {"secretKeyRef": {"name": "Bad", "key": "a key"}}},
            ]
        },
        [
            'spec.parameters[0].name "1st": This cannot be the name of an environment variable.'
            " Write letters, digits and underscores, not beginning with a digit, at most 128"
            " characters.",
            'spec.parameters[1].valueFrom.secretKeyRef.name "Bad": This is not a valid name of an'
            " object. Write lower-case letters, digits, hyphens and dots.",
            'spec.parameters[1].valueFrom.secretKeyRef.key "a key": A Secret or ConfigMap cannot'
            " have such a key. Write letters, digits, hyphens, underscores and dots.",
        ],
        [
            "spec.parameters[0].name in body should match",
            "spec.parameters[1].valueFrom.secretKeyRef.name in body should match",
            "spec.parameters[1].valueFrom.secretKeyRef.key in body should match",
        ],
    ),
    task(
        "a parameter that is there twice",
        {"parameters": [{"name": "A"}, {"name": "A"}]},
        'spec.parameters[1].name "A": Another parameter has the same name.'
        " Give each parameter a name of its own.",
        "spec.parameters[1]: Duplicate value",
    ),
    task(
        "a default that is not text",
        {"parameters": [{"name": "COUNT", "type": "integer", "default": 3}]},
        'spec.parameters[0].default "3": This is not text. Put it in quotes: "3".',
        "spec.parameters[0].default in body must be of type string",
    ),
    task(
        "a type of parameters that does not exist",
        {"parameters": [{"name": "COUNT", "type": "int"}]},
        'spec.parameters[0].type "int": This is not one of the values that the field takes.'
        " Write string, integer, number or boolean.",
        'spec.parameters[0].type: Unsupported value: "int"',
    ),
    _refused(
        "a name without room for the suffix",
        "ScheduledTask",
        {"metadata": {"name": _LONG}},
        f'metadata.name "{_LONG}": The name has 53 characters; at most 52 leave room for the suffix'
        " of each run. Choose a shorter name, and put the long one into spec.displayName.",
        "metadata.name: Invalid value: metadata.name must have at most 52 characters, as a"
        " CronJob's; the rest of 63 is for the suffix of each run",
    ),
    _refused(
        "no spec",
        "ScheduledTask",
        {"spec": None},
        "spec: The field is required. Set spec.",
        "spec: Required value",
    ),
)

EXECUTIONS: tuple[Refused, ...] = (
    execution(
        "no task",
        {"taskRef": None},
        'spec.taskRef: The field is required. Write e.g. taskRef: {"name": "nightly-regression"}.',
        "spec.taskRef: Required value",
    ),
    execution(
        "the operator's decision in a run by hand",
        {"decision": {"type": "Run", "reason": "OnSchedule"}},
        "spec.decision: Only the operator sets it. Remove the field.",
        "spec.decision: Forbidden: only the operator sets decision; remove it",
    ),
    execution(
        "the operator's type without a slot",
        {"type": "Scheduled"},
        [
            "spec.decision: It is required for type Scheduled, which is for the operator."
            " Write type: Manual to run a task by hand.",
            "spec.scheduledTime: It is required for type Scheduled, which is for the operator."
            " Write type: Manual to run a task by hand.",
        ],
        "spec.type: Invalid value: type Scheduled is for the operator and needs decision and"
        " scheduledTime; write type: Manual to run a task by hand",
    ),
    execution(
        "a run of a Backfill by hand",
        {"type": "Backfill"},
        "spec.backfillRef: It belongs to type Backfill, which is for the operator."
        " Create a Backfill to run slots of the past.",
        "spec.backfillRef: Invalid value: backfillRef belongs to type Backfill, which is for the"
        " operator; create a Backfill to run slots of the past",
    ),
    *(
        _refused(
            f"the name of a slot ({name}) for a run by hand",
            "TaskExecution",
            {"metadata": {"name": name}},
            f'metadata.name "{name}": {_RESERVED}',
            "metadata.name: Invalid value: names that end in ten digits are reserved for slots;"
            " choose another name, or write generateName: <task>- instead of name",
        )
        for name in (_SLOT, f"{_SLOT}-0a1f")
    ),
    _refused(
        "a name without room for the attempt",
        "TaskExecution",
        {"metadata": {"name": "a" * 61}},
        f'metadata.name "{"a" * 61}": The name has 61 characters; at most 60 leave room for the'
        " number of the attempt. Choose a shorter name.",
        "metadata.name: Invalid value: metadata.name must have at most 60 characters; the rest of"
        " 63 is for the number of the attempt",
    ),
)

CALENDARS: tuple[Refused, ...] = (
    calendar(
        "neither exclude nor include",
        {"exclude": None},
        "spec: The calendar excludes nothing. Set exclude or include, or both.",
        "spec: Invalid value: a calendar needs exclude or include; set one of them",
    ),
    calendar(
        "a day that does not exist",
        {"exclude": {"dates": ["2026-02-30"]}},
        'spec.exclude.dates[0] "2026-02-30": There is no such date.'
        ' Write year, month and day, e.g. "2026-12-24".',
        "spec.exclude.dates[0] in body must be of type date",
    ),
    calendar(
        "a short name of a weekday",
        {"exclude": {"weekdays": ["Sun"]}},
        'spec.exclude.weekdays[0] "Sun": This is not one of the values that the field takes. Write'
        " Monday, Tuesday, Wednesday, Thursday, Friday, Saturday or Sunday.",
        'spec.exclude.weekdays[0]: Unsupported value: "Sun"',
    ),
    calendar(
        "a range that ends before it begins",
        {"exclude": {"dateRanges": [{"name": "a", "from": "2026-12-24", "to": "2026-12-23"}]}},
        'spec.exclude.dateRanges[0].to "2026-12-23": It is before from. Swap the two dates.',
        "spec.exclude.dateRanges[0].to: Invalid value: to must not be before from; swap the two"
        " dates",
    ),
    calendar(
        "a country that is no code",
        {"include": {"holidays": [{"name": "a", "country": "de"}]}},
        'spec.include.holidays[0].country "de": The text does not have the form that the field'
        " takes. Write e.g. country: DE.",
        "spec.include.holidays[0].country in body should match",
    ),
    calendar(
        "two windows of one name",
        {
            "exclude": {
                "windows": [
                    {"name": "a", "cron": "0 22 * * *", "durationSeconds": 60},
                    {"name": "a", "cron": "0 23 * * *", "durationSeconds": 60},
                ]
            }
        },
        'spec.exclude.windows[1].name "a": Another entry has the same name.'
        " Give each entry a name of its own.",
        "spec.exclude.windows[1]: Duplicate value",
    ),
    calendar(
        "a window that never closes",
        {"exclude": {"windows": [{"name": "a", "cron": "@daily", "durationSeconds": 2678401}]}},
        'spec.exclude.windows[0].durationSeconds "2678401": The number is more than 2678400.'
        " Write a whole number from 1 to 2678400.",
        "spec.exclude.windows[0].durationSeconds in body should be less than or equal to 2678400",
    ),
    calendar(
        "an empty week",
        {"businessDays": []},
        'spec.businessDays "[]": At least 1 must be listed. Write Monday, Tuesday,'
        " Wednesday, Thursday, Friday, Saturday or Sunday.",
        "spec.businessDays in body should have at least 1 items",
    ),
)

BACKFILLS: tuple[Refused, ...] = (
    backfill(
        "an end before the beginning",
        {"to": "2025-12-31T00:00:00Z"},
        "spec.to: It is not after from. Set a later to.",
        "spec.to: Invalid value: to must be after from; set a later to",
    ),
    backfill(
        "more runs at once than it may have",
        {"maxConcurrent": 101},
        'spec.maxConcurrent "101": The number is more than 100. Write a whole number from 1 to'
        " 100.",
        "spec.maxConcurrent in body should be less than or equal to 100",
    ),
    backfill(
        "an order that does not exist",
        {"order": "Newest"},
        'spec.order "Newest": This is not one of the values that the field takes.'
        " Write OldestFirst or NewestFirst.",
        'spec.order: Unsupported value: "Newest"',
    ),
)

QUEUES: tuple[Refused, ...] = (
    _refused(
        "limits of nothing",
        "TaskQueue",
        {"spec": {"maxConcurrent": 0, "startsPerMinute": 0, "weight": 1001}},
        [
            'spec.maxConcurrent "0": The number is less than 1. Write a whole number from 1 to'
            " 10000.",
            'spec.startsPerMinute "0": The number is less than 1. Write a whole number from 1 to'
            " 10000.",
            'spec.weight "1001": The number is more than 1000. Write a whole number from 1 to'
            " 1000.",
        ],
        [
            "spec.maxConcurrent in body should be greater than or equal to 1",
            "spec.startsPerMinute in body should be greater than or equal to 1",
            "spec.weight in body should be less than or equal to 1000",
        ],
    ),
    _refused(
        "two weights of one task",
        "TaskQueue",
        {"spec": {"taskWeights": [{"name": "a", "weight": 1}, {"name": "a", "weight": 2}]}},
        'spec.taskWeights[1].name "a": Another entry has the same name. Write one entry for each'
        " task.",
        "spec.taskWeights[1]: Duplicate value",
    ),
)

REFUSED: tuple[Refused, ...] = (*TASKS, *NOT_BUILT, *EXECUTIONS, *CALENDARS, *QUEUES, *BACKFILLS)
