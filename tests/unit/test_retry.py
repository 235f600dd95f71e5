"""Backoff: bounds, growth, stability; and which failures are repeated."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskrunner.domain.policy import RunPolicy, policy_from, policy_text
from taskrunner.domain.retry import RetryRule, base_delay, delay, not_retried

DAY = 86_400
rules = st.builds(
    RetryRule,
    max_retries=st.integers(0, 10),
    initial_delay=st.integers(0, DAY),
    multiplier=st.integers(1, 10),
    max_delay=st.integers(0, DAY),
    jitter_percent=st.integers(0, 100),
    retry_on=st.lists(st.integers(1, 255), max_size=3).map(tuple),
    fail_on=st.lists(st.integers(1, 255), max_size=3).map(tuple),
)
retries = st.integers(1, 10)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        pytest.param(RetryRule(), [10, 20, 40, 80, 160, 320, 600, 600, 600, 600], id="defaults"),
        pytest.param(RetryRule(multiplier=1), [10] * 10, id="constant"),
        pytest.param(RetryRule(initial_delay=0), [0] * 10, id="at once"),
        pytest.param(RetryRule(initial_delay=900), [600] * 10, id="capped from the start"),
        pytest.param(
            RetryRule(initial_delay=1, multiplier=10, max_delay=5000),
            [1, 10, 100, 1000, 5000, 5000, 5000, 5000, 5000, 5000],
            id="times ten",
        ),
    ],
)
def test_the_delay_grows_by_the_multiplier_up_to_the_cap(
    rule: RetryRule, expected: list[int]
) -> None:
    assert [base_delay(rule, n) for n in range(1, 11)] == expected


@given(rules, retries, st.uuids().map(str))
def test_jitter_keeps_within_its_percentage(rule: RetryRule, retry: int, uid: str) -> None:
    base = base_delay(rule, retry)
    found = delay(rule, retry, uid)
    assert base * (100 - rule.jitter_percent) <= found * 100 <= base * (100 + rule.jitter_percent)


@given(rules, st.integers(1, 9))
def test_without_jitter_no_delay_is_shorter_than_the_one_before(rule: RetryRule, n: int) -> None:
    assert 0 <= base_delay(rule, n) <= base_delay(rule, n + 1) <= rule.max_delay


@given(rules, retries, st.uuids().map(str))
def test_the_same_run_and_attempt_always_wait_the_same(
    rule: RetryRule, retry: int, uid: str
) -> None:
    assert delay(rule, retry, uid) == delay(rule, retry, uid)


def test_runs_that_failed_together_come_back_apart() -> None:
    rule = RetryRule(initial_delay=100)
    found = [delay(rule, 1, f"run {n}") for n in range(1000)]
    assert (min(found), max(found)) == (80, 120)
    assert max(found.count(second) for second in set(found)) < 60


@pytest.mark.parametrize(
    ("retry_on", "fail_on", "code", "told"),
    [
        pytest.param((), (), 1, "", id="no lists: all are repeated"),
        pytest.param((75,), (), 75, "", id="in retryOnExitCodes"),
        pytest.param((75,), (), 1, "not in retryPolicy.retryOnExitCodes", id="not in it"),
        pytest.param((), (2,), 2, "in retryPolicy.failOnExitCodes", id="in failOnExitCodes"),
        pytest.param((), (2,), 3, "", id="not in failOnExitCodes"),
        pytest.param((2,), (2,), 2, "failOnExitCodes", id="in both: it fails"),
        pytest.param((75,), (2,), None, "", id="no exit code: no verdict of the program"),
    ],
)
def test_which_exit_codes_are_repeated(
    retry_on: tuple[int, ...], fail_on: tuple[int, ...], code: int | None, told: str
) -> None:
    found = not_retried(RetryRule(3, retry_on=retry_on, fail_on=fail_on), code)
    assert bool(found) == bool(told)
    assert told in found


@given(
    st.builds(
        RunPolicy,
        retry=rules,
        timeout=st.none() | st.integers(1, DAY),
        pending_timeout=st.none() | st.integers(1, DAY),
        task_generation=st.none() | st.integers(1, 1000),
        suspended=st.booleans(),
    )
)
def test_a_policy_survives_its_annotation(policy: RunPolicy) -> None:
    assert policy_from(policy_text(policy)) == policy


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"maxRetries": "many"}', '{"suspend": 1}'])
def test_an_annotation_that_makes_no_sense_is_no_policy(text: str) -> None:
    assert policy_from(text) == RunPolicy()
