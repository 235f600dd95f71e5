"""The fuzzer itself: it runs, and it finds what it looks for."""

from __future__ import annotations

import random
from typing import NoReturn

import pytest

import fuzz.__main__ as fuzzer
from differential.expressions import Expressions
from taskrunner.domain.cron import CronError
from taskrunner.domain.timeline import OnceTimeline


def test_a_short_round_finds_nothing() -> None:
    fuzz = fuzzer.Fuzz(random.Random(8))
    for number, text in enumerate(fuzzer.random_texts(Expressions(8))):
        if number == 300:
            break
        fuzz.check(text)
    for number, text in enumerate(fuzzer.mutants(fuzz)):
        if number == 300:
            break
        fuzz.check(text)
    assert fuzz.findings == []
    assert fuzz.counts["texts"] == 600
    assert fuzz.counts["accepted"] > 100
    assert fuzz.counts["refused"] > 50


def _crash(text: str, **_: object) -> NoReturn:
    raise ValueError("planted")


def _refuse_silently(text: str, **_: object) -> NoReturn:
    raise CronError("Wrong.", "", text)


def _never(text: str, **_: object) -> OnceTimeline:
    return OnceTimeline(())


def _slow(text: str, **_: object) -> NoReturn:
    sum(range(1_000_000))
    raise CronError("Wrong.", "Write it right.", text)


def _hang(text: str, **_: object) -> NoReturn:
    while True:
        pass


@pytest.mark.parametrize(
    ("planted", "words"),
    [
        (_crash, "ValueError: planted"),
        (_refuse_silently, "poor message"),
        (_never, "accepted and never fires"),
        (_slow, "takes"),
        (_hang, "hangs"),
    ],
)
def test_a_planted_fault_is_found(
    planted: object, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzzer, "cron_timeline", planted)
    monkeypatch.setattr(fuzzer, "HANG_SECONDS", 1.5)
    fuzz = fuzzer.Fuzz(random.Random(1))
    fuzz.check("0 2 * * *")
    assert any(words in finding for finding in fuzz.findings)
