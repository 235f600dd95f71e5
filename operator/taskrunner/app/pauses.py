"""The watches that tell what is paused: namespaces by their label, the operator by a ConfigMap."""

from __future__ import annotations

import asyncio
import logging

from taskrunner.engine.pause_sinks import PAUSED_NAMESPACES, ConfigSink, NamespaceSink
from taskrunner.engine.store import Store
from taskrunner.errors import Refused
from taskrunner.kube.reflector import Reflector
from taskrunner.kube.source import Source
from taskrunner.ports import CONFIG_MAPS, NAMESPACES, Clock
from taskrunner.settings import Settings

log = logging.getLogger(__name__)


class PauseWatches:
    """Keeps the `pauses` of the stores, one and the same, up to date.

    Only paused namespaces are listed and watched, and one ConfigMap. Where the operator may not
    read them, it says so once, and the label or the ConfigMap has no effect.
    """

    def __init__(self, settings: Settings, client: Source, clock: Clock, *stores: Store) -> None:
        only = settings.watch_namespace
        self._namespaces = Reflector(
            client,
            clock,
            NAMESPACES,
            NamespaceSink(*stores),
            label_selector=PAUSED_NAMESPACES,
            field_selector=f"metadata.name={only}" if only else "",
            relist_seconds=settings.queue_check_interval,
        )
        self._config = Reflector(
            client,
            clock,
            CONFIG_MAPS,
            ConfigSink(*stores),
            namespace=settings.namespace,
            field_selector=f"metadata.name={settings.config_map}",
            relist_seconds=settings.queue_check_interval,
        )
        self._refused: set[str] = set()

    async def refresh(self) -> None:
        """LIST both. Raises ApiErrors other than a refusal: nobody must act before it is known
        what is paused."""
        for what, watch in (
            ("the label of namespaces", self._namespaces),
            ("the operator's ConfigMap", self._config),
        ):
            try:
                await watch.refresh()
            except Refused as error:
                if what not in self._refused:
                    log.warning("%s cannot pause anything, it cannot be read: %s", what, error)
                self._refused.add(what)

    async def run(self) -> None:
        """Watch both, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._namespaces.run())
            group.create_task(self._config.run())
