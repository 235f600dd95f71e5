"""LISTs for several who ask at the same time: one is enough for all who asked before it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class SharedRefresh:
    """Calls `refresh` so that everybody gets one that began after they had asked."""

    def __init__(self, refresh: Callable[[], Awaitable[None]]) -> None:
        self._refresh = refresh
        self._one_at_a_time = asyncio.Lock()
        self._begun = 0
        self._done = 0

    async def __call__(self) -> None:
        needed = self._begun + 1
        async with self._one_at_a_time:
            if self._done >= needed:
                return
            self._begun += 1
            number = self._begun
            await self._refresh()
            self._done = number
