"""What both the fake and the real API server do: the engine's tests stand on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any, cast

import pytest

from contract.world import WIDGETS, World, manifest
from fakes.clock import FakeClock
from fakes.sink import FakeSink
from taskrunner.errors import AlreadyExists, ApiError, Conflict, NotFound, Refused, Transient
from taskrunner.kube.reflector import Reflector
from taskrunner.kube.source import WatchEvent
from taskrunner.ports import JOBS, LEASES, PODS, TASK_EXECUTIONS, Obj, Propagation, Resource

KINDS = [WIDGETS, JOBS, LEASES, TASK_EXECUTIONS]


def version(obj: Obj) -> int:
    return int(obj["metadata"]["resourceVersion"])


# --- create and get ---------------------------------------------------------------------------


@pytest.mark.parametrize("resource", KINDS, ids=lambda kind: kind.plural)
async def test_a_created_object_has_what_the_server_adds(world: World, resource: Resource) -> None:
    made = await world.create(resource, "a", labels={"x": "y"})
    metadata = made["metadata"]
    assert (made["apiVersion"], made["kind"]) == (resource.api_version, resource.kind)
    assert (metadata["name"], metadata["namespace"]) == ("a", world.namespace)
    assert metadata["uid"]
    assert version(made) > 0
    assert metadata["creationTimestamp"].endswith("Z")
    assert metadata.get("generation") == (None if resource is LEASES else 1)
    assert metadata["labels"]["x"] == "y"
    assert await world.api.get(resource, world.namespace, "a") == made


@pytest.mark.parametrize("dry_run", [False, True])
async def test_a_taken_name_is_refused_until_it_is_free(world: World, dry_run: bool) -> None:
    first = await world.create(JOBS, "a")
    again = manifest(JOBS, "a")
    with pytest.raises(AlreadyExists, match=r'jobs.batch "a" already exists') as raised:
        await world.api.create(JOBS, world.namespace, again, dry_run=dry_run)
    assert (raised.value.code, raised.value.reason) == (409, "AlreadyExists")
    await world.api.delete(JOBS, world.namespace, "a", uid=first["metadata"]["uid"])
    second = await world.create(JOBS, "a")
    assert second["metadata"]["uid"] != first["metadata"]["uid"]


async def test_a_dry_run_creates_nothing(world: World) -> None:
    made = await world.api.create(JOBS, world.namespace, manifest(JOBS, "a"), dry_run=True)
    assert made["metadata"]["name"] == "a"
    assert await world.gone(JOBS, "a")


async def test_a_generated_name_is_made_from_its_prefix(world: World) -> None:
    body = manifest(WIDGETS, "")
    body["metadata"] = {"generateName": "by-hand-"}
    names = {
        (await world.api.create(WIDGETS, world.namespace, body))["metadata"]["name"]
        for _ in range(3)
    }
    assert len(names) == 3
    assert all(name.startswith("by-hand-") for name in names)


REFUSED: list[tuple[str, dict[str, Any], int]] = [
    ("another namespace", {"namespace": "elsewhere"}, 400),
    ("no name", {"name": ""}, 422),
]


@pytest.mark.parametrize(
    ("metadata", "code"), [row[1:] for row in REFUSED], ids=[r[0] for r in REFUSED]
)
async def test_a_create_is_refused_with(world: World, metadata: Obj, code: int) -> None:
    with pytest.raises(Refused) as raised:
        await world.create(WIDGETS, **{"name": "a", **metadata})
    assert raised.value.code == code


async def test_a_create_with_a_version_is_an_internal_error_to_the_server(world: World) -> None:
    """So callers would try again for ever: never send one."""
    with pytest.raises(Transient, match="resourceVersion should not be set") as raised:
        await world.create(WIDGETS, "a", resourceVersion="7")
    assert raised.value.code == 500


@pytest.mark.parametrize(
    ("resource", "default"),
    [(WIDGETS, {}), (JOBS, {}), (TASK_EXECUTIONS, {"phase": "Pending"})],
    ids=["widgets", "jobs", "taskexecutions"],
)
async def test_a_create_takes_no_status_but_the_schemas_default(
    world: World, resource: Resource, default: Obj
) -> None:
    status = {"phase": "Running", "message": "x", "active": 1}
    made = await world.create(resource, "a", {"status": status})
    assert made.get("status", {}) == default
    assert (await world.api.get(resource, world.namespace, "a")).get("status", {}) == default


async def test_by_the_schema_defaults_are_filled_in_and_unknown_fields_pruned(
    world: World,
) -> None:
    spec = {"taskRef": {"name": "nightly", "x": 1}, "y": 2, "arguments": {"SUITE": "full"}}
    made = await world.create(TASK_EXECUTIONS, "a", {"spec": spec})
    expected = {"taskRef": {"name": "nightly"}, "arguments": {"SUITE": "full"}, "type": "Manual"}
    assert made["spec"] == expected
    patch = {"status": {"message": "hello", "z": 3}}
    patched = await world.api.patch(
        TASK_EXECUTIONS, world.namespace, "a", patch, subresource="status"
    )
    assert patched["status"] == {"phase": "Pending", "message": "hello"}
    assert patched["spec"] == expected


MISSING: dict[str, Callable[[World], Awaitable[Any]]] = {
    "get": lambda w: w.api.get(WIDGETS, w.namespace, "none"),
    "patch": lambda w: w.api.patch(WIDGETS, w.namespace, "none", {"spec": {"a": 1}}),
    "status": lambda w: w.api.patch(WIDGETS, w.namespace, "none", {}, subresource="status"),
    "delete": lambda w: w.api.delete(WIDGETS, w.namespace, "none", uid="x"),
    "replace": lambda w: w.api.replace(
        WIDGETS, w.namespace, "none", manifest(WIDGETS, "none", resourceVersion="1")
    ),
    "unknown kind": lambda w: w.api.get(
        Resource("none.taskrunner.dev", "v1", "nones", "None"), w.namespace, "none"
    ),
}


@pytest.mark.parametrize("call", MISSING.values(), ids=MISSING)
async def test_what_does_not_exist_is_not_found(
    world: World, call: Callable[[World], Awaitable[Any]]
) -> None:
    if world.is_fake:
        world.fake.server.not_served.add("nones")
    with pytest.raises(NotFound) as raised:
        await call(world)
    assert raised.value.code == 404


async def test_a_call_without_time_left_is_not_made(world: World) -> None:
    with pytest.raises(Transient, match="no time is left"):
        await world.api.create(JOBS, world.namespace, manifest(JOBS, "a"), timeout=0.0)
    assert await world.gone(JOBS, "a")


async def test_a_call_with_little_time_succeeds_in_it(world: World) -> None:
    await world.api.create(JOBS, world.namespace, manifest(JOBS, "a"), timeout=5.25)
    assert not await world.gone(JOBS, "a")


# --- replace ----------------------------------------------------------------------------------


@pytest.mark.parametrize("resource", KINDS, ids=lambda kind: kind.plural)
async def test_of_two_replaces_of_one_version_the_second_conflicts(
    world: World, resource: Resource
) -> None:
    made = await world.create(resource, "a")
    made["metadata"]["labels"] = {**made["metadata"].get("labels", {}), "round": "1"}
    replaced = await world.api.replace(resource, world.namespace, "a", made)
    assert version(replaced) > version(made)
    with pytest.raises(Conflict, match="the object has been modified") as raised:
        await world.api.replace(resource, world.namespace, "a", made)
    assert (raised.value.code, raised.value.reason) == (409, "Conflict")


@pytest.mark.parametrize("resource", [WIDGETS, LEASES], ids=lambda kind: kind.plural)
async def test_a_replace_needs_a_version(world: World, resource: Resource) -> None:
    made = await world.create(resource, "a")
    del made["metadata"]["resourceVersion"]
    made["metadata"]["labels"] = {"a": "b"}
    with pytest.raises(Refused, match="must be specified for an update") as raised:
        await world.api.replace(resource, world.namespace, "a", made)
    assert raised.value.code == 422


@pytest.mark.parametrize("resource", KINDS, ids=lambda kind: kind.plural)
async def test_a_replace_of_an_object_that_was_created_anew_conflicts(
    world: World, resource: Resource
) -> None:
    old = await world.create(resource, "a")
    await world.api.delete(resource, world.namespace, "a", uid=old["metadata"]["uid"])
    new = await world.create(resource, "a")
    body = manifest(
        resource,
        "a",
        uid=old["metadata"]["uid"],
        resourceVersion=new["metadata"]["resourceVersion"],
    )
    with pytest.raises(Conflict):
        await world.api.replace(resource, world.namespace, "a", body)


async def test_a_replace_of_a_lease_that_was_deleted_does_not_bring_it_back(world: World) -> None:
    made = await world.create(LEASES, "a")
    await world.api.delete(LEASES, world.namespace, "a", uid=made["metadata"]["uid"])
    with pytest.raises((Conflict, NotFound)):
        await world.api.replace(LEASES, world.namespace, "a", made)
    assert await world.gone(LEASES, "a")


# --- patch ------------------------------------------------------------------------------------


async def test_a_merge_patch_merges_maps_replaces_lists_and_removes_nulls(world: World) -> None:
    await world.create(WIDGETS, "a", {"spec": {"map": {"a": 1, "b": 2}, "list": [1, 2], "c": 3}})
    patch = {"spec": {"map": {"b": None, "d": {"e": 4}}, "list": [9], "c": None}}
    patched = await world.api.patch(WIDGETS, world.namespace, "a", patch)
    assert patched["spec"] == {"map": {"a": 1, "d": {"e": 4}}, "list": [9]}


@pytest.mark.parametrize("subresource", ["", "status"])
async def test_a_patch_with_an_old_version_conflicts(world: World, subresource: str) -> None:
    old = await world.create(WIDGETS, "a")
    await world.api.patch(WIDGETS, world.namespace, "a", {"spec": {"a": 1}})
    metadata = {"resourceVersion": old["metadata"]["resourceVersion"]}
    patch = {"metadata": metadata, "spec": {"b": 1}, "status": {"b": 1}}
    with pytest.raises(Conflict) as raised:
        await world.api.patch(WIDGETS, world.namespace, "a", patch, subresource=subresource)
    assert raised.value.reason == "Conflict"


async def test_a_patch_with_another_uid_conflicts(world: World) -> None:
    await world.create(WIDGETS, "a")
    patch = {"metadata": {"uid": "another"}, "spec": {"b": 1}}
    with pytest.raises(Conflict, match=r"metadata\.uid"):
        await world.api.patch(WIDGETS, world.namespace, "a", patch)


async def test_a_status_patch_with_another_uid_is_made_all_the_same(world: World) -> None:
    """The server keeps the metadata that it has: only resourceVersion protects a status."""
    await world.create(WIDGETS, "a")
    patch = {"metadata": {"uid": "another"}, "status": {"b": 1}}
    patched = await world.api.patch(WIDGETS, world.namespace, "a", patch, subresource="status")
    assert patched["status"] == {"b": 1}


@pytest.mark.parametrize("subresource", ["", "status"])
async def test_a_patch_with_preconditions_that_hold_is_made(world: World, subresource: str) -> None:
    made = await world.create(WIDGETS, "a")
    held = {field: made["metadata"][field] for field in ("resourceVersion", "uid")}
    patch = {"metadata": held, "spec": {"b": 1}, "status": {"b": 1}}
    patched = await world.api.patch(WIDGETS, world.namespace, "a", patch, subresource=subresource)
    assert patched["status" if subresource else "spec"] == {"b": 1}


async def test_spec_and_status_are_written_apart_and_only_spec_counts_generations(
    world: World,
) -> None:
    await world.create(WIDGETS, "a", {"spec": {"a": 1}})
    patch = {"spec": {"a": 2}, "status": {"a": 2}, "metadata": {"labels": {"a": "2"}}}
    by_status = await world.api.patch(WIDGETS, world.namespace, "a", patch, subresource="status")
    assert (by_status["spec"], by_status["status"]) == ({"a": 1}, {"a": 2})
    assert by_status["metadata"]["generation"] == 1
    assert "labels" not in by_status["metadata"]
    patch["status"] = {"a": 3}
    by_main = await world.api.patch(WIDGETS, world.namespace, "a", patch)
    assert (by_main["spec"], by_main["status"]) == ({"a": 2}, {"a": 2})
    assert by_main["metadata"]["generation"] == 2
    labelled = await world.api.patch(
        WIDGETS, world.namespace, "a", {"metadata": {"labels": {"a": "3"}}}
    )
    assert labelled["metadata"]["generation"] == 2
    assert labelled["metadata"]["labels"] == {"a": "3"}


@pytest.mark.parametrize("subresource", ["", "status"])
async def test_a_patch_that_changes_nothing_writes_nothing(world: World, subresource: str) -> None:
    await world.create(WIDGETS, "a")
    content = {"status": {"a": 1}} if subresource else {"spec": {"a": 1}}
    once, twice = [
        await world.api.patch(WIDGETS, world.namespace, "a", content, subresource=subresource)
        for _ in range(2)
    ]
    assert once == twice


async def test_a_patch_cannot_change_what_the_server_owns(world: World) -> None:
    made = await world.create(WIDGETS, "a")
    patched = await world.api.patch(
        WIDGETS,
        world.namespace,
        "a",
        {"metadata": {"creationTimestamp": "2001-01-01T00:00:00Z", "generation": 77}},
    )
    assert patched["metadata"]["creationTimestamp"] == made["metadata"]["creationTimestamp"]
    assert patched["metadata"]["generation"] == 1


# --- delete -----------------------------------------------------------------------------------


async def test_a_delete_with_a_precondition_that_fails_conflicts(world: World) -> None:
    made = await world.create(WIDGETS, "a")
    uid = made["metadata"]["uid"]
    with pytest.raises(Conflict, match=r"UID in the precondition \(another\)"):
        await world.api.delete(WIDGETS, world.namespace, "a", uid="another")
    with pytest.raises(Conflict, match=r"ResourceVersion in the precondition \(1\)"):
        await world.api.delete(WIDGETS, world.namespace, "a", uid=uid, resource_version="1")
    await world.api.delete(
        WIDGETS, world.namespace, "a", uid=uid, resource_version=made["metadata"]["resourceVersion"]
    )
    assert await world.gone(WIDGETS, "a")


async def test_a_finalizer_holds_an_object_until_it_is_taken_off(world: World) -> None:
    made = await world.create(WIDGETS, "a", finalizers=["example.com/hold"])
    await world.api.delete(WIDGETS, world.namespace, "a", uid=made["metadata"]["uid"])
    held = await world.api.get(WIDGETS, world.namespace, "a")
    assert held["metadata"]["deletionTimestamp"].endswith("Z")
    with pytest.raises(AlreadyExists):
        await world.create(WIDGETS, "a")
    await world.api.patch(WIDGETS, world.namespace, "a", {"metadata": {"finalizers": None}})
    assert await world.gone(WIDGETS, "a")


ENDED = ",".join(f"status.phase!={p}" for p in ("", "Pending", "Queued", "Running", "Retrying"))


async def test_one_call_deletes_what_its_selectors_match_and_nothing_else(world: World) -> None:
    phases = {"a": "Succeeded", "b": "Failed", "c": "Running", "d": "", "e": "Succeeded"}
    for name, phase in phases.items():
        await world.create(TASK_EXECUTIONS, name, labels={"task": "nightly", "execution": name})
        if phase:
            await world.api.patch(
                TASK_EXECUTIONS,
                world.namespace,
                name,
                {"status": {"phase": phase}},
                subresource="status",
            )
    await world.create(JOBS, "job", labels={"task": "nightly", "execution": "a"})
    deleted = await world.api.delete_selected(
        TASK_EXECUTIONS,
        world.namespace,
        label_selector="task=nightly,execution in (a,b,c,d,none)",
        field_selector=ENDED,
    )
    assert {obj["metadata"]["name"] for obj in deleted} == {"a", "b"}
    left = await world.api.list(TASK_EXECUTIONS, namespace=world.namespace)
    assert {obj["metadata"]["name"] for obj in left} == {"c", "d", "e"}
    assert not await world.gone(JOBS, "job")


async def test_a_delete_by_selectors_of_nothing_is_no_error(world: World) -> None:
    assert not await world.api.delete_selected(
        TASK_EXECUTIONS, world.namespace, label_selector="execution in (a)", timeout=5.0
    )


async def test_a_delete_by_selectors_leaves_what_a_finalizer_holds(world: World) -> None:
    await world.create(WIDGETS, "a", labels={"x": "y"}, finalizers=["example.com/hold"])
    (found,) = await world.api.delete_selected(WIDGETS, world.namespace, label_selector="x=y")
    assert found["metadata"]["finalizers"] == ["example.com/hold"]
    held = await world.api.get(WIDGETS, world.namespace, "a")
    assert held["metadata"]["deletionTimestamp"].endswith("Z")
    await world.api.patch(WIDGETS, world.namespace, "a", {"metadata": {"finalizers": None}})


async def test_pods_that_run_are_killed_and_those_that_have_ended_stay(world: World) -> None:
    spec: Obj = {
        "nodeName": "nowhere",  # A pod without a node would go at once, whatever its grace period.
        "terminationGracePeriodSeconds": 300,
        "automountServiceAccountToken": False,
        "containers": [{"name": "main", "image": "busybox"}],
    }
    phases = {"a": "Running", "b": "Succeeded", "c": "Failed", "d": "Pending"}
    for name, phase in phases.items():
        labels = {"execution": "one"}
        await world.create_pod(name, {"spec": spec}, labels=labels)
        await world.api.patch(
            PODS, world.namespace, name, {"status": {"phase": phase}}, subresource="status"
        )
    deleted = await world.api.delete_selected(
        PODS,
        world.namespace,
        label_selector="execution=one",
        field_selector="status.phase!=Succeeded,status.phase!=Failed",
        grace_seconds=0,
    )
    assert {obj["metadata"]["name"] for obj in deleted} == {"a", "d"}
    left = await world.api.list(PODS, namespace=world.namespace)
    assert {obj["metadata"]["name"] for obj in left} == {"b", "c"}
    await world.api.delete_selected(
        PODS, world.namespace, label_selector="execution=one", grace_seconds=0
    )


async def test_a_delete_by_a_hundred_long_names_is_one_call(world: World) -> None:
    """As many and as long as history asks for at once."""
    names = [f"{'n' * 48}-{number:06d}" for number in range(100)]
    for name in names[::10]:
        await world.create(WIDGETS, name, labels={"execution": name})
    deleted = await world.api.delete_selected(
        WIDGETS, world.namespace, label_selector=f"execution in ({','.join(names)})"
    )
    assert len(deleted) == 10
    assert not await world.api.list(WIDGETS, namespace=world.namespace)


def owner_of(obj: Obj) -> list[Obj]:
    return [
        {
            "apiVersion": obj["apiVersion"],
            "kind": obj["kind"],
            "name": obj["metadata"]["name"],
            "uid": obj["metadata"]["uid"],
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]


@pytest.mark.timeout(250)
@pytest.mark.parametrize(
    ("propagation", "stays"), [("Background", False), ("Foreground", False), ("Orphan", True)]
)
async def test_dependents_go_with_their_owner_unless_orphaned(
    world: World, propagation: str, stays: bool
) -> None:
    owner = await world.create(TASK_EXECUTIONS, "owner")
    child = await world.create(JOBS, "child", ownerReferences=owner_of(owner))
    grandchild = await world.create(LEASES, "grandchild", ownerReferences=owner_of(child))
    await world.api.delete(
        TASK_EXECUTIONS,
        world.namespace,
        "owner",
        uid=owner["metadata"]["uid"],
        propagation=cast(Propagation, propagation),
    )

    async def owner_gone() -> bool:
        return await world.gone(TASK_EXECUTIONS, "owner")

    async def children_gone() -> bool:
        return await world.gone(JOBS, "child") and await world.gone(LEASES, "grandchild")

    await world.eventually(owner_gone, "the owner is still there")
    if stays:
        left = await world.api.get(JOBS, world.namespace, "child")
        assert "ownerReferences" not in left["metadata"]
        same = await world.api.get(LEASES, world.namespace, "grandchild")
        assert same["metadata"]["ownerReferences"] == grandchild["metadata"]["ownerReferences"]
    else:
        await world.eventually(children_gone, "a dependent is still there")


@pytest.mark.timeout(150)
async def test_an_object_whose_owner_never_was_is_collected(world: World) -> None:
    owner = await world.create(WIDGETS, "owner")
    references = owner_of(owner)
    references[0]["uid"] = "00000000-0000-0000-0000-00000000dead"
    await world.create(WIDGETS, "child", ownerReferences=references)
    if world.is_fake:
        world.fake.server.collect_garbage()

    async def collected() -> bool:
        return await world.gone(WIDGETS, "child")

    await world.eventually(collected, "the orphan is still there")


# --- list and watch ---------------------------------------------------------------------------

LABELS: list[tuple[str, str]] = [
    ("", "a b c"),
    ("task=x", "a b"),
    ("task==x,run=1", "a"),
    ("task!=x", "c"),
    ("run", "a b"),
    ("!run", "c"),
    ("task in (x, y)", "a b c"),
    ("run notin (1)", "b c"),
    ("taskrunner.dev/task=x", ""),
]


async def test_a_list_selects_by_labels(world: World) -> None:
    await world.create(LEASES, "b", labels={"task": "x", "run": "2"})
    await world.create(LEASES, "a", labels={"task": "x", "run": "1"})
    await world.create(LEASES, "c", labels={"task": "y"})
    found = {
        selector: " ".join(
            obj["metadata"]["name"]
            for obj in await world.api.list(
                LEASES, namespace=world.namespace, label_selector=selector
            )
        )
        for selector, _ in LABELS
    }
    assert found == dict(LABELS)


async def test_a_list_selects_by_the_fields_that_the_kind_has(world: World) -> None:
    for name, task in [("a", "x"), ("b", "x"), ("c", "y")]:
        await world.create(TASK_EXECUTIONS, name, {"spec": {"taskRef": {"name": task}}})
    await world.api.patch(
        TASK_EXECUTIONS,
        world.namespace,
        "b",
        {"status": {"phase": "Running"}},
        subresource="status",
    )
    table = {
        "metadata.name=a": "a",
        f"metadata.namespace={world.namespace},metadata.name!=a": "b c",
        "spec.taskRef.name=x": "a b",
        "spec.taskRef.name!=x": "c",
        "spec.taskRef.name=x,status.phase=Running": "b",
        "status.phase=Pending": "a c",
        "status.reason=": "a b c",
    }
    found = {
        selector: " ".join(
            obj["metadata"]["name"]
            for obj in await world.api.list(
                TASK_EXECUTIONS, namespace=world.namespace, field_selector=selector
            )
        )
        for selector in table
    }
    assert found == table


@pytest.mark.parametrize(
    "selector", [{"field_selector": "spec.priority=1"}, {"label_selector": "a in b"}]
)
async def test_a_selector_that_the_server_does_not_know_is_refused(
    world: World, selector: dict[str, str]
) -> None:
    await world.create(TASK_EXECUTIONS, "a")
    with pytest.raises(Refused) as raised:
        await world.api.list(TASK_EXECUTIONS, namespace=world.namespace, **selector)
    assert raised.value.code == 400


@pytest.mark.parametrize("resource", KINDS, ids=lambda kind: kind.plural)
async def test_a_list_has_the_same_objects_as_get(world: World, resource: Resource) -> None:
    await world.create(resource, "b")
    await world.create(resource, "a")
    one_by_one = [await world.api.get(resource, world.namespace, name) for name in ("a", "b")]
    assert await world.api.list(resource, namespace=world.namespace) == one_by_one
    everywhere = await world.api.list(resource)
    assert [obj for obj in everywhere if obj["metadata"]["namespace"] == world.namespace] == (
        one_by_one
    )


async def test_a_list_is_at_least_as_new_as_the_last_write(world: World) -> None:
    for number in range(20):
        made = await world.create(WIDGETS, f"w-{number}")
        pages = [page async for page in world.api.list_pages(WIDGETS, namespace=world.namespace)]
        assert sum(len(page.items) for page in pages) == number + 1
        assert all(int(page.resource_version) >= version(made) for page in pages)


async def watched(
    world: World, resource: Resource, since: str, count: int, **selectors: str
) -> list[WatchEvent]:
    """The first `count` events after a version."""
    events: list[WatchEvent] = []
    stream = world.api.watch(
        resource,
        resource_version=since,
        timeout_seconds=30,
        idle_seconds=10.0,
        namespace=world.namespace,
        **selectors,
    )
    async with asyncio.timeout(15):
        async for batch in stream:
            events += [event for event in batch if event[0] != "BOOKMARK"]
            if len(events) >= count:
                break
    await stream.aclose()
    return events


@pytest.mark.parametrize("resource", KINDS, ids=lambda kind: kind.plural)
async def test_a_watch_tells_every_change_after_its_version_in_order(
    world: World, resource: Resource
) -> None:
    before = await world.create(resource, "before")
    made = await world.create(resource, "a")
    patched = await world.api.patch(
        resource, world.namespace, "a", {"metadata": {"labels": {"a": "b"}}}
    )
    await world.api.delete(resource, world.namespace, "a", uid=made["metadata"]["uid"])
    events = await watched(world, resource, before["metadata"]["resourceVersion"], 3)
    assert [kind for kind, _ in events] == ["ADDED", "MODIFIED", "DELETED"]
    assert [obj for _, obj in events[:2]] == [made, patched]
    versions = [version(before), *(version(obj) for _, obj in events)]
    assert versions == sorted(set(versions))
    last = events[2][1]
    assert last["metadata"]["name"] == "a"
    assert last["metadata"]["labels"]["a"] == "b"


async def test_a_short_watch_tells_how_far_it_is_before_it_ends(world: World) -> None:
    """So that who knows the latest version knows that nothing up to it is missing."""
    made = await world.create(WIDGETS, "a")
    for number in range(5):
        await world.create(LEASES, f"other-{number}")
    latest = await world.api.latest_version(WIDGETS, namespace=world.namespace)
    assert latest > version(made)
    stream = world.api.watch(
        WIDGETS,
        resource_version=made["metadata"]["resourceVersion"],
        timeout_seconds=5,
        idle_seconds=10.0,
        namespace=world.namespace,
    )

    async def read() -> list[tuple[str, int]]:
        async with aclosing(stream):
            return [(kind, version(obj)) async for batch in stream for kind, obj in batch]

    told = await (world.clock.drive(read()) if isinstance(world.clock, FakeClock) else read())
    assert {kind for kind, _ in told} == {"BOOKMARK"}
    assert told[-1][1] >= latest


async def test_for_a_watch_what_leaves_its_selection_is_deleted(world: World) -> None:
    selector = {"label_selector": "in=yes"}
    made = await world.create(WIDGETS, "a", labels={"in": "yes"})
    for value in ("no", "still-no", "yes"):
        changed = await world.api.patch(
            WIDGETS, world.namespace, "a", {"metadata": {"labels": {"in": value}}}
        )
    events = await watched(world, WIDGETS, made["metadata"]["resourceVersion"], 2, **selector)
    assert [kind for kind, _ in events] == ["DELETED", "ADDED"]
    assert version(made) < version(events[0][1]) < version(events[1][1]) == version(changed)


async def test_a_watch_of_an_unknown_kind_is_not_found(world: World) -> None:
    unknown = Resource("none.taskrunner.dev", "v1", "nones", "None")
    if world.is_fake:
        world.fake.server.not_served.add("nones")
    with pytest.raises(NotFound):
        await watched(world, unknown, "1", 1)


async def test_a_reflector_and_a_list_agree_after_a_storm_of_writes(world: World) -> None:
    sink = FakeSink()
    reflector = Reflector(world.api, world.clock, WIDGETS, sink, namespace=world.namespace)
    task = asyncio.create_task(reflector.run())

    async def write(number: int) -> None:
        name = f"w-{number}"
        made = await world.create(WIDGETS, name)
        await world.api.patch(WIDGETS, world.namespace, name, {"spec": {"a": number}})
        if number % 2:
            await world.api.delete(WIDGETS, world.namespace, name, uid=made["metadata"]["uid"])
        if number % 10 == 0:
            await reflector.refresh()

    await asyncio.gather(*(write(number) for number in range(100)))

    async def agrees() -> bool:
        listed = await world.api.list(WIDGETS, namespace=world.namespace)
        return sink.objects == {obj["metadata"]["name"]: obj for obj in listed}

    await world.eventually(agrees, "the sink differs from the list")
    assert len(sink.objects) == 50
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_every_failure_is_an_api_error(world: World) -> None:
    """The port promises that nothing else is raised."""
    calls = [call(world) for call in MISSING.values()]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(result, (ApiError, dict)) for result in results), results
