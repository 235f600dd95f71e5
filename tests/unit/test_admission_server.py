"""The HTTPS end: it answers, it fails open, and it takes a new certificate without a break."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from fakes.api import Call, FakeApi
from fakes.clock import FakeClock
from golden.refused import GOOD, merged
from taskrunner.admission.certificates import issue
from taskrunner.admission.checks import Checker
from taskrunner.admission.metrics import WebhookMetrics
from taskrunner.admission.server import LARGEST_BODY, Server
from taskrunner.admission.tls import ServingTls

Json = dict[str, Any]

NOW = 1_790_000_000.0


@dataclass
class Served:
    """A running server, and a client that trusts whatever it serves."""

    api: FakeApi
    metrics: WebhookMetrics
    tls: ServingTls
    port: int
    client: aiohttp.ClientSession

    async def post(
        self, body: Json | bytes, query: str = "", *, path: str = "/validate"
    ) -> tuple[int, Json]:
        data = {"data": io.BytesIO(body)} if isinstance(body, bytes) else {"json": body}
        url = f"https://127.0.0.1:{self.port}{path}{query}"
        async with self.client.post(url, **data) as response:
            if response.content_type != "application/json":
                return response.status, {"text": await response.text()}
            return response.status, (await response.json())["response"]

    def count(self, kind: str, outcome: str) -> float:
        labels = {"kind": kind, "outcome": outcome}
        return self.metrics.registry.get_sample_value(
            "taskrunner_webhook_reviews_total", labels
        ) or 0.0  # fmt: skip


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    clock = FakeClock(now=NOW)
    api, metrics, tls = FakeApi(clock), WebhookMetrics(), ServingTls()
    tls.load(issue(["127.0.0.1"], now=NOW, lifetime=86_400)[1])
    server = Server(Checker(api, clock, call_timeout=2.0), clock, metrics)
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    async with (
        server.serving("127.0.0.1", 0, tls.context) as port,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting, limit=1)) as client,
    ):
        yield Served(api, metrics, tls, port, client)


def review(spec: Json, old: Json | None = None) -> Json:
    obj = merged(GOOD["ScheduledTask"], {"spec": spec})
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "1-2-3",
            "kind": {"kind": "ScheduledTask"},
            "operation": "UPDATE" if old is not None else "CREATE",
            "namespace": "qa",
            "object": obj,
            "oldObject": merged(GOOD["ScheduledTask"], {"spec": old}) if old is not None else None,
            "userInfo": {"username": "jane"},
        },
    }


GOOD_SPEC = {"schedule": "0 4 * * *"}
BAD_SPEC = {"schedule": "61 * * * *"}


@pytest.mark.parametrize(
    ("spec", "old", "allowed", "outcome"),
    [
        (GOOD_SPEC, None, True, "allowed"),
        (BAD_SPEC, None, False, "refused"),
        (BAD_SPEC, BAD_SPEC, True, "unchanged"),
        (GOOD_SPEC, BAD_SPEC, True, "allowed"),
    ],
)
async def test_a_review_is_answered_and_counted(
    served: Served, spec: Json, old: Json | None, *, allowed: bool, outcome: str
) -> None:
    code, response = await served.post(review(spec, old))
    assert code == 200
    assert (response["uid"], response["allowed"]) == ("1-2-3", allowed)
    assert "warnings" not in response
    assert served.count("ScheduledTask", outcome) == 1


async def test_a_refusal_is_logged_with_who_and_what(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    await served.post(review(BAD_SPEC))
    (said,) = caplog.messages
    assert said.startswith('1-2-3 refused ScheduledTask qa/good by jane: spec.schedule "61')


async def test_an_error_of_ours_lets_the_object_through_and_is_logged(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    def bug(_: Call) -> None:
        raise RuntimeError("a bug")

    served.api.before.append(bug)
    code, response = await served.post(review(BAD_SPEC))
    assert (code, response["allowed"]) == (200, True)
    assert response["warnings"] == [
        "This ScheduledTask was not checked (an error of taskrunner's webhook; request 1-2-3). If"
        " something is wrong with it, its status will say so."
    ]
    assert "1-2-3 ScheduledTask qa/good: the check failed; let through" in caplog.text
    assert "RuntimeError: a bug" in caplog.text
    assert served.count("ScheduledTask", "unchecked") == 1


async def test_who_asked_is_written_into_the_object(served: Served) -> None:
    code, response = await served.post(review(BAD_SPEC), path="/stamp")
    assert (code, response["allowed"], response["patchType"]) == (200, True, "JSONPatch")
    assert json.loads(base64.b64decode(response["patch"])) == [
        {
            "op": "add",
            "path": "/metadata/annotations",
            "value": {"taskrunner.dev/requested-by": "jane"},
        }
    ]
    code, response = await served.post(review(BAD_SPEC, BAD_SPEC), path="/stamp")
    assert (code, response) == (200, {"uid": "1-2-3", "allowed": True})
    labels = {"kind": "ScheduledTask"}
    stamps = served.metrics.registry.get_sample_value("taskrunner_webhook_stamps_total", labels)
    assert stamps == 1


async def test_what_is_no_review_is_not_stamped(served: Served) -> None:
    assert (await served.post(b"{}", path="/stamp"))[0] == 400


async def test_when_no_time_is_left_the_object_goes_through(served: Served) -> None:
    served.api.pause()
    code, response = await served.post(review(BAD_SPEC), "?timeout=0s")
    assert (code, response["allowed"]) == (200, True)
    assert "was not checked (the checks took too long; request 1-2-3)" in response["warnings"][0]
    assert served.count("ScheduledTask", "unchecked") == 1


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        (b"nonsense", 400, "The body is not JSON.\n"),
        (b"{}", 400, "The body is no AdmissionReview of admission.k8s.io/v1.\n"),
        (b"x" * (LARGEST_BODY + 1), 413, "Maximum request body size 8388608 exceeded"),
    ],
)
async def test_what_is_no_review_is_told(served: Served, body: bytes, code: int, text: str) -> None:
    answered, response = await served.post(body)
    assert answered == code
    assert response["text"].startswith(text)


@pytest.mark.parametrize(("method", "path"), [("GET", "/validate"), ("POST", "/"), ("GET", "/")])
async def test_nothing_else_is_served(served: Served, method: str, path: str) -> None:
    url = f"https://127.0.0.1:{served.port}{path}"
    async with served.client.request(method, url) as response:
        assert response.status in (404, 405)


async def test_a_kind_that_somebody_makes_up_does_not_become_a_metric(served: Served) -> None:
    made_up = review(GOOD_SPEC)
    made_up["request"]["kind"]["kind"] = "x" * 100
    await served.post(made_up)
    assert served.count("other", "allowed") == 1


async def test_an_open_connection_outlives_its_certificate_and_new_ones_get_the_new(
    served: Served,
) -> None:
    async def presented() -> str:
        """The certificate on a new connection."""
        return await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", served.port))

    def connection() -> object:
        """The one open connection of the client."""
        assert served.client.connector is not None
        ((found,),) = served.client.connector._conns.values()
        return found[0]

    before = await presented()
    assert (await served.post(review(GOOD_SPEC)))[0] == 200
    open_before = connection()
    served.tls.load(issue(["127.0.0.1"], now=NOW, lifetime=86_400)[1])
    assert (await served.post(review(GOOD_SPEC)))[0] == 200
    assert connection() is open_before
    assert await presented() != before
