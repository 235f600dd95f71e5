"""Which creations may still be under way: what a replica must know before it says that it is done.

Creations alone, because every other write names the version that it changes: one that arrives late
meets a newer version and does nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from taskrunner.errors import ApiError
from taskrunner.ports import Api, Clock, Obj, Resource

_GRACE = 5.0
"""Seconds by which the server may be late in giving up a call whose time is over: etcd gets a
time-out of its own."""


class Creations:
    """Counts creations that have no answer yet, and remembers those that never got one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._under_way = 0
        self._doubtful_until = float("-inf")

    @contextmanager
    def one(self, timeout: float) -> Iterator[None]:
        """Around one creation, which the server gives up after `timeout` seconds."""
        latest = self._clock.boot() + timeout + _GRACE
        self._under_way += 1
        answered = False
        try:
            yield
            answered = True
        except ApiError as error:
            # From 500 on, the server may not know itself whether it was done.
            answered = 0 < error.code < 500
            raise
        finally:
            self._under_way -= 1
            if not answered:
                self._doubtful_until = max(self._doubtful_until, latest)

    def all_answered(self) -> bool:
        """Nothing that was asked for can still be done."""
        return not self._under_way and self._clock.boot() > self._doubtful_until

    def counting(self, api: Api, *, timeout: float = 30.0) -> Api:
        """The same API server, with every creation counted here; `timeout` is the client's own,
        for calls that name none."""
        return cast(Api, _Counting(api, self, timeout))


class _Counting:
    def __init__(self, api: Api, creations: Creations, timeout: float) -> None:
        self._api = api
        self._creations = creations
        self._timeout = timeout

    def __getattr__(self, name: str) -> Any:
        return getattr(self._api, name)

    async def create(
        self,
        resource: Resource,
        namespace: str,
        body: Mapping[str, Any],
        *,
        dry_run: bool = False,
        timeout: float | None = None,
    ) -> Obj:
        if dry_run:
            return await self._api.create(resource, namespace, body, dry_run=True, timeout=timeout)
        with self._creations.one(self._timeout if timeout is None else timeout):
            return await self._api.create(resource, namespace, body, timeout=timeout)
