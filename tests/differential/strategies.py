"""Hypothesis strategies for expressions, zones, policies and telling instants."""

from __future__ import annotations

from functools import cache

from hypothesis import strategies as st

from differential.expressions import NAMES, RANGES, Expressions
from taskrunner.domain.timeline import DstPolicy
from taskrunner.domain.zones import EARLIEST, LATEST, load_zone, zone_names

ODD_ZONES = [
    "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Beirut",
    "America/Asuncion", "America/Santiago", "Pacific/Apia", "Africa/Casablanca", "Asia/Gaza",
    "America/Nuuk", "Pacific/Chatham", "Antarctica/Troll", "Asia/Pyongyang", "Europe/Moscow",
]  # fmt: skip


def zones() -> st.SearchStrategy[str]:
    """Zone names, those with odd changes more often."""
    return st.sampled_from(ODD_ZONES) | st.sampled_from(sorted(zone_names()))


def policies() -> st.SearchStrategy[DstPolicy]:
    return st.builds(
        DstPolicy,
        st.sampled_from(["RunAfter", "Skip"]),
        st.sampled_from(["First", "Second", "Both"]),
    )


@cache
def _changes(zone: str, since: int) -> list[int]:
    return [at for at in load_zone(zone).starts[1:-1] if at >= since]


@st.composite
def instants_near_changes(draw: st.DrawFn, zone: str, since: int = EARLIEST) -> int:
    """An instant within hours of a change of the zone's clock; any when there is none."""
    changes = _changes(zone, since)
    if not changes:
        return draw(st.integers(since, LATEST - 1))
    return max(since, draw(st.sampled_from(changes)) + draw(st.integers(-30_000, 30_000)))


def expressions(*, seconds: bool = True, hashed: bool = True) -> st.SearchStrategy[str]:
    """Expressions of the whole dialect; a few can never match and are refused.

    A field is one draw from a list of fields made beforehand, simple ones first: generation is
    fast and counter-examples shrink.
    """
    fields = [st.sampled_from(_fields(name, hashed)) for name in RANGES]
    five = st.tuples(*fields[1:])
    return (five | st.tuples(*fields) if seconds else five).map(" ".join)


@cache
def _fields(name: str, hashed: bool) -> list[str]:
    low, high = RANGES[name]
    middle = (low + high) // 2
    simple = ["*", str(low), str(high), str(middle), "*/2", "*/7", f"{low},{middle}", "?"]
    simple += [f"{low}-{high}", f"{low}-{middle}/2", f"{middle}/3", f"{middle}-{middle}"]
    if hashed:
        simple += ["H", "H/2", "H/5", f"H({low}-{middle})", f"H({middle}-{high})/3", f"H,{low}"]
    simple += [str(value) for value in range(low, high + 1)]
    simple += NAMES.get(name, [])
    if name == "day":
        simple += ["L", "LW", *(f"{day}W" for day in range(1, 32)), "L,1", "1W,LW"]
        simple += [f"L-{before}" for before in range(31)]
    if name == "weekday":
        simple += [f"{day}#{nth}" for day in range(7) for nth in range(1, 6)]
        simple += [*(f"{day}L" for day in range(8)), "MON#1,FRI#3", "MONL,2"]
    source = Expressions(seed=len(simple))
    # Wildcards often enough that most expressions come often.
    return simple + [source.field(name) for _ in range(200)]
