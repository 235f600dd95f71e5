"""Time zones: the same offsets as the standard library's, names, aliases, suggestions."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from differential.oracle import zoneinfo
from taskrunner.domain.tzif import parse_rule, read_changes
from taskrunner.domain.zones import (
    LATEST,
    ZoneError,
    is_deprecated_alias,
    load_zone,
    tzdata_version,
    zone_names,
)


def expected_offset(name: str, instant: int) -> int:
    offset = datetime.fromtimestamp(instant, UTC).astimezone(zoneinfo(name)).utcoffset()
    assert offset is not None
    return int(offset.total_seconds())


def test_offsets_are_those_of_the_standard_library_at_every_change() -> None:
    source = random.Random(7)
    compared = 0
    for name in sorted(zone_names()):
        zone = load_zone(name)
        changes = list(zone.starts[1:-1])
        # All changes until 2038, a sample of those that the rules make until 2200.
        late = [at for at in changes if at >= 2**31]
        at_changes = [at for at in changes if at < 2**31] + source.sample(late, min(8, len(late)))
        for instant in [*at_changes, *(source.randrange(LATEST) for _ in range(8))]:
            for moment in (instant - 1, instant):
                if moment >= 0:
                    assert zone.offset(moment) == expected_offset(name, moment), (name, moment)
                    compared += 1
    assert compared > 50_000


def test_segments_are_in_order_and_differ() -> None:
    for name in zone_names():
        zone = load_zone(name)
        assert list(zone.starts) == sorted(set(zone.starts))
        assert all(one != two for one, two in zip(zone.offsets, zone.offsets[1:], strict=False))
        assert len(zone.starts) - 1 == len(zone.offsets) == len(zone.seen) == len(zone.later)


def test_a_zone_is_loaded_once() -> None:
    assert load_zone("Europe/Berlin") is load_zone("Europe/Berlin")


def test_the_release_of_the_database_is_told() -> None:
    assert tzdata_version()[:2] == "20"
    assert tzdata_version()[4:].isalpha()


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("Europe/Berln", "Europe/Berlin"),
        ("europe/berlin", "Europe/Berlin"),
        ("Berlin", "Europe/Berlin"),
        ("new york", "America/New_York"),
        ("America/new-york", "America/New_York"),
        ("UTC+2", "Etc/GMT-2"),
        ("GMT-5", "Etc/GMT+5"),
        ("+01:00", "Etc/GMT-1"),
        ("utc", "UTC"),
        ("Local", "no local zone"),
        ("", "Europe/Berlin"),
        ("CEST", "IANA name"),
        ("xyzzy", "IANA name"),
        ("../../etc/passwd", "IANA name"),
        ("/etc/localtime", "IANA name"),
        ("Europe", "Europe/"),
        ("Factory", "IANA name"),
        ("tzdata.zi", "IANA name"),
        ("A" * 5000, "IANA name"),
    ],
)
def test_an_unknown_zone_is_refused_with_a_suggestion(name: str, remedy: str) -> None:
    with pytest.raises(ZoneError) as caught:
        load_zone(name)
    assert remedy in caught.value.remedy
    assert caught.value.value == name[:100]


@pytest.mark.parametrize(
    ("alias", "canonical"),
    [
        ("US/Eastern", "America/New_York"),
        ("Asia/Calcutta", "Asia/Kolkata"),
        ("Europe/Kiev", "Europe/Kyiv"),
        ("Zulu", "UTC"),
        ("Iceland", "Atlantic/Reykjavik"),
        ("EST", "America/Panama"),
        ("Europe/Berlin", None),
        ("Europe/Oslo", None),  # a link today, but the name for Norway
        ("UTC", None),
        ("GMT", None),
        ("Etc/UTC", None),
    ],
)
def test_old_names_are_known_as_deprecated(alias: str, canonical: str | None) -> None:
    assert is_deprecated_alias(alias) == canonical


def test_a_deprecated_alias_and_its_replacement_have_the_same_rules() -> None:
    aliases = [name for name in sorted(zone_names()) if is_deprecated_alias(name)]
    assert len(aliases) > 80
    for alias in aliases:
        canonical = is_deprecated_alias(alias)
        assert canonical is not None
        assert is_deprecated_alias(canonical) is None
        one, other = load_zone(alias), load_zone(canonical)
        assert (one.starts, one.offsets) == (other.starts, other.offsets), (alias, canonical)


@pytest.mark.parametrize(
    ("rule", "year", "changes"),
    [
        ("EST5EDT,M3.2.0,M11.1.0", 2026, ["2026-03-08T07:00", "2026-11-01T06:00"]),
        ("AEST-10AEDT,M10.1.0,M4.1.0/3", 2026, ["2026-04-04T16:00", "2026-10-03T16:00"]),
        ("<-02>2<-01>,M3.5.0/-1,M10.5.0/0", 2026, ["2026-03-29T01:00", "2026-10-25T01:00"]),
        ("IST-2IDT,M3.4.4/26,M10.5.0", 2026, ["2026-03-27T00:00", "2026-10-24T23:00"]),
        ("XXX3YYY,J60/0,J365/0", 2028, ["2028-03-01T03:00", "2028-12-31T02:00"]),
        ("XXX3YYY,59/0,300/0", 2028, ["2028-02-29T03:00", "2028-10-27T02:00"]),
        ("UTC0", 2026, []),
    ],
)
def test_the_rule_for_the_years_to_come_is_followed(
    rule: str, year: int, changes: list[str]
) -> None:
    instants = [instant for instant, _ in parse_rule(rule).changes(year)]
    assert [f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M}" for at in instants] == changes


@pytest.mark.parametrize("data", [b"TZif2" + b"\0" * 39, b"nope" + b"\0" * 100])
def test_what_is_no_zone_file_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a (TZif|POSIX)"):
        read_changes(data.ljust(200, b"\0") if data.startswith(b"nope") else b"TZif1" + data[5:])


def test_a_footer_that_is_no_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="not a POSIX TZ rule"):
        parse_rule("EST5EDT,rubbish")
