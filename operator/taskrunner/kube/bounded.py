"""Waiting that ends by the Clock port, so that tests decide how long it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from taskrunner.errors import Transient
from taskrunner.ports import Clock

T = TypeVar("T")


async def first(clock: Clock, seconds: float, *others: asyncio.Future[Any]) -> bool:
    """Whether one of `others` is done within `seconds`. They are left as they are."""
    sleeper = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait({sleeper, *others}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        sleeper.cancel()
    return any(other.done() for other in others)


async def bounded(clock: Clock, seconds: float, call: Coroutine[Any, Any, T]) -> T:
    """The call's result; Transient when it is not there after `seconds`. A write that was given up
    may have happened."""
    task = asyncio.ensure_future(call)
    try:
        if not await first(clock, seconds, task):
            raise Transient(f"no answer within {seconds:g} s.")
        return task.result()
    finally:
        task.cancel()
