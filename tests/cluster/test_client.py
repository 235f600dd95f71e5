"""The client on a real API server: who it is, what it is refused, and what a slow server does."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from contract.world import NAMESPACES, manifest, until
from taskrunner.errors import ApiError, NotFound, Refused, Transient
from taskrunner.kube import client as client_module
from taskrunner.kube.client import ApiClient
from taskrunner.kube.clock import SystemClock
from taskrunner.kube.config import from_kubeconfig
from taskrunner.kube.credentials import StaticToken, TokenFile
from taskrunner.ports import JOBS, LEASES, Obj, Resource
from testbed import Cluster

pytestmark = pytest.mark.cluster

QUOTAS = Resource("", "v1", "resourcequotas", "ResourceQuota")


def client_of(kubeconfig: Path, **options: Any) -> ApiClient:
    return ApiClient(from_kubeconfig(str(kubeconfig)), SystemClock(), **options)


@pytest.fixture
async def api(cluster: Cluster) -> AsyncIterator[ApiClient]:
    async with client_of(cluster.kubeconfig) as made:
        yield made


@pytest.fixture
async def namespace(api: ApiClient) -> AsyncIterator[str]:
    name = f"client-{uuid.uuid4().hex[:8]}"
    made = await api.create(NAMESPACES, "", {"metadata": {"name": name}})
    yield name
    await api.delete(NAMESPACES, "", name, uid=made["metadata"]["uid"])


async def refused(call: Any) -> ApiError:
    with pytest.raises(ApiError) as raised:
        await call
    return raised.value


async def test_a_typo_in_a_pod_template_is_found_by_a_dry_run(
    api: ApiClient, namespace: str
) -> None:
    job = manifest(JOBS, "a")
    job["spec"]["template"]["spec"]["containers"][0]["comand"] = ["true"]
    error = await refused(api.create(JOBS, namespace, job, dry_run=True))
    assert isinstance(error, Refused)
    assert 'unknown field "spec.template.spec.containers[0].comand"' in str(error)
    del job["spec"]["template"]["spec"]["restartPolicy"]
    del job["spec"]["template"]["spec"]["containers"][0]["comand"]
    error = await refused(api.create(JOBS, namespace, job, dry_run=True))
    assert isinstance(error, Refused)
    assert "spec.template.spec.restartPolicy" in str(error)


async def test_what_the_server_warns_of_is_told(api: ApiClient, namespace: str) -> None:
    job = manifest(JOBS, "a")
    twice = {"name": "A", "value": "1"}
    job["spec"]["template"]["spec"]["containers"][0]["env"] = [twice, twice]
    _, notes = await api.create_with_warnings(JOBS, namespace, job, dry_run=True)
    assert len(notes) == 1
    assert 'hides previous definition of "A"' in notes[0]


async def test_a_service_account_may_do_what_it_was_given(
    cluster: Cluster, api: ApiClient, namespace: str
) -> None:
    cluster.kubectl("create", "serviceaccount", "robot", "-n", namespace)
    kubeconfig = cluster.kubeconfig_for_service_account(namespace, "robot")
    async with client_of(kubeconfig) as robot:
        error = await refused(robot.list(LEASES, namespace=namespace))
        assert isinstance(error, Refused)
        assert error.code == 403
        assert f'"system:serviceaccount:{namespace}:robot" cannot list' in str(error)
        for verb in ("role", "rolebinding"):
            options = {
                "role": ["--verb=list", "--resource=leases"],
                "rolebinding": ["--role=reader", f"--serviceaccount={namespace}:robot"],
            }[verb]
            cluster.kubectl("create", verb, "reader", "-n", namespace, *options)

        async def allowed() -> bool:
            try:
                return await robot.list(LEASES, namespace=namespace) == []
            except Refused:
                return False

        await until(allowed, "the role has no effect")


async def test_a_token_that_the_server_refuses_is_read_again(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    cluster.kubectl("create", "serviceaccount", "robot", "-n", namespace)
    token = cluster.kubectl("create", "token", "robot", "-n", namespace)
    file = tmp_path / "token"
    file.write_text("not.a.token")
    base = from_kubeconfig(str(cluster.kubeconfig))
    credentials = TokenFile(file)
    connection = type(base)(server=base.server, ca=base.ca, credentials=credentials)
    async with ApiClient(connection, SystemClock()) as robot:
        error = await refused(robot.get(LEASES, namespace, "none"))
        assert (type(error), error.code) == (Refused, 401)
        file.write_text(token)
        error = await refused(robot.get(LEASES, namespace, "none"))
        assert error.code == 403  # Known, but without rights.


async def test_a_server_with_another_certificate_is_not_spoken_to(cluster: Cluster) -> None:
    base = from_kubeconfig(str(cluster.kubeconfig))
    connection = type(base)(server=base.server, credentials=StaticToken("s3cret"))
    async with ApiClient(connection, SystemClock()) as stranger:
        error = await refused(stranger.get(LEASES, "default", "none"))
    assert isinstance(error, Transient)
    assert "certificate" in str(error)


async def test_a_full_quota_is_worth_trying_again(api: ApiClient, namespace: str) -> None:
    quota: Obj = {"metadata": {"name": "q"}, "spec": {"hard": {"count/jobs.batch": "1"}}}
    await api.create(QUOTAS, namespace, quota)

    async def counted() -> bool:
        return "hard" in (await api.get(QUOTAS, namespace, "q")).get("status", {})

    await until(counted, "the quota has no status")
    await api.create(JOBS, namespace, manifest(JOBS, "a"))
    error = await refused(api.create(JOBS, namespace, manifest(JOBS, "b")))
    assert isinstance(error, Transient)
    assert (error.code, error.reason) == (403, "Forbidden")
    assert "exceeded quota: q" in str(error)


async def test_a_namespace_that_is_going_or_gone_takes_nothing(
    api: ApiClient, namespace: str
) -> None:
    error = await refused(api.create(JOBS, "nowhere", manifest(JOBS, "a")))
    assert isinstance(error, NotFound)
    name = f"{namespace}-going"
    body: Obj = {"metadata": {"name": name, "finalizers": ["example.com/hold"]}}
    made = await api.create(NAMESPACES, "", body)
    await api.delete(NAMESPACES, "", name, uid=made["metadata"]["uid"])
    error = await refused(api.create(JOBS, name, manifest(JOBS, "a")))
    assert isinstance(error, Refused)
    assert "because it is being terminated" in str(error)
    await api.patch(NAMESPACES, "", name, {"metadata": {"finalizers": None}})


async def test_a_long_list_comes_in_pages(
    api: ApiClient, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"lease-{number:03d}" for number in range(100)]
    await asyncio.gather(*(api.create(LEASES, namespace, manifest(LEASES, n)) for n in names))
    calls: list[str] = []
    monkeypatch.setattr(client_module, "PAGE", 7)
    original = api._call

    async def counted(verb: str, *arguments: Any, **named: Any) -> Any:
        calls.append(verb)
        return await original(verb, *arguments, **named)

    monkeypatch.setattr(api, "_call", counted)
    listed = await api.list(LEASES, namespace=namespace)
    assert [lease["metadata"]["name"] for lease in listed] == names
    assert len(calls) == 15


async def test_a_burst_through_a_warm_pool_makes_every_object_once(
    cluster: Cluster, namespace: str
) -> None:
    async with client_of(cluster.kubeconfig, pool=64) as api:
        await api.warm(64)
        names = [f"lease-{number:03d}" for number in range(500)]
        made = await asyncio.gather(
            *(api.create(LEASES, namespace, manifest(LEASES, name)) for name in names)
        )
        assert len({lease["metadata"]["uid"] for lease in made}) == 500
        assert len(await api.list(LEASES, namespace=namespace)) == 500
        assert api.server_skew() == pytest.approx(0.0, abs=0.5)


async def test_a_server_that_cannot_write_gives_up_when_it_was_told_to(breakable: Cluster) -> None:
    clock = SystemClock()
    async with client_of(breakable.kubeconfig) as api:
        await api.get(NAMESPACES, "", "default")
        etcd = breakable.component("etcd")
        etcd.pause()
        try:
            before = clock.boot()
            error = await refused(
                api.create(LEASES, "default", manifest(LEASES, "slow"), timeout=1.0)
            )
            took = clock.boot() - before
        finally:
            etcd.resume()
    assert isinstance(error, Transient)
    assert 0.9 <= took < 2.5


async def test_a_server_that_hangs_is_given_up(breakable: Cluster) -> None:
    clock = SystemClock()
    async with client_of(breakable.kubeconfig) as api:
        await api.get(NAMESPACES, "", "default")
        server = breakable.component("kube-apiserver")
        server.pause()
        try:
            before = clock.boot()
            error = await refused(
                api.create(LEASES, "default", manifest(LEASES, "hung"), timeout=1.0)
            )
            took = clock.boot() - before
        finally:
            server.resume()
    assert isinstance(error, Transient)
    assert (error.code, str(error)) == (0, "create leases: no answer in time.")
    assert 1.9 <= took < 3.0
