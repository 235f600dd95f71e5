"""Verdicts on objects: what refuses them, what is warned about, and what is let alone."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from fakes.api import FakeApi
from fakes.clock import FakeClock
from golden.refused import CALENDARS, EXECUTIONS, GOOD, TASKS, Refused, merged
from taskrunner.admission import checks
from taskrunner.admission.checks import Checker
from taskrunner.admission.review import Request, Verdict
from taskrunner.api.v1alpha1.calendar import Calendar
from taskrunner.api.v1alpha1.names import API_VERSION
from taskrunner.domain.calendar import CompiledCalendar
from taskrunner.domain.calendar_compile import compile_calendar
from taskrunner.domain.instants import format_instant
from taskrunner.errors import Problem, Transient
from taskrunner.errors import Refused as RefusedError
from taskrunner.ports import CALENDARS as CALENDAR_RESOURCE
from taskrunner.ports import JOBS, SCHEDULED_TASKS, TASK_QUEUES

Json = dict[str, Any]

NOW = 1_790_000_000.0
"""2026-09-21T14:13:20Z."""
BAD_CRON = {"schedule": "61 * * * *"}


@pytest.fixture
def api() -> FakeApi:
    return FakeApi(FakeClock(now=NOW))


async def check(api: FakeApi, new: Json, old: Json | None = None) -> Verdict:
    request = Request(
        uid="1",
        kind=new["kind"],
        operation="UPDATE" if old else "CREATE",
        namespace="qa",
        name=new["metadata"].get("name", ""),
        obj=new,
        old=old,
        username="jane",
    )
    return await Checker(api, api.clock, call_timeout=2.0).check(request)


def task(spec: Json | None = None, **metadata: Any) -> Json:
    change = {"metadata": {"namespace": "qa", **metadata}, "spec": spec or {}}
    return merged(GOOD["ScheduledTask"], change)


def calendar(name: str, spec: Json | None = None) -> Json:
    return merged(GOOD["Calendar"], {"metadata": {"name": name}, "spec": spec or {}})


def skip(second: int, name: str = "") -> Json:
    """A request to skip the slot at so many seconds after NOW; slots are at 40, 100, 160 …"""
    time = int(NOW) + second
    spec = {
        "taskRef": {"name": "hourly"},
        "type": "Scheduled",
        "scheduledTime": format_instant(time),
        "decision": {"type": "Skip", "reason": "Requested"},
    }
    metadata = {"name": name or f"hourly-{time}", "namespace": "qa"}
    return {"apiVersion": API_VERSION, "kind": "TaskExecution", "metadata": metadata, "spec": spec}


@pytest.mark.parametrize(
    ("second", "name", "problem", "warning"),
    [
        (100, "", "", ""),
        (
            90,
            "",
            'spec.scheduledTime "2026-09-21T14:14:50Z": The task has no slot at'
            " 2026-09-21T14:14:50Z. Slots near it: 2026-09-21T14:14:00Z (hourly-1790000040),"
            " 2026-09-21T14:15:00Z (hourly-1790000100), 2026-09-21T14:16:00Z (hourly-1790000160)."
            " Write one of these, or use taskrunner skip.",
            "",
        ),
        (
            100,
            "hourly-1790000160",
            'metadata.name "hourly-1790000160": The execution of the slot at 2026-09-21T14:15:00Z'
            ' is called "hourly-1790000100". Write one of these, or use taskrunner skip.',
            "",
        ),
        (40, "", "", "The slot is over or under way"),
    ],
    ids=["a slot", "no slot", "another slot's name", "a slot that is over"],
)
async def test_what_is_skipped_by_hand_must_be_a_slot(
    api: FakeApi, second: int, name: str, problem: str, warning: str
) -> None:
    present = task({"schedule": "* * * * *"}, name="hourly")
    api.server.create(SCHEDULED_TASKS, "qa", present)
    api.clock.suspend(60)  # type: ignore[attr-defined]
    verdict = await check(api, skip(second, name))
    assert " ".join(map(str, verdict.problems)) == problem
    assert warning in " ".join(verdict.warnings)
    assert bool(verdict.warnings) == bool(warning)


async def test_a_skip_for_a_task_that_is_not_there_is_warned_about(api: FakeApi) -> None:
    verdict = await check(api, skip(100))
    assert not verdict.problems
    assert "There is no ScheduledTask" in verdict.warnings[0]


def fields(verdict: Verdict) -> list[str]:
    return [problem.field for problem in verdict.problems]


# --- refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "case", [*TASKS, *EXECUTIONS, *CALENDARS], ids=lambda case: f"{case.kind}: {case.title}"
)
async def test_what_parsing_refuses_is_refused_in_the_same_words(
    api: FakeApi, case: Refused
) -> None:
    verdict = await check(api, case.obj)
    assert tuple(str(problem) for problem in verdict.problems) == case.problems


async def test_problems_of_the_plan_and_of_the_template_are_told_together(api: FakeApi) -> None:
    refusal = 'create jobs: 422 Invalid: Job.batch "x" is invalid: spec.template: Required value'
    api.fail("create", JOBS, error=RefusedError(refusal, code=422))
    verdict = await check(api, task(BAD_CRON | {"timeZone": "Mars/Phobos"}))
    assert sorted(fields(verdict)) == [
        "spec.jobTemplate.spec.template",
        "spec.schedule",
        "spec.timeZone",
    ]


async def test_a_calendar_that_cannot_be_followed_is_refused(api: FakeApi) -> None:
    spec = {"exclude": {"windows": [{"name": "a", "cron": "x", "durationSeconds": 1}]}}
    verdict = await check(api, calendar("bad", spec | {"timeZone": "Mars"}))
    assert fields(verdict) == ["spec.timeZone", "spec.exclude.windows[0].cron"]


# --- warned about -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "warning"),
    [
        ({"schedule": "0 4 * * *"}, ""),
        (
            {"schedule": "30 2 * * *"},
            'spec.schedule "30 2 * * *": Clocks in Europe/Berlin jump from 02:00 to 03:00 on'
            " 2027-03-28",
        ),
        (
            {"schedule": "0 4 * * *", "timeZone": "US/Eastern"},
            'spec.timeZone "US/Eastern": The name is a deprecated alias',
        ),
        (
            {"schedule": "0 0 29 2 *", "endTime": "2027-01-01T00:00:00Z"},
            'spec.schedule "0 0 29 2 *": It never fires before endTime',
        ),
        (
            {"schedules": [{"name": "a", "cron": "@daily"}, {"name": "b", "cron": "0 0 * * *"}]},
            'spec.schedules[1].cron "0 0 * * *": Each of its slots is also one of "a"',
        ),
    ],
)
async def test_what_is_probably_not_meant_is_warned_about(
    api: FakeApi, spec: Json, warning: str
) -> None:
    verdict = await check(api, task(spec))
    assert verdict.problems == ()
    assert len(verdict.warnings) == bool(warning)
    assert "".join(verdict.warnings).startswith(warning)


async def test_a_deprecated_zone_of_a_calendar_is_warned_about(api: FakeApi) -> None:
    verdict = await check(api, calendar("us", {"timeZone": "US/Eastern"}))
    assert verdict.problems == ()
    assert "America/New_York" in verdict.warnings[0]


async def test_warnings_that_take_too_long_to_find_are_left_out_and_that_is_told(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = threading.Event()

    def slow(*_: object) -> list[Problem]:
        answered.wait(10)
        return [Problem("spec", "", "too late", "")]

    monkeypatch.setattr(checks, "warnings_for", slow)
    monkeypatch.setattr(checks, "_WARNING_SECONDS", 0.01)
    try:
        verdict = await check(api, task({"schedule": "@daily"}))
        told = "No time was left to look for warnings about the schedules."
        assert verdict == Verdict(warnings=(told,))
    finally:
        answered.set()


# --- calendars ----------------------------------------------------------------------------------

USES = {"schedule": "0 12 * * *", "calendars": [{"name": "free"}]}
_NOT_THERE = (
    'spec.calendars[0].name "free": There is no Calendar of this name in the namespace "qa" yet;'
    " the task is not ready until there is one."
)


async def test_a_task_may_come_before_its_calendar(api: FakeApi) -> None:
    assert await check(api, task(USES)) == Verdict(warnings=(_NOT_THERE,))


async def test_with_its_calendar_there_is_no_warning(api: FakeApi) -> None:
    await api.create(CALENDAR_RESOURCE, "qa", calendar("free"))
    assert await check(api, task(USES)) == Verdict()


async def test_a_calendar_of_another_namespace_does_not_count(api: FakeApi) -> None:
    await api.create(CALENDAR_RESOURCE, "other", calendar("free"))
    assert await check(api, task(USES)) == Verdict(warnings=(_NOT_THERE,))


async def test_what_a_calendar_does_to_the_task_is_seen(api: FakeApi) -> None:
    days = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
    await api.create(CALENDAR_RESOURCE, "qa", calendar("free", {"exclude": {"weekdays": days}}))
    (warning,) = (await check(api, task(USES))).warnings
    assert warning.startswith('spec.calendars "free": The calendars leave no run')


async def test_a_calendar_is_read_anew_each_time_and_compiled_once(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[Calendar] = []

    def compile_noted(found: Calendar) -> CompiledCalendar:
        compiled.append(found)
        return compile_calendar(found)

    monkeypatch.setattr("taskrunner.admission.calendars.compile_calendar", compile_noted)
    made = await api.create(CALENDAR_RESOURCE, "qa", calendar("free"))
    checker = Checker(api, api.clock, call_timeout=2.0)
    request = Request("1", "ScheduledTask", "CREATE", "qa", "good", task(USES), None, "jane")
    for _ in range(3):
        assert await checker.check(request) == Verdict()
    assert len(compiled) == 1
    made["spec"]["exclude"]["weekdays"] = ["Monday"]
    await api.replace(CALENDAR_RESOURCE, "qa", "free", made)
    assert await checker.check(request) == Verdict()
    assert len(compiled) == 2
    assert [call.verb for call in api.calls].count("get") == 4


@pytest.mark.parametrize(
    ("trouble", "warning"),
    [
        ("no answer", 'spec.calendars[0].name "free": The Calendar could not be read: '),
        ("bad", 'spec.calendars[0].name "free": The Calendar itself cannot be followed'),
    ],
)
async def test_a_calendar_in_trouble_is_a_warning(api: FakeApi, trouble: str, warning: str) -> None:
    spec = {"timeZone": "Mars"} if trouble == "bad" else {}
    await api.create(CALENDAR_RESOURCE, "qa", calendar("free", spec))
    if trouble == "no answer":
        api.fail("get", CALENDAR_RESOURCE, error=Transient("get calendars: no answer in time."))
    verdict = await check(api, task(USES))
    assert verdict.problems == ()
    assert verdict.warnings[0].startswith(warning)


async def test_the_rest_of_a_task_is_checked_without_its_calendar(api: FakeApi) -> None:
    verdict = await check(api, task(USES | BAD_CRON))
    assert fields(verdict) == ["spec.schedule"]
    assert verdict.warnings == (_NOT_THERE,)


# --- updates ------------------------------------------------------------------------------------


async def test_an_object_whose_spec_stays_is_not_even_looked_at(api: FakeApi) -> None:
    old = task(BAD_CRON)
    new = merged(old, {"metadata": {"labels": {"a": "b"}}, "status": {"activeCount": 1}})
    assert await check(api, new, old) == Verdict()
    assert api.calls == []


async def test_a_template_that_stays_is_not_tried_again(api: FakeApi) -> None:
    assert (
        await check(api, task({"schedule": "@daily"}), task({"schedule": "@hourly"})) == Verdict()
    )
    assert not [call for call in api.calls if call.resource == JOBS]


async def test_a_template_that_changes_is_tried(api: FakeApi) -> None:
    new = task({"jobTemplate": {"spec": {"backoffLimit": 2}}})
    assert await check(api, new, task()) == Verdict()
    assert [(call.verb, call.resource) for call in api.calls] == [("create", JOBS)]


async def test_a_task_that_was_bad_before_may_be_changed_and_is_told_so(api: FakeApi) -> None:
    verdict = await check(api, task(BAD_CRON | {"suspend": True}), task(BAD_CRON))
    assert verdict.problems == ()
    assert verdict.warnings[0].startswith('As before: spec.schedule "61')


async def test_a_task_that_was_bad_before_may_not_become_worse(api: FakeApi) -> None:
    worse = task(BAD_CRON | {"timeZone": "Mars/Phobos"})
    assert set(fields(await check(api, worse, task(BAD_CRON)))) == {
        "spec.schedule",
        "spec.timeZone",
    }


async def test_another_mistake_in_the_same_place_is_refused(api: FakeApi) -> None:
    verdict = await check(api, task({"schedule": "62 * * * *"}), task(BAD_CRON))
    assert fields(verdict) == ["spec.schedule"]


# --- executions ---------------------------------------------------------------------------------


def run(**spec: Any) -> Json:
    return merged(GOOD["TaskExecution"], {"spec": spec})


async def test_a_run_of_a_task_that_is_there_is_fine(api: FakeApi) -> None:
    await api.create(SCHEDULED_TASKS, "qa", task())
    assert await check(api, run()) == Verdict()


async def test_a_run_of_no_task_is_warned_about(api: FakeApi) -> None:
    (warning,) = (await check(api, run(taskRef={"name": "nope"}))).warnings
    assert warning == (
        'spec.taskRef.name "nope": There is no ScheduledTask of this name in the namespace "qa";'
        " without it the run fails."
    )


SUITE = {"name": "SUITE", "enum": ["smoke", "full"], "default": "smoke"}
TOKEN = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "ci", "key": "token"}}}


async def test_arguments_of_a_run_are_those_that_its_task_takes_now(api: FakeApi) -> None:
    await api.create(SCHEDULED_TASKS, "qa", task({"parameters": [SUITE, TOKEN, {"name": "URL"}]}))
    assert await check(api, run(arguments={"SUITE": "full", "URL": "x"})) == Verdict()
    verdict = await check(api, run(arguments={"SUITE": "smok", "TOKEN": "hunter2"}))
    assert [str(problem) for problem in verdict.problems] == [
        'spec.arguments.SUITE "smok": This is not one of the values that the parameter takes.'
        " Write smoke or full.",
        'spec.arguments.TOKEN: The task takes this value from the Secret "ci", and no argument'
        " replaces it. Remove the argument.",
        "spec.arguments.URL: The task needs this argument: the parameter has no default."
        ' Write e.g. arguments: {URL: "…"}, or give it a default.',
    ]


async def test_a_run_of_a_task_that_cannot_be_followed_is_warned_about(api: FakeApi) -> None:
    bad = {**SUITE, "default": "smok"}
    await api.create(SCHEDULED_TASKS, "qa", task({"parameters": [bad]}))
    verdict = await check(api, run(arguments={"SUITE": "full"}))
    assert verdict.problems == ()
    assert verdict.warnings[0].startswith(
        'spec.taskRef.name "good": The task itself cannot be followed, and until it is corrected,'
        ' runs fail: spec.parameters[0].default "smok": This is not one of the values'
    )


async def test_arguments_of_schedules_are_checked_with_the_task(api: FakeApi) -> None:
    schedules = [{"name": "a", "everySeconds": 60, "arguments": {"SUIT": "full"}}]
    verdict = await check(api, task({"parameters": [SUITE], "schedules": schedules}))
    assert [str(problem) for problem in verdict.problems] == [
        "spec.schedules[0].arguments.SUIT: The task has no such parameter. Did you mean SUITE?"
    ]


async def test_the_operators_runs_cost_no_call(api: FakeApi) -> None:
    decided = {"type": "Run", "reason": "OnSchedule"}
    scheduled = run(type="Scheduled", decision=decided, scheduledTime="2026-01-01T00:00:00Z")
    assert await check(api, scheduled) == Verdict()
    assert api.calls == []


async def test_a_task_that_cannot_be_read_is_left_to_the_operator(api: FakeApi) -> None:
    api.fail("get", SCHEDULED_TASKS)
    assert await check(api, run()) == Verdict()


@pytest.mark.parametrize("operation", ["DELETE", "CONNECT"])
async def test_nothing_but_writing_is_looked_at(api: FakeApi, operation: str) -> None:
    request = Request("1", "ScheduledTask", operation, "qa", "a", {}, task(BAD_CRON), "jane")
    checker = Checker(api, api.clock, call_timeout=2.0)
    assert await checker.check(request) == Verdict()


async def test_a_kind_that_is_not_ours_is_allowed(api: FakeApi) -> None:
    assert await check(api, {"kind": "Pod", "metadata": {}}) == Verdict()


# --- what else is in the namespace ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        pytest.param({"schedule": "0 4 * * *"}, True, id="the same"),
        pytest.param({"schedule": "0 4 * * 0-6"}, True, id="the same in other words"),
        pytest.param({"schedule": "0 3 * * *"}, False, id="another time"),
        pytest.param({"schedule": "0 4 * * *", "suspend": True}, False, id="suspended"),
        pytest.param({}, False, id="by hand"),
        pytest.param(
            {"schedules": [{"name": "a", "cron": "0 4 * * *", "arguments": {"A": "1"}}]},
            False,
            id="other arguments",
        ),
    ],
)
async def test_a_task_with_the_slots_and_the_template_of_another_is_warned_about(
    api: FakeApi, spec: Json, told: bool
) -> None:
    api.server.create(SCHEDULED_TASKS, "qa", task({"schedule": "0 4 * * *"}, name="first"))
    parameters = {"parameters": [{"name": "A"}]} if "schedules" in spec else {}
    verdict = await check(api, task({**spec, **parameters}, name="second"))
    assert not verdict.problems
    assert any('"first" has the same slots' in text for text in verdict.warnings) is told
    first = await check(api, task({"schedule": "0 4 * * *"}, name="first"))
    assert not first.warnings  # Itself is not another one.


async def test_another_template_is_another_task(api: FakeApi) -> None:
    api.server.create(SCHEDULED_TASKS, "qa", task({"schedule": "0 4 * * *"}, name="first"))
    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox:2"}]}
    template = {"spec": {"template": {"spec": pod}}}
    changed = task({"schedule": "0 4 * * *", "jobTemplate": template}, name="second")
    assert not (await check(api, changed)).warnings


async def test_a_queue_that_is_not_there_is_warned_about(api: FakeApi) -> None:
    named = task({"queue": {"name": "shared"}})
    (warning,) = (await check(api, named)).warnings
    assert 'spec.queue.name "shared": There is no TaskQueue of this name' in warning
    api.server.create(TASK_QUEUES, "qa", {"metadata": {"name": "shared"}, "spec": {}})
    assert not (await check(api, named)).warnings
