"""A sink that keeps what a watch delivers, and checks that it never goes backwards."""

from __future__ import annotations

from collections.abc import Mapping

from taskrunner.ports import EventType, Obj


class FakeSink:
    """`objects` is what the watched objects look like by name; `log` what was delivered."""

    def __init__(self) -> None:
        self.objects: dict[str, Obj] = {}
        self.log: list[tuple[str, str]] = []
        self.version = 0
        self.lists = 0

    def seen(self, event: EventType, obj: Obj) -> None:
        version, name = int(obj["metadata"]["resourceVersion"]), obj["metadata"]["name"]
        if event == "LISTED":
            known = self.objects.get(name)
            if known is not None and int(known["metadata"]["resourceVersion"]) > version:
                raise AssertionError(f"{name} is older than what was delivered before")
            self.objects[name] = obj
            return
        assert version > self.version, f"{event} {name} is older than what was delivered before"
        self.version = version
        if event == "DELETED":
            del self.objects[name]
        else:
            self.objects[name] = obj
        self.log.append((event, name))

    def synced(self, present: Mapping[str, str], resource_version: int) -> None:
        assert resource_version >= self.version, "a list is older than what was delivered before"
        self.version = resource_version
        names = {key.rpartition("/")[2] for key in present}
        assert names <= set(self.objects), "the end of a list names what was not delivered"
        self.objects = {name: obj for name, obj in self.objects.items() if name in names}
        self.lists += 1
        self.log.append(("SYNCED", " ".join(sorted(self.objects))))
