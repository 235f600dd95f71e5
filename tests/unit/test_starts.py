"""No minute has more starts than allowed, however late their creation is heard of."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from taskrunner.domain.starts import UNCERTAIN_SECONDS, WINDOW_SECONDS, Starts

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["allow", "allow", "create", "hear", "hear", "retry", "die", "time"]),
        st.integers(0, 9),
        st.floats(0, 30),
    ),
    max_size=80,
)


@settings(max_examples=150, deadline=None)
@given(STEPS, st.integers(1, 4), st.floats(-2, 2))
def test_no_minute_has_more_creations_than_allowed_across_any_number_of_leaders(
    steps: list[tuple[str, int, float]], most: int, skew: float
) -> None:
    """`skew`: how much the clock of the API server is ahead; it cuts its times to seconds."""
    now, starts = 1_000.0, Starts()
    starts.most = most
    allowed: list[str] = []
    unheard: list[str] = []
    created: list[float] = []
    count = 0
    for what, which, seconds in steps:
        if what == "allow" and starts.room(now):
            count += 1
            allowed.append(f"run-{count}")
            starts.allow(f"run-{count}")
        elif what == "retry" and starts.ask_again(f"again-{which}", now):
            if f"again-{which}" not in allowed + unheard:
                allowed.append(f"again-{which}")
        elif what == "create" and allowed:
            run = allowed.pop(which % len(allowed))
            created.append(now)
            unheard.append(run)
        elif what == "hear" and unheard:
            starts.started(unheard.pop(which % len(unheard)), now)
        elif what == "die":
            # The next leader: what is allowed is forgotten, what is created is in its LIST.
            starts, allowed, unheard = Starts(), [], []
            starts.most = most
            starts.recall(int(at + skew) + UNCERTAIN_SECONDS for at in created)
        elif what == "time":
            now += seconds
    for earlier, later in zip(created, created[most:], strict=False):
        assert later - earlier >= WINDOW_SECONDS


def test_there_is_room_again_after_a_minute_and_not_before() -> None:
    starts = Starts()
    starts.most = 2
    for run, at in (("a", 0.0), ("b", 10.0)):
        starts.allow(run)
        starts.started(run, at)
    assert starts.frees(10.0) == 60.0
    assert not starts.room(59.9)
    assert starts.room(60.0)
    starts.allow("c")
    assert starts.frees(60.0) == 70.0


def test_an_answer_that_does_not_come_keeps_its_start_counted() -> None:
    starts = Starts()
    starts.most = 1
    starts.allow("a")
    assert not starts.room(10_000.0)
    assert starts.frees(10_000.0) is None
    starts.left("a", 10_000.0, created=True)
    assert starts.frees(10_001.0) == 10_060.0
    starts.allow("b")
    starts.left("b", 10_060.0, created=False)
    assert starts.room(10_060.0)


def test_a_retry_goes_before_what_waits() -> None:
    starts = Starts()
    starts.most = 1
    starts.allow("a")
    starts.started("a", 0.0)
    assert not starts.ask_again("a", 1.0)
    assert starts.retries == ["a"]
    assert not starts.room(60.0)
    assert starts.frees(60.0) == 60.0
    assert starts.ask_again("a", 60.0)
