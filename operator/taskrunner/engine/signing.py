"""The one place through which a term creates: what it creates is signed with its epoch.

A creation that the fence refuses is told to `on_refused` and becomes a Transient: either the fence
has not heard of the epoch yet, and trying again helps; or the term is over, and whoever listens
ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from taskrunner.domain.fence import Writer, signed
from taskrunner.errors import Fenced, Transient
from taskrunner.ports import JOBS, TASK_EXECUTIONS, Api, Obj, Resource


def signing(api: Api, writer: Writer, on_refused: Callable[[Fenced], None]) -> Api:
    """The same API server, for one term."""
    return cast(Api, _Signing(api, writer, on_refused))


class _Signing:
    def __init__(self, api: Api, writer: Writer, on_refused: Callable[[Fenced], None]) -> None:
        self._api = api
        self._writer = writer
        self._on_refused = on_refused

    def __getattr__(self, name: str) -> Any:
        # Whatever is not a creation names the version that it changes, and needs no fence.
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
        if not dry_run and resource in (JOBS, TASK_EXECUTIONS):
            body = signed(dict(body), self._writer)
        try:
            return await self._api.create(
                resource, namespace, body, dry_run=dry_run, timeout=timeout
            )
        except Fenced as error:
            self._on_refused(error)
            raise Transient(str(error), reason=error.reason) from error
