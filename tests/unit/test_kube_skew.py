"""How far our clock is from the server's, told by the `Date` of its answers, in whole seconds."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskrunner.kube.skew import ServerSkew

SERVER = 1_790_000_000.0


def date(server_time: float) -> str:
    return formatdate(server_time, usegmt=True)


# Local minus server time as the answer comes, round trip, and what is certain of it.
ONE_ANSWER: list[tuple[float, float, float]] = [
    (0.0, 0.0, 0.0),
    (0.9, 0.0, 0.0),
    (5.0, 0.0, 4.0),
    (5.0, 2.0, 2.0),
    (-5.0, 0.0, -5.0),
    (-5.0, 2.0, -5.0),
    (3.0, 10.0, 0.0),
]


@pytest.mark.parametrize(("ahead", "round_trip", "certain"), ONE_ANSWER)
def test_one_answer_tells_it_within_a_second_and_a_round_trip(
    ahead: float, round_trip: float, certain: float
) -> None:
    skew = ServerSkew()
    skew.note(date(SERVER), sent=100.0, received=100.0 + round_trip, now=SERVER + ahead)
    assert skew.seconds(100.0 + round_trip) == pytest.approx(certain)


@given(
    ahead=st.floats(-100, 100),
    start=st.floats(0, 1),
    trips=st.lists(st.tuples(st.floats(0.001, 0.9), st.floats(0, 1)), min_size=1, max_size=50),
)
def test_it_never_claims_more_than_there_is_and_comes_close_with_more_answers(
    ahead: float, start: float, trips: list[tuple[float, float]]
) -> None:
    skew, boot, closest = ServerSkew(), 50.0, 2.0
    for round_trip, share in trips:
        sent = boot
        answered, boot = boot + round_trip * share, boot + round_trip
        server_time = SERVER + start + answered
        skew.note(date(server_time), sent=sent, received=boot, now=SERVER + start + boot + ahead)
        closest = min(closest, 1 + round_trip)
        found = skew.seconds(boot)
        assert found is not None
        assert abs(found) <= abs(ahead) + 1e-5
        assert abs(found - ahead) <= closest + 1e-5 or found == 0.0


def test_answers_spread_over_a_second_tell_it_exactly() -> None:
    skew = ServerSkew()
    for tenth in range(11):
        boot = 100.0 + tenth / 10
        now = SERVER + tenth / 10 + 2.5
        skew.note(date(SERVER + tenth / 10), sent=boot, received=boot, now=now)
    assert skew.seconds(101.0) == pytest.approx(2.5, abs=0.11)


def test_after_a_clock_was_set_the_new_difference_counts() -> None:
    skew = ServerSkew()
    skew.note(date(SERVER), sent=100.0, received=100.0, now=SERVER)
    skew.note(date(SERVER + 5), sent=105.0, received=105.0, now=SERVER + 5 + 60)
    assert skew.seconds(105.0) == pytest.approx(59.0)


def test_without_recent_answers_nothing_is_known() -> None:
    skew = ServerSkew()
    assert skew.seconds(0.0) is None
    skew.note(date(SERVER), sent=100.0, received=100.0, now=SERVER)
    assert skew.seconds(160.0) == 0.0
    assert skew.seconds(160.1) is None


@pytest.mark.parametrize("text", [None, "", "yesterday"])
def test_an_answer_without_a_date_tells_nothing(text: str | None) -> None:
    skew = ServerSkew()
    skew.note(text, sent=1.0, received=1.0, now=SERVER)
    assert skew.seconds(1.0) is None
