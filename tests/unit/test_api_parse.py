"""Raw objects become models, or problems that say field, value and remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from typing import Any

import pytest
from pydantic import BaseModel

from golden.refused import GOOD, NOT_BUILT, REFUSED, Json, Refused, merged
from taskrunner.api.crdgen import DEFINITIONS, structural_schema
from taskrunner.api.v1alpha1.parse import (
    parse_backfill,
    parse_calendar,
    parse_scheduled_task,
    parse_task_execution,
    parse_task_queue,
)
from taskrunner.errors import SpecError

PARSERS: dict[str, Callable[[Json], BaseModel]] = {
    "ScheduledTask": parse_scheduled_task,
    "TaskExecution": parse_task_execution,
    "Calendar": parse_calendar,
    "TaskQueue": parse_task_queue,
    "Backfill": parse_backfill,
}


def task(**spec: Any) -> Json:
    return merged(GOOD["ScheduledTask"], {"spec": spec})


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: f"{case.kind}: {case.title}")
def test_a_bad_object_is_refused_with_field_value_and_remedy(case: Refused) -> None:
    with pytest.raises(SpecError) as error:
        PARSERS[case.kind](case.obj)
    assert [str(problem) for problem in error.value.problems] == list(case.problems)


def test_every_problem_is_a_sentence_with_a_remedy() -> None:
    for case in REFUSED:
        with pytest.raises(SpecError) as error:
            PARSERS[case.kind](case.obj)
        for problem in error.value.problems:
            assert problem.field
            assert problem.message.endswith(".")
            assert problem.remedy.endswith((".", "?"))


@pytest.mark.parametrize("kind", PARSERS)
def test_a_good_object_is_accepted(kind: str) -> None:
    parsed: Any = PARSERS[kind](GOOD[kind])
    assert parsed.metadata.name == "good"


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(SpecError) as error:
        parse_scheduled_task(
            task(sched="x", suspend="no", priority=1001, schedules=[{"name": "a"}, {"name": "B"}])
        )
    assert [problem.field for problem in error.value.problems] == [
        "spec.suspend",
        "spec.schedules[0]",
        "spec.schedules[1].name",
        "spec.priority",
        "spec.sched",
    ]


@pytest.mark.parametrize(
    ("field", "value", "remedy"),
    [
        ("kind", "CronJob", "Write kind: ScheduledTask."),
        ("apiVersion", "batch/v1", "Write apiVersion: taskrunner.dev/v1alpha1."),
    ],
)
def test_another_kind_is_refused(field: str, value: str, remedy: str) -> None:
    with pytest.raises(SpecError) as error:
        parse_scheduled_task({**task(), field: value})
    (problem,) = error.value.problems
    assert (problem.field, problem.value, problem.remedy) == (field, value, remedy)


def test_an_item_of_a_list_needs_no_kind() -> None:
    obj = task(schedule="@daily")
    del obj["kind"], obj["apiVersion"]
    assert parse_scheduled_task(obj).spec.schedule == "@daily"


def test_a_long_value_is_shortened() -> None:
    with pytest.raises(SpecError) as error:
        parse_scheduled_task(task(unknown="x" * 10_000))
    (problem,) = error.value.problems
    assert len(problem.value) == 80
    assert problem.value.endswith("…")


def test_null_means_left_out() -> None:
    names = ("schedule", "timeZone", "suspend", "concurrencyPolicy", "schedules", "dst", "priority")
    obj = task()
    obj["spec"] = obj["spec"] | dict.fromkeys(names)
    obj["metadata"]["labels"] = None
    spec = parse_scheduled_task(obj).spec
    assert (spec.suspend, spec.concurrency_policy, spec.dst.gap) == (False, "Allow", "RunAfter")


def test_defaults_are_those_of_cron_job() -> None:
    spec = parse_scheduled_task(task(timeZone=None)).spec
    assert spec.concurrency_policy == "Allow"
    assert spec.suspend is False
    assert spec.successful_jobs_history_limit == 3
    assert spec.failed_jobs_history_limit == 1
    assert spec.starting_deadline_seconds is None
    assert spec.time_zone is None
    assert spec.catch_up.policy == "Last"


def test_times_are_in_utc_whatever_their_offset() -> None:
    entries = [
        {"name": "a", "at": "2026-12-24T18:00:00+01:00"},
        {"name": "b", "atLocal": "2026-12-24T18:00"},
        {"name": "c", "everySeconds": 5, "anchor": "2026-01-01t00:00:00z"},
    ]
    first, second, third = parse_scheduled_task(task(schedules=entries)).spec.schedules
    assert first.at == datetime(2026, 12, 24, 17, tzinfo=UTC)
    assert second.at_local == datetime(2026, 12, 24, 18)  # noqa: DTZ001 - local on purpose
    assert third.anchor == datetime(2026, 1, 1, tzinfo=UTC)


def test_times_that_yaml_has_read_already_are_taken() -> None:
    at = datetime(2026, 12, 24, 17, tzinfo=UTC)
    (entry,) = parse_scheduled_task(task(schedules=[{"name": "a", "at": at}])).spec.schedules
    assert entry.at == at
    obj = merged(GOOD["Calendar"], {"spec": {"exclude": {"dates": [date(2026, 12, 24)]}}})
    exclude = parse_calendar(obj).spec.exclude
    assert exclude is not None
    assert exclude.dates == (date(2026, 12, 24),)


def test_a_fraction_of_a_second_is_refused() -> None:
    with pytest.raises(SpecError, match="has a fraction of a second"):
        parse_scheduled_task(task(startTime="2026-12-24T18:00:00.5Z"))


def test_the_template_is_kept_as_given() -> None:
    template = {"spec": {"template": {"spec": {"containers": None, "x": [1, {"y": None}]}}}}
    obj = task()
    obj["spec"]["jobTemplate"] = template
    assert parse_scheduled_task(obj).spec.job_template == template


def test_a_status_of_a_newer_version_can_be_read() -> None:
    status = {
        "phase": "Failed",
        "reason": "AReasonFromTheFuture",
        "somethingNew": {"a": 1},
        "attempts": [{"number": 1, "alsoNew": True}],
        "startTime": "2026-12-24T18:00:00.123456Z",
    }
    read = parse_task_execution({**GOOD["TaskExecution"], "status": status}).status
    assert read.reason == "AReasonFromTheFuture"
    assert read.attempts[0].number == 1
    assert read.start_time == datetime(2026, 12, 24, 18, 0, 0, 123456, UTC)


def test_a_model_goes_to_the_wire_and_back() -> None:
    obj = task(
        schedules=[{"name": "a", "at": "2026-12-24T18:00:00Z", "arguments": {"SUITE": "full"}}],
        endTime="2027-01-01T00:00:00Z",
        calendars=[{"name": "c"}],
    )
    spec = parse_scheduled_task(obj).spec
    assert parse_scheduled_task({**obj, "spec": spec.to_wire()}).spec == spec
    assert spec.to_wire()["schedules"][0]["at"] == "2026-12-24T18:00:00Z"


def test_models_are_frozen() -> None:
    spec = parse_scheduled_task(task()).spec
    with pytest.raises(ValueError, match="frozen"):
        spec.suspend = True  # type: ignore[misc]


def test_fields_that_are_not_built_are_all_in_the_table() -> None:
    """The table tests each one; this finds one that was forgotten."""
    marked = {
        (of.resource.kind, rule["message"])
        for of in DEFINITIONS
        for rule in _rules(structural_schema(of.model)["properties"]["spec"])
        if "not supported by this version" in rule["message"]
    }
    tested = {
        (case.kind, server.partition(": Forbidden: ")[2])
        for case in NOT_BUILT
        for server in case.server
    }
    assert marked == tested


def _rules(schema: Any) -> Iterator[Any]:
    yield from schema.get("x-kubernetes-validations", ())
    for inner in schema.get("properties", {}).values():
        yield from _rules(inner)
    if "items" in schema:
        yield from _rules(schema["items"])
