"""A sink that keeps what a watch delivers, and checks that it never goes backwards."""

from __future__ import annotations

from collections.abc import Iterable

from taskrunner.ports import EventType, Obj


class FakeSink:
    """`objects` is what the watched objects look like by name; `log` what was delivered."""

    def __init__(self) -> None:
        self.objects: dict[str, Obj] = {}
        self.log: list[tuple[str, str]] = []
        self.version = 0
        self.lists = 0

    def synced(self, objects: Iterable[Obj], resource_version: int) -> None:
        assert resource_version >= self.version, "a list is older than what was delivered before"
        self.version = resource_version
        self.objects = {obj["metadata"]["name"]: obj for obj in objects}
        self.lists += 1
        self.log.append(("SYNCED", " ".join(sorted(self.objects))))

    def seen(self, event: EventType, obj: Obj) -> None:
        version, name = int(obj["metadata"]["resourceVersion"]), obj["metadata"]["name"]
        assert version > self.version, f"{event} {name} is older than what was delivered before"
        self.version = version
        if event == "DELETED":
            del self.objects[name]
        else:
            self.objects[name] = obj
        self.log.append((event, name))
