"""Where the watches of paused namespaces and of the operator's ConfigMap deliver what they see."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from taskrunner.api.v1alpha1.names import LABEL_PAUSED
from taskrunner.engine.store import Store
from taskrunner.engine.work import Key
from taskrunner.ports import EventType, Obj

log = logging.getLogger(__name__)

PAUSED_NAMESPACES: Final = f"{LABEL_PAUSED},{LABEL_PAUSED}!=false"
"""Label selector: any value pauses but "false"."""
KEY: Final = "paused"
"""In the ConfigMap's data."""
WEIGHTS: Final = "namespaceWeights"
"""In the ConfigMap's data: a line `name: weight` for each namespace whose weight is not 1."""
_HEAVIEST: Final = 1000


class NamespaceSink:
    """ports.Sink for the namespaces that `PAUSED_NAMESPACES` selects. The stores have one and the
    same `pauses`."""

    def __init__(self, *stores: Store) -> None:
        self._stores = stores
        self._pauses = stores[0].pauses

    def synced(self, present: Mapping[str, str], resource_version: int) -> None:
        """What is not there goes on."""
        names = {key.removeprefix("/") for key in present}
        self._now(self._pauses.namespaces & names)

    def seen(self, event: EventType, obj: Obj) -> None:
        """Take one change; for a watch, what is no longer selected is deleted."""
        name = {obj["metadata"]["name"]}
        paused = self._pauses.namespaces
        self._now(paused - name if event == "DELETED" else paused | name)

    def _now(self, paused: set[str]) -> None:
        changed = paused ^ self._pauses.namespaces
        self._pauses.namespaces = paused
        for name in sorted(changed):
            log.info("namespace %s %s", name, "is paused" if name in paused else "goes on")
        for store in self._stores:
            _wake(store, changed)


class ConfigSink:
    """ports.Sink for the operator's one ConfigMap: what can be set while it runs. The stores have
    one and the same `pauses`."""

    def __init__(self, *stores: Store) -> None:
        self._stores = stores
        self._pauses = stores[0].pauses

    def synced(self, present: Mapping[str, str], resource_version: int) -> None:
        """The list has one object or none."""
        if not present:
            self._now(None)

    def seen(self, event: EventType, obj: Obj) -> None:
        """Take one object, or one change."""
        self._now(None if event == "DELETED" else obj)

    def _now(self, config: Obj | None) -> None:
        self._weigh(str(((config or {}).get("data") or {}).get(WEIGHTS) or ""))
        value = str(((config or {}).get("data") or {}).get(KEY, "false"))
        meta = (config or {}).get("metadata") or {}
        name = f"{meta.get('namespace')}/{meta.get('name')}"
        # Who writes anything else means to pause more likely than not.
        paused = "" if value.strip().lower() in ("", "false") else name
        if paused == self._pauses.operator:
            return
        self._pauses.operator = paused
        if paused and value != "true":
            log.warning(
                'ConfigMap %s: %s is "%s", which pauses; write "true" or "false".', name, KEY, value
            )
        log.info("the operator %s", f"is paused by ConfigMap {name}" if paused else "goes on")
        for store in self._stores:
            _wake(store, None)

    def _weigh(self, text: str) -> None:
        found, wrong = weights_from(text)
        if found == self._pauses.weights:
            return
        self._pauses.weights = found
        if wrong:
            log.warning(
                'ConfigMap: %s has lines that are not "namespace: weight" with a weight from 1 to'
                " %d; these namespaces have the weight 1: %s",
                WEIGHTS,
                _HEAVIEST,
                "; ".join(wrong),
            )
        for store in self._stores:
            store.changed(Key("queue", ""))


def weights_from(text: str) -> tuple[dict[str, int], list[str]]:
    """The weights in the ConfigMap, and the lines that are none."""
    found: dict[str, int] = {}
    wrong: list[str] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        name, _, number = line.partition(":")
        weight = int(number) if number.strip().isdecimal() else 0
        if name.strip() and 1 <= weight <= _HEAVIEST:
            found[name.strip()] = weight
        else:
            wrong.append(line)
    return found, wrong


def _wake(store: Store, namespaces: set[str] | None) -> None:
    """Have everything in these namespaces looked at; None for all."""
    for state in store.tasks.values():
        if namespaces is None or state.namespace in namespaces:
            store.wake(Key("task", state.key))
    for execution in store.executions():
        if not execution.terminal and (namespaces is None or execution.namespace in namespaces):
            store.wake(Key("run", execution.key))
