"""What a reflector needs from a server: a versioned LIST and a WATCH."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from taskrunner.ports import Obj, Resource

WatchEvent = tuple[str, Obj]
"""Type (ADDED, MODIFIED, DELETED, BOOKMARK or ERROR) and object, as on the wire."""

Batch = Iterable[WatchEvent]
"""Events that arrived together, to be gone through once."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the objects that existed at one resourceVersion, and the whole list's version."""

    items: list[Obj]
    resource_version: str


class Source(Protocol):
    """One API server, as a reflector sees it. `ApiClient` is one, the tests' fake another."""

    def list_pages(
        self,
        resource: Resource,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        trim: Callable[[Obj], Obj] | None = None,
    ) -> AsyncGenerator[Page, None]:
        """A consistent LIST, at least as new as the moment of the call, in one page or more, each
        in the order of namespaces and names. A page of another version than the one before begins
        the list anew. Raises ApiErrors."""
        ...

    async def latest_version(
        self,
        resource: Resource,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> int:
        """The resourceVersion that a LIST has at this moment, without reading all of it. Raises
        ApiErrors."""
        ...

    def watch(
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
        """Batches of events after `resource_version`. Ends when the server ends it; raises
        ApiErrors, Transient among them when nothing came for `idle_seconds`."""
        ...


async def gathered(pages: AsyncGenerator[Page, None]) -> list[Obj]:
    """All objects of a LIST that is read in pages. Raises ApiErrors."""
    items: list[Obj] = []
    version = ""
    async with aclosing(pages):
        async for page in pages:
            if page.resource_version != version:
                items, version = [], page.resource_version
            items += page.items
    return items
