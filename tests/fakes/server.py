"""The state of an API server in memory: what etcd, the registry and the garbage collector do.

Deterministic: resourceVersions and uids count up, time comes from the clock that it is given.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fakes.objects import (
    Key,
    by_key,
    conflict,
    copied,
    counted,
    kept_metadata,
    key_of,
    merged,
    qualified,
    refused,
)
from fakes.schemas import complete
from fakes.selectors import matches
from taskrunner.errors import AlreadyExists, Conflict, NotFound, Transient
from taskrunner.ports import Clock, Obj, Propagation, Resource

_WITHOUT_STATUS = {"leases", "events", "configmaps"}
_WITHOUT_GENERATION = {"leases", "events", "configmaps", "pods", "namespaces"}
_UNCONDITIONAL_UPDATE = {"jobs", "events", "configmaps", "pods"}
_PUT_CREATES = {"leases", "events"}


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the history that watches read. `new` is None for a deletion."""

    version: int
    resource: Resource
    old: Obj | None
    new: Obj | None


class FakeServer:
    """Objects of all kinds. `garbage` says whether dependents go at once when their owner goes, or
    when a test calls `collect_garbage`, as if the garbage collector were slow."""

    def __init__(self, clock: Clock, *, garbage: bool = True) -> None:
        self.clock = clock
        self.garbage = garbage
        self.version = 1_000
        self.history: list[Change] = []
        self.compacted = self.version
        self.not_served: set[str] = set()
        self.admission: list[Callable[[str, Resource, Obj], None]] = []
        """Called with verb, resource and the object to be written; may raise Refused."""
        self._objects: dict[Key, tuple[Resource, Obj]] = {}
        self._waiting: list[asyncio.Future[None]] = []
        self._uids = 0

    # --- reads ----------------------------------------------------------------------------------

    def get(self, resource: Resource, namespace: str, name: str) -> Obj:
        self._served(resource)
        return copied(self._existing(resource, namespace, name))

    def list(
        self,
        resource: Resource,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> list[Obj]:
        """Copies, in the order of namespace and name."""
        self._served(resource)
        found = [
            obj
            for (group, plural, at, _), (_, obj) in sorted(self._objects.items(), key=by_key)
            if (group, plural) == (resource.group, resource.plural)
            and namespace in ("", at)
            and matches(resource, obj, label_selector, field_selector)
        ]
        return [copied(obj) for obj in found]

    # --- writes ---------------------------------------------------------------------------------

    def create(
        self, resource: Resource, namespace: str, body: Mapping[str, Any], *, dry_run: bool = False
    ) -> Obj:
        self._served(resource)
        obj = copied(body)
        metadata = obj.setdefault("metadata", {})
        if metadata.get("resourceVersion"):
            # The storage says so, too late for a better code than 500.
            raise Transient("resourceVersion should not be set on objects to be created", code=500)
        if metadata.setdefault("namespace", namespace) != namespace:
            raise refused("the namespace of the object does not match the request", 400)
        self._uids += 1
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = f"{metadata['generateName']}{self._uids:05d}"
        if not metadata.get("name"):
            raise refused("name or generateName is required", 422)
        key = key_of(resource, namespace, metadata["name"])
        if key in self._objects:
            raise AlreadyExists(
                f'{qualified(resource)} "{metadata["name"]}" already exists',
                code=409,
                reason="AlreadyExists",
            )
        metadata = obj["metadata"] = kept_metadata(metadata, {"name": metadata["name"]})
        if namespace:
            metadata["namespace"] = namespace
        metadata["uid"] = str(uuid.UUID(int=self._uids))
        metadata["creationTimestamp"] = self._timestamp()
        if resource.plural not in _WITHOUT_GENERATION:
            metadata["generation"] = 1
        if resource.plural not in _WITHOUT_STATUS:
            obj.pop("status", None)
        obj = {"apiVersion": resource.api_version, "kind": resource.kind, **obj}
        obj = copied(complete(resource, obj))
        self._admit("create", resource, obj)
        if dry_run:
            return copied(obj)
        return self._store(resource, key, None, obj)

    def replace(
        self, resource: Resource, namespace: str, name: str, body: Mapping[str, Any]
    ) -> Obj:
        self._served(resource)
        key = key_of(resource, namespace, name)
        if key not in self._objects and resource.plural in _PUT_CREATES:
            return self._put_new(resource, namespace, name, body)
        old = self._existing(resource, namespace, name)
        new = copied(body)
        metadata = new.setdefault("metadata", {})
        if metadata.get("uid") not in (None, "", old["metadata"]["uid"]):
            raise conflict(resource, name, "Precondition failed: UID in precondition")
        if not metadata.get("resourceVersion") and resource.plural not in _UNCONDITIONAL_UPDATE:
            raise refused("metadata.resourceVersion: must be specified for an update", 422)
        return self._update(resource, key, old, new, subresource="")

    def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        patch: Mapping[str, Any],
        *,
        subresource: str = "",
    ) -> Obj:
        self._served(resource)
        old = self._existing(resource, namespace, name)
        new = merged(copied(old), copied(patch))
        return self._update(
            resource, key_of(resource, namespace, name), old, new, subresource=subresource
        )

    def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        uid: str = "",
        resource_version: str = "",
        propagation: Propagation = "Background",
    ) -> None:
        self._served(resource)
        old = self._existing(resource, namespace, name)
        metadata = old["metadata"]
        for field, wanted, found in (
            ("UID", uid, metadata["uid"]),
            ("ResourceVersion", resource_version, metadata["resourceVersion"]),
        ):
            if wanted and wanted != found:
                text = f"the {field} in the precondition ({wanted}) does not match the {field} in"
                raise conflict(resource, name, f"{text} record ({found})")
        if propagation == "Orphan":
            self._orphan(metadata["uid"])
        new = copied(old)
        if propagation == "Foreground":
            new["metadata"].setdefault("finalizers", []).append("foregroundDeletion")
        if new["metadata"].get("finalizers"):
            if "deletionTimestamp" not in new["metadata"]:
                new["metadata"]["deletionTimestamp"] = self._timestamp()
                new["metadata"]["deletionGracePeriodSeconds"] = 0
            self._store(resource, key_of(resource, namespace, name), old, new)
        else:
            self._store(resource, key_of(resource, namespace, name), old, None)
        if self.garbage:
            self.collect_garbage()

    def delete_selected(
        self, resource: Resource, namespace: str, *, label_selector: str, field_selector: str
    ) -> Sequence[Obj]:
        """All that is selected goes; the answer has it as it was."""
        found = self.list(
            resource,
            namespace=namespace,
            label_selector=label_selector,
            field_selector=field_selector,
        )
        for obj in found:
            self.delete(resource, namespace, obj["metadata"]["name"])
        return found

    def collect_garbage(self) -> None:
        """What the garbage collector does, to the end: dependents whose owners are all gone go."""
        while self._collect_one():
            pass

    # --- for tests ------------------------------------------------------------------------------

    def objects(self, resource: Resource) -> dict[str, Obj]:
        """All objects of a kind, by name."""
        return {obj["metadata"]["name"]: obj for obj in self.list(resource)}

    def compact(self) -> None:
        """Forget the history, as etcd does: a watch that starts before now gets 410."""
        self.compacted = self.version

    def lose(self, resource: Resource, namespace: str, name: str) -> None:
        """Delete without an event: what a watch looks like that has silently lost one."""
        del self._objects[key_of(resource, namespace, name)]
        self.version += 1

    def changed(self) -> asyncio.Future[None]:
        """Done at the next change."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        return waiter

    # --- how ------------------------------------------------------------------------------------

    def _served(self, resource: Resource) -> None:
        if resource.plural in self.not_served:
            raise NotFound("the server could not find the requested resource", code=404)

    def _existing(self, resource: Resource, namespace: str, name: str) -> Obj:
        try:
            return self._objects[key_of(resource, namespace, name)][1]
        except KeyError:
            raise NotFound(
                f'{qualified(resource)} "{name}" not found', code=404, reason="NotFound"
            ) from None

    def _put_new(
        self, resource: Resource, namespace: str, name: str, body: Mapping[str, Any]
    ) -> Obj:
        """A PUT of a Lease that does not exist creates it, unless it names another's uid."""
        new = copied(body)
        if uid := new["metadata"].get("uid"):
            raise conflict(resource, name, f"Precondition failed: UID in precondition: {uid}")
        new["metadata"].pop("resourceVersion", None)
        return self.create(resource, namespace, new)

    def _update(self, resource: Resource, key: Key, old: Obj, new: Obj, *, subresource: str) -> Obj:
        was, metadata = old["metadata"], new["metadata"]
        if metadata.get("name", was["name"]) != was["name"]:
            raise refused("the name of the object does not match the name on the URL", 400)
        if metadata.get("resourceVersion") not in (None, "", was["resourceVersion"]):
            raise conflict(resource, was["name"], "the object has been modified; please try again")
        if not subresource and metadata.get("uid") not in (None, "", was["uid"]):
            # A write of the status keeps the metadata that is there, whatever it says.
            raise Conflict("metadata.uid: field is immutable", code=422, reason="Invalid")
        if subresource == "status":
            new = {**old, "status": new.get("status")}
            if new["status"] is None:
                del new["status"]
        elif resource.plural not in _WITHOUT_STATUS:
            new = {k: v for k, v in new.items() if k != "status"}
            if "status" in old:
                new["status"] = old["status"]
        new = copied(complete(resource, new))
        new["metadata"] = kept_metadata(new["metadata"], was)
        if resource.plural not in _WITHOUT_GENERATION and counted(new) != counted(old):
            new["metadata"]["generation"] = was["generation"] + 1
        self._admit("update", resource, new)
        if new == old:
            return copied(old)  # Nothing is written, and no watch hears of it.
        gone = "deletionTimestamp" in new["metadata"] and not new["metadata"].get("finalizers")
        stored = self._store(resource, key, old, None if gone else new)
        if gone and self.garbage:
            self.collect_garbage()
        return stored

    def _store(self, resource: Resource, key: Key, old: Obj | None, new: Obj | None) -> Obj:
        self.version += 1
        stored = copied(new if new is not None else old or {})
        stored["metadata"]["resourceVersion"] = str(self.version)
        if new is None:
            del self._objects[key]
            self.history.append(Change(self.version, resource, stored, None))
        else:
            self._objects[key] = (resource, stored)
            self.history.append(Change(self.version, resource, old, stored))
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)
        return copied(stored)

    def _collect_one(self) -> bool:
        alive = {obj["metadata"]["uid"] for _, obj in self._objects.values()}
        for key, (resource, obj) in sorted(self._objects.items(), key=by_key):
            metadata = obj["metadata"]
            owners = [ref["uid"] for ref in metadata.get("ownerReferences") or ()]
            if owners and not alive & set(owners) and "deletionTimestamp" not in metadata:
                self._remove(resource, key, obj)
                return True
            if "foregroundDeletion" in metadata.get("finalizers", ()):
                return self._finish_foreground(resource, key, obj)
        return False

    def _finish_foreground(self, resource: Resource, key: Key, obj: Obj) -> bool:
        uid = obj["metadata"]["uid"]
        for other_key, (other, dependent) in sorted(self._objects.items(), key=by_key):
            owners = dependent["metadata"].get("ownerReferences") or ()
            if any(ref["uid"] == uid for ref in owners):
                if "deletionTimestamp" in dependent["metadata"]:
                    return False  # Held by somebody's finalizer.
                self._remove(other, other_key, dependent)
                return True
        new = copied(obj)
        new["metadata"]["finalizers"].remove("foregroundDeletion")
        self._store(resource, key, obj, new if new["metadata"]["finalizers"] else None)
        return True

    def _remove(self, resource: Resource, key: Key, obj: Obj) -> None:
        if not obj["metadata"].get("finalizers"):
            self._store(resource, key, obj, None)
            return
        new = copied(obj)
        new["metadata"]["deletionTimestamp"] = self._timestamp()
        self._store(resource, key, obj, new)

    def _orphan(self, uid: str) -> None:
        for key, (resource, obj) in sorted(self._objects.items(), key=by_key):
            owners = obj["metadata"].get("ownerReferences") or []
            if any(ref["uid"] == uid for ref in owners):
                new = copied(obj)
                new["metadata"]["ownerReferences"] = [ref for ref in owners if ref["uid"] != uid]
                if not new["metadata"]["ownerReferences"]:
                    del new["metadata"]["ownerReferences"]
                self._store(resource, key, obj, new)

    def _admit(self, verb: str, resource: Resource, obj: Obj) -> None:
        for check in self.admission:
            check(verb, resource, obj)

    def _timestamp(self) -> str:
        when = dt.datetime.fromtimestamp(int(self.clock.now()), dt.UTC)
        return when.strftime("%Y-%m-%dT%H:%M:%SZ")
