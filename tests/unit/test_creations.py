"""Which creations may still be carried out, as far as the client knows."""

from __future__ import annotations

import asyncio

import pytest

from fakes.clock import FakeClock
from taskrunner.errors import AlreadyExists, Refused, Transient
from taskrunner.kube.creations import Creations

TIMEOUT = 10.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(now=0.0)


def test_one_without_an_answer_is_under_way(clock: FakeClock) -> None:
    creations = Creations(clock)
    assert creations.all_answered()
    with creations.one(TIMEOUT):
        assert not creations.all_answered()
    assert creations.all_answered()


@pytest.mark.parametrize(
    ("ending", "answered"),
    [
        pytest.param(AlreadyExists("", code=409), True, id="the name was taken"),
        pytest.param(Refused("", code=422), True, id="refused"),
        pytest.param(Transient("", code=429), True, id="too many"),
        pytest.param(Transient("", code=504), False, id="the server gave up waiting for etcd"),
        pytest.param(Transient("the connection broke"), False, id="no answer"),
        pytest.param(asyncio.CancelledError(), False, id="we did not wait for it"),
    ],
)
async def test_what_an_ending_says(clock: FakeClock, ending: BaseException, answered: bool) -> None:
    creations = Creations(clock)
    with pytest.raises(type(ending)), creations.one(TIMEOUT):
        raise ending
    assert creations.all_answered() is answered
    await clock.advance(TIMEOUT + 4)
    assert creations.all_answered() is answered
    await clock.advance(2)
    assert creations.all_answered(), "the server has given it up by now"
