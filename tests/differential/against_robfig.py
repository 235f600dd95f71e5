"""Compares with robfig/cron v3, the parser of the CronJob controller.

Run it in full with `PYTHONPATH=tests:tools .venv/bin/python -m differential.against_robfig`. The Go
program beside it answers; it is built once into the cache directory and reads the same time zone
data. Rules that must hold:

1. What CronJob refuses, we may accept (the dialect is larger); what CronJob accepts and we refuse
   is reported by `differences_from_cronjob`.
2. Where it reports nothing, all slots are equal, in UTC and in zones.
3. With dst {gap: Skip, overlap: Both} the slots are equal, too, but for the parser's own errors in
   zones that change at midnight or not by or at whole hours; there the oracle sides with us.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path

from differential.expressions import Expressions
from differential.oracle import Oracle
from differential.transitions import YEAR_2020, YEAR_2036, transitions
from taskrunner.domain.cron import MACROS, CronError, cron_timeline
from taskrunner.domain.cron_differences import EVERY, differences_from_cronjob
from taskrunner.domain.timeline import DstPolicy, Timeline
from taskrunner.domain.zones import LATEST
from testbed import binaries, paths

SOURCE = Path(__file__).parent / "robfig"
COUNT = 4
AS_CRONJOB = DstPolicy(gap="Skip", overlap="Both")


@dataclass(frozen=True)
class Question:
    expression: str
    zone: str
    starts: tuple[int, ...]
    count: int = COUNT


@dataclass(frozen=True)
class Answer:
    error: str = ""
    slots: tuple[tuple[int, ...], ...] = ()


def program() -> Path:
    """The Go program, built with the pinned module when it is not in the cache yet."""
    digest = hashlib.sha256()
    for name in ("go.mod", "go.sum", "main.go"):
        digest.update((SOURCE / name).read_bytes())
    target = paths.binaries() / f"robfig-{digest.hexdigest()[:12]}" / "robfig"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own until complete: another process may build or look at the same time.
        unfinished = target.with_name(f".robfig.{os.getpid()}")
        environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": ""}
        subprocess.run(
            [binaries.go(), "build", "-o", str(unfinished), "."],
            cwd=SOURCE,
            env=environment,
            check=True,
        )
        unfinished.replace(target)
    return target


def ask(questions: list[Question]) -> list[Answer]:
    """What CronJob's parser answers, with the zones of the tzdata package."""
    zones = str(resources.files("tzdata").joinpath("zoneinfo"))
    done = subprocess.run(
        [program()],
        input="".join(json.dumps(asdict(question)) + "\n" for question in questions),
        env={**os.environ, "ZONEINFO": zones},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    lines = (json.loads(line) for line in done.stdout.splitlines())
    answers = [
        Answer(line.get("error", ""), tuple(map(tuple, line.get("slots", [])))) for line in lines
    ]
    if len(answers) != len(questions):
        raise RuntimeError(f"{len(questions)} questions, {len(answers)} answers")
    return answers


def questions(count: int, seed: int, *, zones: bool) -> Iterator[Question]:
    """Random expressions: at random times in UTC, or around changes of the clock in all zones."""
    source = Expressions(seed)
    changes = transitions()
    for number in range(count):
        kind = number % 10
        make = source.standard if kind < 7 else source.broken if kind < 9 else source.descriptor
        if zones:
            change = source.random.choice(changes)
            starts = tuple(change.instant + offset for offset in (-90_000, -1, 1_800))
            yield Question(make(), change.zone, starts)
        else:
            yield Question(make(), "UTC", (source.random.randrange(YEAR_2020, YEAR_2036),))


def compare(asked: list[Question]) -> tuple[Counter[str], list[str]]:
    """Counts by outcome, and what breaks a rule."""
    counts: Counter[str] = Counter()
    broken: list[str] = []
    for question, answer in zip(asked, ask(asked), strict=True):
        outcome = judge(question, answer)
        counts[outcome.removeprefix("!")] += 1
        if outcome.startswith("!"):
            broken.append(f"{outcome} {question} {answer}")
    return counts, broken


def judge(question: Question, answer: Answer) -> str:
    """The outcome of one question; it begins with an exclamation mark when a rule is broken."""
    try:
        default = _timeline(question, DstPolicy())
    except CronError:
        if answer.error:
            return "both refuse"
        told = differences_from_cronjob(question.expression, question.zone)
        refused = len(told) == 1 and told[0].startswith("Refused: ")
        return "refused here, and reported" if refused else "!refused here and not reported"
    if answer.error:
        return "accepted here, not by CronJob"
    reported = differences_from_cronjob(
        question.expression, question.zone, since=YEAR_2020, until=LATEST
    )
    if reported == [EVERY]:
        return "@every, reported"
    if _slots(default, question) != answer.slots and not reported:
        return "!differs and is not reported"
    if (ours := _slots(_timeline(question, AS_CRONJOB), question)) != answer.slots:
        irregular = any("midnight" in sentence for sentence in reported)
        return _judge_irregular(question, ours, answer) if irregular else "!not as Skip and Both"
    return "equal with Skip and Both, DST reported" if reported else "equal"


def _judge_irregular(question: Question, ours: tuple[tuple[int, ...], ...], answer: Answer) -> str:
    fields = MACROS.get(question.expression.strip().lower(), question.expression)
    oracle = Oracle(fields, question.zone, AS_CRONJOB.gap, AS_CRONJOB.overlap)
    for start, our, their in zip(question.starts, ours, answer.slots, strict=True):
        until = min(our[-1:] + their[-1:], default=0)
        disputed = {slot for slot in set(our) ^ set(their) if slot <= until}
        # It also happens that the parser answers with a time in the past.
        if any((slot > start and oracle.due(slot)) != (slot in our) for slot in disputed):
            return "!the oracle sides with CronJob"
    return "CronJob errs at an irregular change, reported"


def _timeline(question: Question, dst: DstPolicy) -> Timeline:
    return cron_timeline(question.expression, zone=question.zone, dst=dst, hash_key="")


def _slots(timeline: Timeline, question: Question) -> tuple[tuple[int, ...], ...]:
    return tuple(_following(timeline, start, question.count) for start in question.starts)


def _following(timeline: Timeline, start: int, count: int) -> tuple[int, ...]:
    found: list[int] = []
    at = start
    while len(found) < count and (fire := timeline.next_after(at)):
        found.append(at := fire.time)
    return tuple(found)


def run(utc: int, zoned: int, seed: int = 1) -> tuple[Counter[str], list[str]]:
    """Compares `utc` expressions in UTC and `zoned` ones around changes of the clock."""
    counts, broken = compare(list(questions(utc, seed, zones=False)))
    more_counts, more_broken = compare(list(questions(zoned, seed + 1, zones=True)))
    return counts + more_counts, broken + more_broken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--utc", type=int, default=60_000)
    parser.add_argument("--zoned", type=int, default=50_000)
    arguments = parser.parse_args()
    counts, broken = run(arguments.utc, arguments.zoned)
    print(*(f"{count:>8,}  {outcome}" for outcome, count in counts.most_common()), sep="\n")
    print(f"{counts.total():>8,}  expressions")
    print(*broken[:20], sep="\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
