"""The one client of the API server: aiohttp and orjson, objects as plain dicts (ADR 0003)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

import aiohttp
import orjson

from taskrunner.errors import Gone, Transient
from taskrunner.kube.answers import error_from, warnings_from
from taskrunner.kube.config import Connection
from taskrunner.kube.skew import ServerSkew
from taskrunner.kube.source import Batch, Page, gathered
from taskrunner.kube.transport import BROKEN, CONNECT_SECONDS, JSON, Transport, no_answer
from taskrunner.kube.wire import decoded, url_path, url_query
from taskrunner.ports import Clock, Obj, Propagation, Resource

Observer = Callable[[str, str, int, float], None]
"""Called after each call with verb, plural, HTTP status (0: no answer) and seconds."""

Sentences = list[str]

PAGE = 500
MANAGER = "taskrunner"
MERGE_PATCH = "application/merge-patch+json"

_GRACE = 1.0
"""Seconds that the client waits longer than the server, so that the server's answer is seen."""


class ApiClient:
    """`taskrunner.ports.Api` and the reflector's `Source` on one API server.

    Use as an asynchronous context manager. Writes and reads share a pool of at most `pool` warm
    connections and wait for one in turn; watches have connections besides. What must not wait
    behind a burst (the renewal of a Lease) takes a client of its own.
    """

    def __init__(
        self,
        connection: Connection,
        clock: Clock,
        *,
        pool: int = 128,
        timeout: float = 30.0,
        observe: Observer | None = None,
    ) -> None:
        self._clock = clock
        self._timeout = timeout
        self._observe = observe
        self.skew = ServerSkew()
        """How far the local wall clock is from the API server's, by the answers so far."""
        self._transport = Transport(connection, clock, pool=pool)

    async def __aenter__(self) -> ApiClient:
        self._transport.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections; calls under way and later ones raise Transient."""
        await self._transport.close()

    async def warm(self, connections: int) -> None:
        """Have this many open connections in the pool (at most its size), ready for a burst.

        Opening them inside a burst of writes doubles its length. Idle ones live 75 s, so this is
        for a few seconds before. Does nothing about failures: the calls themselves will tell.
        """
        await self._transport.warm(connections)

    def server_skew(self) -> float | None:
        """Local wall clock minus the API server's, seconds: the smallest that explains the `Date`s
        of the last minute's answers, round trips considered. None when there were none."""
        return self.skew.seconds(self._clock.boot())

    # --- ports.Api ------------------------------------------------------------------------------

    async def get(self, resource: Resource, namespace: str, name: str) -> Obj:
        url = url_path(resource, namespace, name)
        body, _ = await self._call("get", "GET", resource, url)
        return body

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
        obj, _ = await self.create_with_warnings(
            resource, namespace, body, dry_run=dry_run, timeout=timeout
        )
        return obj

    async def create_with_warnings(
        self,
        resource: Resource,
        namespace: str,
        body: Mapping[str, Any],
        *,
        dry_run: bool = False,
        timeout: float | None = None,
    ) -> tuple[Obj, Sentences]:
        """As `create`, and the sentences that the server and its webhooks sent as warnings."""
        url = url_path(resource, namespace) + self._write_query(timeout)
        if dry_run:
            url += "&dryRun=All&fieldValidation=Strict"
            return await self._call("create", "POST", resource, url, body=body, timeout=timeout)
        return await self._call("create", "POST", resource, url, body=body, timeout=timeout)

    async def replace(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: Mapping[str, Any],
        *,
        timeout: float | None = None,
    ) -> Obj:
        url = url_path(resource, namespace, name) + self._write_query(timeout)
        obj, _ = await self._call("replace", "PUT", resource, url, body=body, timeout=timeout)
        return obj

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
        url = url_path(resource, namespace, name, subresource) + self._write_query(timeout)
        obj, _ = await self._call(
            "patch", "PATCH", resource, url, body=patch, content=MERGE_PATCH, timeout=timeout
        )
        return obj

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
        preconditions = {"uid": uid}
        if resource_version:
            preconditions["resourceVersion"] = resource_version
        options = {"preconditions": preconditions, "propagationPolicy": propagation}
        limit = self._timeout if timeout is None else timeout
        url = f"{url_path(resource, namespace, name)}?timeout={limit:.3f}s"
        await self._call("delete", "DELETE", resource, url, body=options, timeout=timeout)

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
        limit = self._timeout if timeout is None else timeout
        query = {
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
            "timeout": f"{limit:.3f}s",
        }
        options: Obj = {"propagationPolicy": "Background"}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        answer, _ = await self._call(
            "deletecollection",
            "DELETE",
            resource,
            url_path(resource, namespace) + url_query(query),
            body=options,
            timeout=timeout,
        )
        return tuple(answer.get("items") or ())

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
        """A consistent LIST, page by page.

        When the server has forgotten the snapshot between two pages, from the start; the second
        time in one answer, as client-go's pager does. `trim` is applied to each object.
        """
        query = {"labelSelector": label_selector, "fieldSelector": field_selector}
        for limit in (PAGE, PAGE, 0):
            try:
                async for page in self._list_pages(resource, namespace, query, limit, trim):
                    yield page
            except Gone:
                if limit == 0:
                    raise
            else:
                return

    async def latest_version(
        self,
        resource: Resource,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> int:
        """The resourceVersion of a LIST, of which one object is read."""
        query = {"labelSelector": label_selector, "fieldSelector": field_selector, "limit": "1"}
        url = url_path(resource, namespace) + url_query(query)
        page, _ = await self._call("list", "GET", resource, url)
        return int(page["metadata"]["resourceVersion"])

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
        """Batches of events after `resource_version`, bookmarks and errors included, until the
        server ends it (after `timeout_seconds`).

        Raises Gone, Transient (also when nothing came for `idle_seconds`) and other ApiErrors.
        """
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(timeout_seconds),
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
        }
        url = url_path(resource, namespace) + url_query(query)
        what = f"watch {resource.plural}"
        limits = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=idle_seconds)
        try:
            for attempt in (1, 2):
                async with self._transport.request(
                    "GET", url, limits=limits, watch=True
                ) as response:
                    if response.status == 401 and attempt == 1 and self._transport.rejected():
                        continue
                    if response.status != 200:
                        raise error_from(
                            what, response.status, await response.read(), response.headers
                        )
                    rest = b""
                    while chunk := await response.content.readany():
                        *lines, rest = (rest + chunk).split(b"\n")
                        yield decoded(what, lines)
                    return
        except BROKEN as error:
            raise no_answer(what, error) from error

    # --- how ------------------------------------------------------------------------------------

    async def _list_pages(
        self,
        resource: Resource,
        namespace: str,
        query: Mapping[str, str],
        limit: int,
        trim: Callable[[Obj], Obj] | None,
    ) -> AsyncGenerator[Page, None]:
        base = url_path(resource, namespace)
        token = ""
        while True:
            page_query = {**query, "limit": str(limit) if limit else "", "continue": token}
            page, _ = await self._call("list", "GET", resource, base + url_query(page_query))
            items: list[Obj] = page.get("items") or []
            for item in items:
                # Lists of built-in kinds leave these out of their items; watch events have them.
                item["apiVersion"], item["kind"] = resource.api_version, resource.kind
            metadata = page["metadata"]
            kept = [trim(item) for item in items] if trim else items
            yield Page(kept, metadata["resourceVersion"])
            token = metadata.get("continue") or ""
            if not token:
                return

    def _write_query(self, timeout: float | None) -> str:
        seconds = self._timeout if timeout is None else timeout
        return f"?fieldManager={MANAGER}&timeout={seconds:.3f}s"

    async def _call(
        self,
        verb: str,
        method: str,
        resource: Resource,
        url: str,
        *,
        body: Mapping[str, Any] | None = None,
        content: str = JSON,
        timeout: float | None = None,
    ) -> tuple[Obj, Sentences]:
        """One call and its answer, decoded, with its warnings; a 401 is tried once more with fresh
        credentials (nothing was done)."""
        seconds = self._timeout if timeout is None else timeout
        if seconds <= 0:
            # `timeout=0s` means "as long as you like" to the server.
            raise Transient(f"{verb} {resource.plural}: no time is left for this call.")
        data = b"" if body is None else orjson.dumps(body)
        sent, code = self._clock.boot(), 0
        try:
            for attempt in (1, 2):
                answer = await self._transport.call(
                    method, url, data=data, content=content, seconds=seconds + _GRACE
                )
                code = answer.status
                if code != 401 or attempt == 2 or not self._transport.rejected():
                    break
            self.skew.note(
                answer.header(b"date"),
                sent=sent,
                received=self._clock.boot(),
                now=self._clock.now(),
            )
            if code < 300:
                return orjson.loads(answer.body), warnings_from(answer.every(b"warning"))
        except BROKEN as error:
            raise no_answer(f"{verb} {resource.plural}", error) from error
        finally:
            if self._observe is not None:
                self._observe(verb, resource.plural, code, self._clock.boot() - sent)
        what = f"{verb} {resource.plural}"
        raise error_from(what, code, answer.body, answer.headers, creating=method == "POST")
