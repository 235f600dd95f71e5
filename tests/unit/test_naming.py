"""Names of executions and Jobs."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskrunner.api.v1alpha1.names import EXECUTION_NAME_MAX, SLOT_PATTERN, TASK_NAME_MAX
from taskrunner.domain.naming import execution_name, job_name, schedule_part, task_part

SLOT = 1_767_225_600  # 2026-01-01T00:00:00Z
LONG = "a-very-long-name-of-a-task-that-has-52-characters-ab"


@pytest.mark.parametrize(
    ("task", "schedule", "own", "name"),
    [
        ("nightly", "", False, "nightly-1767225600"),
        ("nightly", "weekdays", False, "nightly-1767225600"),
        ("nightly", "weekdays", True, f"nightly-1767225600-{schedule_part('weekdays')}"),
        ("x" * 40, "", False, "x" * 40 + "-1767225600"),
    ],
)
def test_name_of_a_slot(task: str, schedule: str, own: bool, name: str) -> None:
    assert execution_name(task, SLOT, schedule, own) == name


def test_names_are_the_same_in_every_version() -> None:
    # A change would run the slots of the day of the upgrade twice.
    assert schedule_part("weekdays") == "60ff"
    assert task_part(LONG) == "a-very-long-name-of-a-task-that-h-" + task_part(LONG)[-6:]
    assert execution_name(LONG, SLOT, "smoke", True) == (
        f"{task_part(LONG)}-1767225600-{schedule_part('smoke')}"
    )


def test_a_long_task_name_is_cut_and_told_apart_by_a_hash() -> None:
    one, two = task_part("x" * 41), task_part("x" * 42)
    assert one != two
    assert [len(one), one[:33], one[33]] == [40, "x" * 33, "-"]


def test_a_cut_name_does_not_end_in_a_dot_or_hyphen_before_its_hash() -> None:
    assert re.fullmatch("x{32}-[0-9a-f]{6}", task_part("x" * 32 + "." + "y" * 15))


def test_early_slots_have_ten_digits_too() -> None:
    assert execution_name("early", 86_400) == "early-0000086400"


def test_the_attempt_is_counted_at_the_end() -> None:
    assert job_name("nightly-1767225600", 2) == "nightly-1767225600-2"


@given(
    st.from_regex(r"[a-z]([a-z0-9.-]{0,50}[a-z0-9])?", fullmatch=True),
    st.integers(0, 7_258_118_399),
    st.text(st.characters(codec="ascii"), max_size=63),
)
def test_every_name_fits_into_a_label_and_has_the_reserved_pattern(
    task: str, nominal: int, schedule: str
) -> None:
    assert len(task) <= TASK_NAME_MAX
    for own in (False, True):
        name = execution_name(task, nominal, schedule, own)
        assert len(name) <= EXECUTION_NAME_MAX
        assert re.search(SLOT_PATTERN, name)
        assert len(job_name(name, 11)) <= 63
