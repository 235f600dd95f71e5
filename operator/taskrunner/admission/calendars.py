"""The calendars that a task names, as they are now."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from taskrunner.api.v1alpha1.parse import parse_calendar
from taskrunner.domain.calendar import CompiledCalendar
from taskrunner.domain.calendar_compile import compile_calendar
from taskrunner.errors import ApiError, NotFound, SpecError
from taskrunner.ports import CALENDARS, Obj, Resource

_KEPT: Final = 128

Compile = Callable[[], CompiledCalendar]


class ReadApi(Protocol):
    """The part of the API server's client that reads one object."""

    async def get(self, resource: Resource, namespace: str, name: str) -> Obj:
        """The live object. Raises NotFound and other ApiErrors."""
        ...


@dataclass(frozen=True, slots=True)
class Unusable:
    """A calendar that cannot be taken into account, and why."""

    why: str
    """A sentence."""


class Calendars:
    """Reads calendars live: a task may be applied in one go with its calendar, so what was true a
    second ago is not good enough. Only the compiled form is kept, by the version of the object.

    `apart` runs what takes long to compute (the holidays of a country) in a thread.
    """

    def __init__(
        self, api: ReadApi, apart: Callable[[Compile], Awaitable[CompiledCalendar]]
    ) -> None:
        self._api = api
        self._apart = apart
        self._compiled: OrderedDict[tuple[str, str], CompiledCalendar] = OrderedDict()

    async def read(
        self, namespace: str, names: Iterable[str]
    ) -> Mapping[str, CompiledCalendar | Unusable]:
        """The calendars of these names. Raises nothing: what is amiss is said in `Unusable`."""
        wanted = list(dict.fromkeys(names))
        found = await asyncio.gather(*(self._read(namespace, name) for name in wanted))
        return dict(zip(wanted, found, strict=True))

    async def _read(self, namespace: str, name: str) -> CompiledCalendar | Unusable:
        try:
            obj = await self._api.get(CALENDARS, namespace, name)
            return await self._compile(obj)
        except NotFound:
            return Unusable(
                f'There is no Calendar of this name in the namespace "{namespace}" yet; the task is'
                " not ready until there is one."
            )
        except ApiError as error:
            return Unusable(f"The Calendar could not be read: {error}")
        except SpecError as error:
            return Unusable(
                "The Calendar itself cannot be followed, and the task is not ready until it is"
                f" corrected: {error}"
            )

    async def _compile(self, obj: Obj) -> CompiledCalendar:
        version = (obj["metadata"]["uid"], obj["metadata"]["resourceVersion"])
        compiled = self._compiled.get(version)
        if compiled is None:
            compiled = await self._apart(lambda: compile_calendar(parse_calendar(obj)))
            self._compiled[version] = compiled
        self._compiled.move_to_end(version)
        if len(self._compiled) > _KEPT:
            self._compiled.popitem(last=False)
        return compiled
