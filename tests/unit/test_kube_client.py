"""What the client sends, and what it makes of answers, faults and silence. The other side is a bare
HTTP server that answers as each test says; how Kubernetes itself answers is in tests/contract."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from fakes.clock import settle
from fakes.http import (
    Answer,
    Server,
    answer,
    half_an_answer,
    hang_up,
    serving,
    silence,
    status,
    stream,
)
from taskrunner import __version__
from taskrunner.errors import (
    ApiError,
    Gone,
    NotFound,
    Refused,
    Transient,
)
from taskrunner.kube import client as client_module
from taskrunner.kube.client import ApiClient
from taskrunner.kube.clock import SystemClock
from taskrunner.kube.config import Connection
from taskrunner.kube.credentials import Credentials, StaticToken, TokenFile
from taskrunner.kube.source import WatchEvent
from taskrunner.ports import JOBS, LEASES, Resource

JOB = {"metadata": {"name": "a", "resourceVersion": "1"}}


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as scripted:
        scripted.answers = [answer(JOB)]
        yield scripted


def client_of(server: Server, credentials: Credentials | None = None, **options: Any) -> ApiClient:
    connection = Connection(server.url, credentials=credentials or StaticToken("s3cret"))
    return ApiClient(connection, SystemClock(), **options)


@pytest.fixture
async def client(server: Server) -> AsyncIterator[ApiClient]:
    async with client_of(server) as made:
        yield made


# --- what is sent -----------------------------------------------------------------------------

CALLS: dict[str, tuple[Callable[[ApiClient], Awaitable[Any]], str, str, Any]] = {
    "get": (
        lambda c: c.get(JOBS, "qa", "a"),
        "GET",
        "/apis/batch/v1/namespaces/qa/jobs/a",
        None,
    ),
    "get of the core group, cluster-wide": (
        lambda c: c.get(Resource("", "v1", "namespaces", "Namespace"), "", "qa"),
        "GET",
        "/api/v1/namespaces/qa",
        None,
    ),
    "create": (
        lambda c: c.create(JOBS, "qa", JOB),
        "POST",
        "/apis/batch/v1/namespaces/qa/jobs?fieldManager=taskrunner&timeout=30.000s",
        JOB,
    ),
    "create with little time": (
        lambda c: c.create(JOBS, "qa", JOB, timeout=1.5),
        "POST",
        "/apis/batch/v1/namespaces/qa/jobs?fieldManager=taskrunner&timeout=1.500s",
        JOB,
    ),
    "dry run": (
        lambda c: c.create(JOBS, "qa", JOB, dry_run=True),
        "POST",
        "/apis/batch/v1/namespaces/qa/jobs?fieldManager=taskrunner&timeout=30.000s"
        "&dryRun=All&fieldValidation=Strict",
        JOB,
    ),
    "replace": (
        lambda c: c.replace(LEASES, "qa", "a", JOB, timeout=2),
        "PUT",
        "/apis/coordination.k8s.io/v1/namespaces/qa/leases/a?fieldManager=taskrunner&timeout=2.000s",
        JOB,
    ),
    "patch of the status": (
        lambda c: c.patch(JOBS, "qa", "a", {"status": {"x": None}}, subresource="status"),
        "PATCH",
        "/apis/batch/v1/namespaces/qa/jobs/a/status?fieldManager=taskrunner&timeout=30.000s",
        {"status": {"x": None}},
    ),
    "delete": (
        lambda c: c.delete(JOBS, "qa", "a", uid="u", resource_version="7", propagation="Orphan"),
        "DELETE",
        "/apis/batch/v1/namespaces/qa/jobs/a?timeout=30.000s",
        {"preconditions": {"uid": "u", "resourceVersion": "7"}, "propagationPolicy": "Orphan"},
    ),
    "a name that would leave its path": (
        lambda c: c.get(JOBS, "qa", "../secrets?x=1"),
        "GET",
        "/apis/batch/v1/namespaces/qa/jobs/..%2Fsecrets%3Fx%3D1",
        None,
    ),
}


@pytest.mark.parametrize("case", CALLS.values(), ids=CALLS)
async def test_it_sends(server: Server, client: ApiClient, case: Any) -> None:
    call, method, path, body = case
    await call(client)
    request = server.last
    assert (request.method, request.raw_path) == (method, path)
    assert (orjson.loads(server.bodies[-1]) if body else server.bodies[-1]) == (body or b"")
    assert request.headers["Authorization"] == "Bearer s3cret"
    assert request.headers["User-Agent"] == f"taskrunner/{__version__}"
    if body:
        kind = "merge-patch+json" if method == "PATCH" else "json"
        assert request.headers["Content-Type"] == f"application/{kind}"


async def test_a_list_is_read_in_pages(server: Server, client: ApiClient) -> None:
    server.answers = [
        answer({"metadata": {"resourceVersion": "9", "continue": "x/y="}, "items": [JOB, JOB]}),
        answer({"metadata": {"resourceVersion": "9"}, "items": [JOB]}),
    ]
    pages = client.list_pages(JOBS, namespace="qa", label_selector="a in (b)")
    read = [page async for page in pages]
    assert [request.rel_url.raw_query_string for request in server.requests] == [
        "labelSelector=a+in+%28b%29&limit=500",
        "labelSelector=a+in+%28b%29&limit=500&continue=x%2Fy%3D",
    ]
    assert [(len(page.items), page.resource_version) for page in read] == [(2, "9"), (1, "9")]
    assert {(o["apiVersion"], o["kind"]) for page in read for o in page.items} == {
        ("batch/v1", "Job")
    }


async def test_a_list_starts_over_when_the_server_has_forgotten_it_and_then_asks_for_all_at_once(
    server: Server, client: ApiClient
) -> None:
    page = answer({"metadata": {"resourceVersion": "9", "continue": "x"}, "items": [JOB]})
    server.answers = [
        *(page, status(410, "Expired"), page, status(410, "Expired")),
        answer({"metadata": {"resourceVersion": "10"}, "items": [JOB, JOB, JOB]}),
    ]
    assert len(await client.list(JOBS)) == 3
    assert server.last.query_string == ""


async def test_a_list_without_items_is_empty(server: Server, client: ApiClient) -> None:
    server.answers = [answer({"metadata": {"resourceVersion": "9"}, "items": None})]
    assert await client.list(JOBS) == []


# --- what answers mean ------------------------------------------------------------------------


async def test_warnings_come_with_the_created_object(server: Server, client: ApiClient) -> None:
    server.answers = [answer(JOB, 201, Warning='299 - "hides previous definition"')]
    made, notes = await client.create_with_warnings(JOBS, "qa", JOB, dry_run=True)
    assert (made, notes) == (JOB, ["hides previous definition"])


FAULTS: list[tuple[Answer, str]] = [
    (hang_up, "the connection broke"),
    (half_an_answer, "the connection broke"),
    (silence, "no answer in time"),
    (answer("<html>"), "the answer is not JSON"),
]


@pytest.mark.parametrize(("fault", "message"), FAULTS)
async def test_a_fault_on_the_wire_is_transient(
    server: Server,
    client: ApiClient,
    monkeypatch: pytest.MonkeyPatch,
    fault: Answer,
    message: str,
) -> None:
    monkeypatch.setattr(client_module, "_GRACE", 0.05)
    server.answers = [fault]
    with pytest.raises(Transient, match=f"create jobs: {message}") as raised:
        await client.create(JOBS, "qa", JOB, timeout=0.05)
    assert raised.value.code == 0


async def test_a_server_that_is_not_there_is_transient() -> None:
    connection = Connection("http://127.0.0.1:1")
    async with ApiClient(connection, SystemClock()) as client:
        with pytest.raises(Transient, match="the API server cannot be reached"):
            await client.get(JOBS, "qa", "a")


async def test_a_redirect_is_not_followed(server: Server, client: ApiClient) -> None:
    server.answers = [answer("", 307, Location="http://elsewhere.invalid/")]
    with pytest.raises(Refused):
        await client.get(JOBS, "qa", "a")
    assert len(server.requests) == 1


async def test_no_secret_is_in_errors_representations_or_logs(
    server: Server, client: ApiClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.answers = [status(401, "Unauthorized", "Unauthorized")]
    with pytest.raises(Refused) as raised:
        await client.get(JOBS, "qa", "a")
    connection = Connection("https://x", credentials=StaticToken("s3cret"), client_key=b"s3cret")
    assert "s3cret" not in f"{raised.value!r} {connection!r} {caplog.text}"


# --- credentials ------------------------------------------------------------------------------


async def test_a_token_that_is_refused_is_read_again_and_the_call_made_once_more(
    server: Server, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("old\n")
    server.answers = [answer(JOB), status(401, "Unauthorized"), answer(JOB)]
    async with client_of(server, TokenFile(token)) as client:
        await client.get(JOBS, "qa", "a")
        token.write_text("new\n")
        await client.create(JOBS, "qa", JOB)
    sent = [request.headers["Authorization"] for request in server.requests]
    assert sent == ["Bearer old", "Bearer old", "Bearer new"]
    assert server.bodies[1] == server.bodies[2]


async def test_a_token_that_stays_refused_is_told(server: Server, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("old")
    server.answers = [status(401, "Unauthorized", "Unauthorized")]
    async with client_of(server, TokenFile(tmp_path / "token")) as client:
        with pytest.raises(Refused):
            await client.get(JOBS, "qa", "a")
        with pytest.raises(Refused):
            await watched(client)
    assert len(server.requests) == 4


# --- watch ------------------------------------------------------------------------------------


def line(kind: str, version: int) -> bytes:
    obj = {"metadata": {"name": "a", "resourceVersion": str(version)}}
    return orjson.dumps({"type": kind, "object": obj}) + b"\n"


async def watched(client: ApiClient, idle: float = 5.0) -> list[tuple[str, str]]:
    events: list[WatchEvent] = []
    async for batch in client.watch(
        JOBS, resource_version="7", timeout_seconds=300, idle_seconds=idle, label_selector="x"
    ):
        events += batch
    return [(kind, obj["metadata"]["resourceVersion"]) for kind, obj in events]


async def test_a_watch_gives_events_however_they_are_cut_up(
    server: Server, client: ApiClient
) -> None:
    whole = b"".join(line("ADDED", number) for number in range(3))
    server.answers = [stream(whole[:10], whole[10:60], whole[60:-1], b"\n\n", line("BOOKMARK", 9))]
    assert await watched(client) == [
        ("ADDED", "0"),
        ("ADDED", "1"),
        ("ADDED", "2"),
        ("BOOKMARK", "9"),
    ]
    assert server.last.query_string == (
        "watch=1&allowWatchBookmarks=true&resourceVersion=7&timeoutSeconds=300&labelSelector=x"
    )


async def test_a_watch_takes_objects_as_large_as_they_come(
    server: Server, client: ApiClient
) -> None:
    large = {"metadata": {"resourceVersion": "8"}, "spec": "x" * 3_000_000}
    server.answers = [stream(orjson.dumps({"type": "ADDED", "object": large}) + b"\n")]
    assert await watched(client) == [("ADDED", "8")]


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (status(410, "Expired", "too old"), Gone),
        (status(403, "Forbidden", "no"), Refused),
        (status(404, "NotFound", "no"), NotFound),
        (status(429, "TooManyRequests", "no"), Transient),
        (stream(line("ADDED", 8), then=hang_up), Transient),
        (stream(line("ADDED", 8), then=silence), Transient),
        (stream(b"not json\n"), Transient),
        (silence, Transient),
    ],
)
async def test_a_watch_that_fails_raises(
    server: Server, client: ApiClient, script: Answer, kind: type[ApiError]
) -> None:
    server.answers = [script]
    with pytest.raises(kind, match="watch jobs"):
        await watched(client, idle=0.2)


# --- connections ------------------------------------------------------------------------------


async def test_connections_are_opened_ahead_and_used(server: Server, client: ApiClient) -> None:
    await client.warm(20)
    assert len(server.peers) == 20
    await asyncio.gather(*(client.create(JOBS, "qa", JOB) for _ in range(20)))
    assert len(server.peers) == 20


async def test_the_pool_has_a_bound_and_watches_do_not_count(server: Server) -> None:
    server.answers = [stream(then=silence)]
    async with client_of(server, pool=3) as client:
        watches = [asyncio.create_task(watched(client)) for _ in range(5)]
        await server.arrived(5)
        server.answers = [answer(JOB)]
        await asyncio.gather(*(client.create(JOBS, "qa", JOB) for _ in range(30)))
        for task in watches:
            task.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
    assert len(server.peers) <= 3 + 5


async def test_after_closing_calls_are_transient(server: Server) -> None:
    server.answers = [silence]
    client = client_of(server)
    with pytest.raises(Transient, match="closed"):
        await client.get(JOBS, "qa", "a")
    async with client:
        under_way = asyncio.create_task(client.get(JOBS, "qa", "a"))
        await server.arrived()
    with pytest.raises(Transient):
        await under_way
    with pytest.raises(Transient, match="closed"):
        await client.get(JOBS, "qa", "a")


async def test_a_call_that_is_cancelled_leaves_no_trace(server: Server, client: ApiClient) -> None:
    server.answers = [silence]
    task = asyncio.create_task(client.create(JOBS, "qa", JOB))
    await server.arrived()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await settle()
    server.answers = [answer(JOB)]
    assert await client.get(JOBS, "qa", "a") == JOB


async def test_every_call_is_observed(server: Server) -> None:
    seen: list[tuple[str, str, int]] = []

    def observe(verb: str, plural: str, code: int, seconds: float) -> None:
        assert 0 < seconds < 5
        seen.append((verb, plural, code))

    server.answers = [answer(JOB, 201), status(409, "AlreadyExists", "no"), hang_up]
    async with client_of(server, observe=observe) as client:
        for _ in range(3):
            await asyncio.gather(client.create(JOBS, "qa", JOB), return_exceptions=True)
    assert seen == [("create", "jobs", code) for code in (201, 409, 0)]


async def test_the_servers_clock_is_compared_with_ours(server: Server, client: ApiClient) -> None:
    assert client.server_skew() is None
    await client.get(JOBS, "qa", "a")
    assert client.server_skew() == pytest.approx(0.0, abs=0.1)
    server.answers = [answer(JOB, Date="Wed, 21 Oct 2015 07:28:00 GMT")]
    await client.get(JOBS, "qa", "a")
    skew = client.server_skew()
    assert skew is not None
    assert skew > 86_400
