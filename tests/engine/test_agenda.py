"""The heap of what is to be looked at when, against a plain dictionary."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from taskrunner.engine.agenda import Agenda

KEYS = st.sampled_from("abcde")
TIMES = st.integers(0, 20)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), KEYS, TIMES),
        st.tuples(st.just("earlier"), KEYS, TIMES),
        st.tuples(st.just("remove"), KEYS, TIMES),
        st.tuples(st.just("due"), KEYS, TIMES),
    ),
    max_size=200,
)


@given(STEPS)
def test_it_gives_what_a_dictionary_would(steps: list[tuple[str, str, int]]) -> None:
    agenda: Agenda[str] = Agenda()
    model: dict[str, int] = {}
    for action, key, when in steps:
        match action:
            case "set":
                agenda.set(key, when)
                model[key] = when
            case "earlier":
                agenda.set_earlier(key, when)
                model[key] = min(when, model.get(key, when))
            case "remove":
                agenda.remove(key)
                model.pop(key, None)
            case "due":
                found = list(agenda.due(when))
                expected = {k: t for k, t in model.items() if t <= when}
                assert set(found) == set(expected)
                assert [expected[k] for k in found] == sorted(expected.values())
                for gone in expected:
                    del model[gone]
        assert len(agenda) == len(model)
        assert agenda.next_due() == (min(model.values()) if model else None)


def test_moving_a_key_often_does_not_grow_the_heap() -> None:
    agenda: Agenda[str] = Agenda()
    for when in range(10_000):
        agenda.set("a", when)
    assert len(agenda._heap) < 200
    assert list(agenda.due(9_999)) == ["a"]
