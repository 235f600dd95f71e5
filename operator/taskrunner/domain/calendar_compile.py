"""From a Calendar to what planning asks, or an error that names every bad field."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Final

from taskrunner.api.v1alpha1.calendar import Calendar, Times
from taskrunner.api.v1alpha1.calendar import Holidays as HolidaysSpec
from taskrunner.domain.calendar import (
    MAX_OPENINGS,
    CompiledCalendar,
    Days,
    Recurring,
    Source,
    openings_of,
)
from taskrunner.domain.calendar_days import (
    WEEKDAYS,
    Dates,
    Holidays,
    Weekdays,
    holidays_in,
    to_day,
)
from taskrunner.domain.cron import CronError, cron_timeline
from taskrunner.domain.hashing import stable_hash
from taskrunner.domain.timeline import DstPolicy
from taskrunner.domain.zones import Zone, ZoneError, load_zone
from taskrunner.errors import Problem, SpecError

_FEW: Final = 20
"""Values that are listed in a remedy."""
_CHECKED_YEARS: Final = range(2024, 2031)
"""Years whose holidays are looked through for a name given in `names`."""


def compile_calendar(calendar: Calendar) -> CompiledCalendar:
    """Compile a calendar. Raises SpecError with every problem found."""
    meta, spec = calendar.metadata, calendar.spec
    problems: list[Problem] = []
    zone = load_zone("UTC")
    if spec.time_zone is not None:
        try:
            zone = load_zone(spec.time_zone)
        except ZoneError as error:
            problems.append(Problem("spec.timeZone", error.value, error.message, error.remedy))
    key = f"{meta.namespace or 'default'}/{meta.name}"
    excluded = _sources(spec.exclude, "spec.exclude", zone, key, 0, problems)
    openings = openings_of(excluded)
    included = _sources(spec.include, "spec.include", zone, key, openings, problems)
    if problems:
        raise SpecError(*problems)
    timing = spec.model_dump_json(
        by_alias=True, exclude_none=True, exclude={"display_name", "description"}
    )
    return CompiledCalendar(
        name=meta.name,
        excluded=excluded,
        included=included if spec.include is not None else None,
        zone=zone,
        business_days=frozenset(WEEKDAYS.index(day) for day in spec.business_days),
        content=f"{stable_hash('calendar', key, timing):016x}",
    )


def _sources(
    times: Times | None, path: str, zone: Zone, key: str, openings: int, problems: list[Problem]
) -> tuple[Source, ...]:
    """The sources of a part; `openings` is how often the windows of the parts before open a day."""
    if times is None:
        return ()
    found: list[Source] = []
    # Holidays first: the first source that covers a time gives the reason that people read.
    for position, entry in enumerate(times.holidays):
        wrong = list(_holiday_problems(entry, f"{path}.holidays[{position}]"))
        problems += wrong
        if not wrong:
            found.append(Days(zone, _holidays(entry)))
    days = {
        day: each.name
        for each in times.date_ranges
        for day in range(to_day(each.from_), to_day(each.to) + 1)
    }
    days |= {to_day(date): date.isoformat() for date in times.dates}
    if days:
        found.append(Days(zone, Dates(days)))
    if times.weekdays:
        found.append(Days(zone, Weekdays(frozenset(WEEKDAYS.index(day) for day in times.weekdays))))
    for position, window in enumerate(times.windows):
        try:
            # The zone is checked already; a calendar's own H is as stable as a task's.
            timeline = cron_timeline(window.cron, zone=zone.name, dst=DstPolicy(), hash_key=key)
        except CronError as error:
            field = f"{path}.windows[{position}].cron"
            problems.append(Problem(field, error.value, error.message, error.remedy))
        else:
            made = Recurring(timeline, window.duration_seconds, window.name)
            found.append(made)
            before, openings = openings, openings + made.per_day
            if openings > MAX_OPENINGS >= before:
                problems.append(
                    _too_often(window.cron, f"{path}.windows[{position}].cron", openings)
                )
    return tuple(found)


def _too_often(cron: str, field: str, openings: int) -> Problem:
    return Problem(
        field,
        cron,
        f"The windows up to this one open {openings:,} times a day; at most {MAX_OPENINGS} are"
        " supported.",
        "Let windows open less often and stay open longer.",
    )


def _holidays(entry: HolidaysSpec) -> Holidays:
    return Holidays(
        entry.country, entry.subdivision, tuple(sorted(entry.categories)), frozenset(entry.names)
    )


def _holiday_problems(entry: HolidaysSpec, path: str) -> Iterator[Problem]:
    from holidays import registry

    codes = {codes[1] for codes in registry.COUNTRIES.values()}
    if entry.country not in codes:
        yield Problem(
            f"{path}.country",
            entry.country,
            "No public holidays are known for this country.",
            'Write two letters of ISO 3166-1, e.g. "DE"; or list the days under dates.',
        )
        return
    import holidays

    known = holidays.country_holidays(entry.country)
    subdivisions = list(known.subdivisions)
    if entry.subdivision is not None and entry.subdivision not in subdivisions:
        yield Problem(
            f"{path}.subdivision",
            entry.subdivision,
            f"{entry.country} has no such subdivision.",
            _choices(entry.subdivision, subdivisions) or "Remove it.",
        )
        return
    for category in entry.categories:
        if category not in known.supported_categories:
            yield Problem(
                f"{path}.categories",
                category,
                f"{entry.country} has no holidays of this category.",
                _choices(category, list(known.supported_categories)),
            )
            return
    yield from _unknown_names(entry, path)


def _unknown_names(entry: HolidaysSpec, path: str) -> Iterator[Problem]:
    if not entry.names:
        return
    categories = tuple(sorted(entry.categories))
    names = {
        name
        for year in _CHECKED_YEARS
        for label in holidays_in(
            entry.country, entry.subdivision, categories, frozenset(), year
        ).names.values()
        for name in label.split("; ")
    }
    for name in entry.names:
        if name not in names:
            yield Problem(
                f"{path}.names",
                name,
                f"{entry.country} has no holiday of this name.",
                _choices(name, sorted(names)),
            )


def _choices(given: str, known: list[str]) -> str:
    """A remedy: the nearest of the known values, or all of them when they are few."""
    if not known:
        return ""
    close = get_close_matches(given, known, n=3, cutoff=0.7)
    if close:
        return "Did you mean " + " or ".join(f'"{one}"' for one in close) + "?"
    return f"Write {'one of ' if len(known) <= _FEW else 'e.g. '}{', '.join(known[:_FEW])}."
