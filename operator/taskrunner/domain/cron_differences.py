"""What a CronJob's schedule would mean differently here: for the importer, and for users who move.

The list is complete for expressions that CronJob accepts: tests compare both with the parser that
CronJob uses (robfig/cron v3.0.1). docs/reference/cron.md publishes it.
"""

from __future__ import annotations

import re
from calendar import timegm

from taskrunner.domain.cron import CronError, every_seconds, parse_cron
from taskrunner.domain.cron_expression import CronExpression
from taskrunner.domain.zones import Zone, load_zone, tzdata_version

_YEARS = 5


def differences_from_cronjob(
    expression: str, zone: str = "UTC", *, since: int | None = None, until: int | None = None
) -> list[str]:
    """Sentences on how a schedule that CronJob accepts differs; empty when it means the same.

    A sentence that begins with "Refused" says that the expression cannot be used as it is.
    Changes of the clock count when since ≤ instant < until; by default in the five years from the
    one of the time zone database. Raises ZoneError.
    """
    loaded = load_zone(zone)
    try:
        if re.match(r"@every", expression.strip(), re.IGNORECASE):
            every_seconds(expression)
            return [EVERY]
        parsed = parse_cron(expression, hash_key="")
    except CronError as error:
        return [f"Refused: {error}"]
    if since is None:
        since = timegm((int(tzdata_version()[:4]), 1, 1, 0, 0, 0))
    if until is None:
        until = since + _YEARS * 366 * 86_400
    return _around_changes(parsed, loaded, since, until)


EVERY = (
    "CronJob counts @every from the CronJob's creation or its last run; here the slots are "
    "multiples of the interval since 1970-01-01T00:00:00Z. Use everySeconds with anchor to choose "
    "the phase."
)
GAP = (
    "In {zone} the clock jumps over this time on some days: CronJob does not run then, here it "
    'runs right after the jump. Set dst: {{gap: "Skip"}} to keep what CronJob does.'
)
OVERLAP = (
    "In {zone} this time comes twice on some days: CronJob runs both times, here it runs the "
    'first time. Set dst: {{overlap: "Both"}} to keep what CronJob does.'
)
IRREGULAR = (
    "In {zone} the clock changes at midnight, or not by or at a whole hour: CronJob loses slots "
    "or runs on wrong days around such changes, here they are as scheduled."
)


def _around_changes(parsed: CronExpression, zone: Zone, since: int, until: int) -> list[str]:
    gap = overlap = irregular = False
    for index in range(1, len(zone.offsets)):
        at = zone.starts[index]
        if not since <= at < until:
            continue
        before, after = at + zone.offsets[index - 1], at + zone.offsets[index]
        irregular = irregular or is_irregular(before, after)
        if parsed.fixed:
            gap = gap or parsed.first(before, after) is not None
            overlap = overlap or parsed.first(after, before) is not None
    found = [(GAP, gap), (OVERLAP, overlap), (IRREGULAR, irregular)]
    return [sentence.format(zone=zone.name) for sentence, applies in found if applies]


def is_irregular(before: int, after: int) -> bool:
    """Whether a change of the wall clock is one that CronJob's parser gets wrong.

    `before` jumps to `after` (local seconds): not by whole hours, not at a whole hour, or into,
    over or up to midnight.
    """
    early, late = sorted([before, after])
    touches_midnight = early % 86_400 == 0 or early // 86_400 != late // 86_400
    return bool((after - before) % 3600 or before % 3600 or touches_midnight)
