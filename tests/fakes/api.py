"""`taskrunner.ports.Api` in memory, with faults on demand.

One `FakeServer` may be shared by several `FakeApi`s, each the client of one process: crash one, and
the state and the other processes go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fakes.server import FakeServer
from fakes.watching import Stream, first
from taskrunner.errors import ApiError, Gone, Transient
from taskrunner.kube.source import Batch, Page, gathered
from taskrunner.ports import Clock, Obj, Propagation, Resource

T = TypeVar("T")
Hooks = list["Hook"]

_TIMEOUT = 30.0

WRITES = frozenset({"create", "replace", "patch", "delete", "deletecollection"})


class Crash(BaseException):
    """The process died here. Not an Exception, so that no handler lives on; from then on every
    call of the same `FakeApi` raises it."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call as the server saw it."""

    number: int
    verb: str
    resource: Resource
    namespace: str = ""
    name: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)
    subresource: str = ""
    dry_run: bool = False
    timeout: float | None = None

    @property
    def is_write(self) -> bool:
        return self.verb in WRITES and not self.dry_run


Hook = Callable[[Call], None]


class FakeApi:
    """The port, and the reflector's `Source`.

    - `calls`: everything that was asked, in order; `writes`: those that change something.
    - `before` and `after`: hooks around each call; what they raise, the caller gets. Raised in
      `after`, the write has happened.
    - `fail`, `crash`: ready-made hooks. `pause`, `resume`: a server that does not answer.
    - `page`: objects in a page of a list (0: all); the second and later ones are calls of the verb
      "page", and the one after a `Gone` reads the list anew.
    - `latency`: seconds of the clock that each call takes (half before its effect, half after).
    """

    def __init__(self, clock: Clock, server: FakeServer | None = None) -> None:
        self.clock = clock
        self.server = server or FakeServer(clock)
        self.calls: list[Call] = []
        self.before: Hooks = []
        self.after: Hooks = []
        self.latency = 0.0
        self.page = 0
        self.warnings: list[str] = []
        self.crashed = False
        self._paused: asyncio.Event | None = None
        self._pause_after = False
        self._streams: set[Stream] = set()

    @property
    def writes(self) -> list[Call]:
        return [call for call in self.calls if call.is_write]

    # --- faults ---------------------------------------------------------------------------------

    def fail(
        self,
        verb: str,
        resource: Resource | None = None,
        *,
        error: ApiError | None = None,
        name: str = "",
        times: int = 1,
        after: bool = False,
    ) -> None:
        """The next `times` matching calls raise `error` (Transient unless told otherwise); with
        `after`, the write has happened all the same, as when the answer is lost."""
        left = times

        def hook(call: Call) -> None:
            nonlocal left
            same = call.verb == verb and resource in (None, call.resource)
            if left > 0 and same and name in ("", call.name):
                left -= 1
                raise error or Transient(f"{verb}: injected fault")

        (self.after if after else self.before).append(hook)

    def crash(self, *, at_write: int, after: bool = True) -> None:
        """The process dies at its `at_write`-th write from now on (1 is the next), after the server
        has done it, or before."""
        start = len(self.writes)

        def hook(call: Call) -> None:
            if call.is_write and len(self.writes) - start == at_write:
                self.crashed = True
                raise Crash(f"{call.verb} {call.resource.plural} {call.name}")

        (self.after if after else self.before).append(hook)

    def pause(self, *, after: bool = False) -> None:
        """Stop answering: calls end by their time-outs. With `after`, writes still happen."""
        self._paused, self._pause_after = asyncio.Event(), after

    def resume(self) -> None:
        """Answer again; calls that still wait go on."""
        if self._paused is not None:
            self._paused.set()
        self._paused = None

    def break_watches(
        self,
        event: Obj | None = None,
        *,
        silently: bool = False,
        resource: Resource | None = None,
    ) -> None:
        """End the open watches (of one resource): with a broken connection, or with an ERROR event
        that carries this `Status`; or `silently`: the connection is dead, and nothing says so."""
        for stream in list(self._streams):
            if resource in (None, stream.resource):
                stream.break_with(event, silently=silently)

    # --- ports.Api ------------------------------------------------------------------------------

    async def get(self, resource: Resource, namespace: str, name: str) -> Obj:
        call = self._note("get", resource, namespace, name)
        return await self._perform(call, lambda: self.server.get(resource, namespace, name))

    async def list(
        self,
        resource: Resource,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> list[Obj]:
        pages = self.list_pages(
            resource,
            namespace=namespace,
            label_selector=label_selector,
            field_selector=field_selector,
        )
        return await gathered(pages)

    async def create(
        self,
        resource: Resource,
        namespace: str,
        body: Mapping[str, Any],
        *,
        dry_run: bool = False,
        timeout: float | None = None,
    ) -> Obj:
        name = str((body.get("metadata") or {}).get("name") or "")
        call = self._note(
            "create", resource, namespace, name, body, dry_run=dry_run, timeout=timeout
        )
        return await self._perform(
            call, lambda: self.server.create(resource, namespace, body, dry_run=dry_run)
        )

    async def create_with_warnings(
        self,
        resource: Resource,
        namespace: str,
        body: Mapping[str, Any],
        *,
        dry_run: bool = False,
        timeout: float | None = None,
    ) -> tuple[Obj, Any]:
        obj = await self.create(resource, namespace, body, dry_run=dry_run, timeout=timeout)
        return obj, list(self.warnings)

    async def replace(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: Mapping[str, Any],
        *,
        timeout: float | None = None,
    ) -> Obj:
        call = self._note("replace", resource, namespace, name, body, timeout=timeout)
        return await self._perform(
            call, lambda: self.server.replace(resource, namespace, name, body)
        )

    async def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        patch: Mapping[str, Any],
        *,
        subresource: str = "",
        timeout: float | None = None,
    ) -> Obj:
        call = self._note(
            "patch", resource, namespace, name, patch, subresource=subresource, timeout=timeout
        )
        return await self._perform(
            call,
            lambda: self.server.patch(resource, namespace, name, patch, subresource=subresource),
        )

    async def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        uid: str,
        resource_version: str = "",
        propagation: Propagation = "Background",
        timeout: float | None = None,
    ) -> None:
        call = self._note("delete", resource, namespace, name)
        await self._perform(
            call,
            lambda: self.server.delete(
                resource,
                namespace,
                name,
                uid=uid,
                resource_version=resource_version,
                propagation=propagation,
            ),
        )

    async def warm(self, calls: int) -> None:
        """Nothing takes long here."""

    async def delete_selected(
        self,
        resource: Resource,
        namespace: str,
        *,
        label_selector: str,
        field_selector: str = "",
        grace_seconds: int | None = None,
        timeout: float | None = None,
    ) -> Sequence[Obj]:
        body = {} if grace_seconds is None else {"gracePeriodSeconds": grace_seconds}
        call = self._note("deletecollection", resource, namespace, body=body, timeout=timeout)
        return await self._perform(
            call,
            lambda: self.server.delete_selected(
                resource, namespace, label_selector=label_selector, field_selector=field_selector
            ),
        )

    # --- the reflector's Source -----------------------------------------------------------------

    async def list_pages(
        self,
        resource: Resource,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        trim: Callable[[Obj], Obj] | None = None,
    ) -> AsyncGenerator[Page, None]:
        verb = "list"
        for whole in (False, False, True):
            page = await self._perform(
                self._note(verb, resource, namespace),
                lambda: self._snapshot(resource, namespace, label_selector, field_selector),
            )
            items = [trim(item) for item in page.items] if trim else page.items
            size = len(items) if whole or not self.page else self.page
            try:
                yield Page(items[:size], page.resource_version)
                for start in range(size, len(items), size or 1):
                    await self._perform(self._note("page", resource, namespace), lambda: None)
                    yield Page(items[start : start + size], page.resource_version)
            except Gone:
                verb = "page"
            else:
                return

    def _snapshot(
        self, resource: Resource, namespace: str, label_selector: str, field_selector: str
    ) -> Page:
        items = self.server.list(
            resource,
            namespace=namespace,
            label_selector=label_selector,
            field_selector=field_selector,
        )
        return Page(items, str(self.server.version))

    async def latest_version(
        self,
        resource: Resource,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> int:
        call = self._note("version", resource, namespace)
        return await self._perform(call, lambda: self.server.version)

    async def watch(
        self,
        resource: Resource,
        *,
        resource_version: str,
        timeout_seconds: int,
        idle_seconds: float,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncGenerator[Batch, None]:
        call = self._note("watch", resource, namespace)
        await self._perform(call, lambda: self.server.list(resource, namespace=namespace))
        if int(resource_version) < self.server.compacted:
            raise Gone("too old resource version", code=410, reason="Expired")

        stream = Stream(
            self.clock,
            self.server,
            resource,
            int(resource_version),
            namespace=namespace,
            label_selector=label_selector,
            field_selector=field_selector,
        )
        self._streams.add(stream)
        try:
            async for batch in stream.batches(float(timeout_seconds), idle_seconds):
                yield batch
        finally:
            self._streams.discard(stream)

    # --- how ------------------------------------------------------------------------------------

    def _note(
        self,
        verb: str,
        resource: Resource,
        namespace: str,
        name: str = "",
        body: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Call:
        if self.crashed:
            raise Crash("the process is dead")
        call = Call(len(self.calls) + 1, verb, resource, namespace, name, body or {}, **more)
        self.calls.append(call)
        return call

    async def _perform(self, call: Call, effect: Callable[[], T]) -> T:
        if call.timeout is not None and call.timeout <= 0:
            raise Transient(f"{call.verb} {call.resource.plural}: no time is left for this call.")
        await self._travel()
        if self._paused is not None and not self._pause_after:
            await self._wait_for_answer(call)
        try:
            self._run(self.before, call)
            result = effect()
            self._run(self.after, call)
            if self._paused is not None:
                await self._wait_for_answer(call)
        finally:
            # An error is an answer too; only a crash is felt at once.
            if not self.crashed:
                await self._travel()
        return result

    async def _travel(self) -> None:
        """Let others run, as a network does; whoever died meanwhile does not go on."""
        await self.clock.sleep(self.latency / 2)
        if self.crashed:
            raise Crash("the process is dead")

    async def _wait_for_answer(self, call: Call) -> None:
        assert self._paused is not None
        seconds = _TIMEOUT if call.timeout is None else call.timeout
        resumed = asyncio.ensure_future(self._paused.wait())
        answered = await first(self.clock, seconds, resumed)
        resumed.cancel()
        if not answered:
            raise Transient(f"{call.verb} {call.resource.plural}: no answer in time.")

    def _run(self, hooks: Hooks, call: Call) -> None:
        for hook in hooks:
            hook(call)
