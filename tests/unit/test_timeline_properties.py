"""What holds for every timeline: hypothesis looks for counter-examples."""

from __future__ import annotations

from itertools import islice, pairwise

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from differential.oracle import Oracle
from differential.strategies import expressions, instants_near_changes, policies, zones
from taskrunner.domain.cron import CronError, cron_timeline
from taskrunner.domain.timeline import (
    CronTimeline,
    DstPolicy,
    Fire,
    IntervalTimeline,
    OnceTimeline,
    Timeline,
    once,
    once_local,
)
from taskrunner.domain.zones import EARLIEST, LATEST, load_zone

# Without a deadline: other processes of the machine are no counter-examples.
EXAMPLES = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def timelines(draw: st.DrawFn) -> Timeline:
    """Any timeline; cron ones most of the time."""
    kind = draw(st.sampled_from(["cron", "cron", "cron", "interval", "once", "local"]))
    zone, dst = draw(zones()), draw(policies())
    if kind == "interval":
        return IntervalTimeline(draw(st.integers(1, 10**9)), draw(st.integers(-(2**33), 2**33)))
    if kind == "once":
        return once(draw(st.integers(EARLIEST, LATEST - 1)))
    if kind == "local":
        near = draw(instants_near_changes(zone))
        return once_local(near + load_zone(zone).offset(near), load_zone(zone), dst)
    try:
        return cron_timeline(draw(expressions()), zone=zone, dst=dst, hash_key="qa/nightly")
    except CronError:
        assume(False)
        raise


@st.composite
def timelines_and_instants(draw: st.DrawFn) -> tuple[Timeline, int]:
    """A timeline and an instant, near a change of its clock when it has one."""
    timeline = draw(timelines())
    name = timeline.zone.name if isinstance(timeline, CronTimeline) else draw(zones())
    return timeline, draw(instants_near_changes(name) | st.integers(-10, LATEST + 10))


def walk(timeline: Timeline, after: int, until: int, limit: int = 200) -> list[Fire]:
    """The slots in (after, until], at most `limit`."""
    found: list[Fire] = []
    at = after
    while len(found) < limit and (fire := timeline.next_after(at)) and fire.time <= until:
        found.append(fire)
        at = fire.time
    return found


@EXAMPLES
@given(timelines_and_instants())
def test_next_is_after_and_previous_is_before(drawn: tuple[Timeline, int]) -> None:
    timeline, instant = drawn
    following, preceding = timeline.next_after(instant), timeline.previous_before(instant)
    assert following is None or instant < following.time < LATEST
    assert preceding is None or EARLIEST <= preceding.time < instant


@EXAMPLES
@given(timelines_and_instants())
def test_there_and_back_is_the_same_slot(drawn: tuple[Timeline, int]) -> None:
    timeline, instant = drawn
    following = timeline.next_after(instant)
    assume(following is not None)
    assert following is not None
    assert timeline.previous_before(following.time + 1) == following
    assert timeline.next_after(following.time - 1) == following
    if (preceding := timeline.previous_before(following.time)) is not None:
        assert preceding.time <= instant
        assert timeline.next_after(preceding.time) == following


@EXAMPLES
@given(timelines_and_instants(), st.integers(0, 3 * 86_400))
def test_slots_increase_and_none_comes_twice(drawn: tuple[Timeline, int], span: int) -> None:
    timeline, instant = drawn
    times = [fire.time for fire in walk(timeline, instant, instant + span)]
    assert all(one < two for one, two in pairwise(times))


@EXAMPLES
@given(timelines_and_instants(), st.integers(0, 10 * 86_400), st.integers(0, 10 * 86_400))
def test_the_time_line_can_be_split_anywhere(
    drawn: tuple[Timeline, int], first: int, second: int
) -> None:
    timeline, begin = drawn
    middle, end = begin + first, begin + first + second
    whole = walk(timeline, begin, end)
    parts = walk(timeline, begin, middle) + walk(timeline, middle, end)
    assert parts[: len(whole)] == whole
    assert timeline.count_between(begin, end) == timeline.count_between(
        begin, middle
    ) + timeline.count_between(middle, end)


@EXAMPLES
@given(timelines_and_instants(), st.integers(-100, 40 * 86_400))
def test_the_count_is_the_number_of_slots(drawn: tuple[Timeline, int], span: int) -> None:
    timeline, begin = drawn
    found = walk(timeline, begin, begin + span)
    count = timeline.count_between(begin, begin + span)
    assert count == len(found) if len(found) < 200 else count >= 200


@EXAMPLES
@given(timelines_and_instants())
def test_walking_back_meets_the_same_slots(drawn: tuple[Timeline, int]) -> None:
    timeline, begin = drawn
    forward = walk(timeline, begin, begin + 3 * 86_400, limit=60)
    assume(forward)
    backward = []
    at = forward[-1].time + 1
    while (fire := timeline.previous_before(at)) and fire.time > begin:
        backward.append(fire)
        at = fire.time
    assert backward[::-1] == forward


@settings(EXAMPLES, max_examples=40)
@given(expressions(seconds=False, hashed=False), zones(), policies(), st.data())
def test_slots_are_those_of_the_oracle(
    expression: str, zone: str, dst: DstPolicy, data: st.DataObject
) -> None:
    try:
        timeline = cron_timeline(expression, zone=zone, dst=dst, hash_key="")
    except CronError:
        assume(False)
        raise
    middle = data.draw(instants_near_changes(zone, since=2**29))
    begin = middle - middle % 60 - 26 * 3600
    end = begin + 30 * 3600
    end = min(end, LATEST)
    expected = Oracle(expression, zone, dst.gap, dst.overlap).slots(begin, end)
    assert [fire.time for fire in walk(timeline, begin - 1, end - 1, 5000)] == expected
    assert timeline.count_between(begin - 1, end - 1) == len(expected)


@EXAMPLES
@given(expressions(), zones(), policies())
def test_what_is_accepted_fires(expression: str, zone: str, dst: DstPolicy) -> None:
    try:
        timeline = cron_timeline(expression, zone=zone, dst=dst, hash_key="")
    except CronError:
        return
    # Only a time that lies in a gap each time it comes may never run, and only with Skip.
    if timeline.next_after(0) is None:
        assert isinstance(timeline, CronTimeline)
        assert dst.gap == "Skip"
        moved = CronTimeline(timeline.expression, timeline.zone, DstPolicy())
        assert moved.next_after(0) is not None


def test_an_empty_one_shot_has_no_slots() -> None:
    nothing = OnceTimeline(())
    assert nothing.next_after(0) is None
    assert nothing.previous_before(LATEST) is None
    assert nothing.count_between(0, LATEST) == 0


@EXAMPLES
@given(timelines_and_instants())
def test_backwards_goes_the_same_way_as_one_by_one(case: tuple[Timeline, int]) -> None:
    timeline, instant = case
    at = instant
    for fire in islice(timeline.backwards(instant), 300):
        assert fire == timeline.previous_before(at)
        at = fire.time
    first = next(timeline.backwards(at), None)
    assert first == timeline.previous_before(at)
