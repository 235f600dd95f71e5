"""What the API server's answers mean."""

from __future__ import annotations

import orjson
import pytest

from taskrunner.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Gone,
    NotFound,
    Refused,
    Transient,
)
from taskrunner.kube.answers import error_from, warnings_from

ERRORS: list[tuple[str, int, str, str, type[ApiError]]] = [
    ("create", 409, "AlreadyExists", 'jobs.batch "a" already exists', AlreadyExists),
    ("create", 409, "Conflict", "resourcequotas: object has been modified", Transient),
    ("patch", 409, "Conflict", "the object has been modified", Conflict),
    (
        "patch",
        422,
        "Invalid",
        'metadata.uid: Invalid value: "": field is immutable',
        Conflict,
    ),
    ("create", 422, "Invalid", "spec.template: Required value", Refused),
    ("create", 400, "BadRequest", 'unknown field "spec.templat"', Refused),
    ("create", 401, "Unauthorized", "Unauthorized", Refused),
    ("create", 403, "Forbidden", 'User "x" cannot create resource "jobs"', Refused),
    (
        "create",
        403,
        "Forbidden",
        "exceeded quota: q, requested: jobs=1",
        Transient,
    ),
    ("create", 404, "NotFound", 'namespaces "qa" not found', NotFound),
    ("create", 405, "MethodNotAllowed", "not supported", Refused),
    ("create", 410, "Expired", "too old resource version", Gone),
    ("create", 413, "RequestEntityTooLarge", "limit is 3145728", Refused),
    ("create", 429, "TooManyRequests", "too many requests", Transient),
    ("create", 500, "InternalError", "failed calling webhook", Transient),
    ("create", 503, "ServiceUnavailable", "apiserver is shutting down", Transient),
    ("create", 504, "Timeout", "request did not complete within 2s", Transient),
]


@pytest.mark.parametrize(("verb", "code", "reason", "message", "kind"), ERRORS)
def test_an_answer_becomes_an_error_named_by_its_remedy(
    verb: str, code: int, reason: str, message: str, kind: type[ApiError]
) -> None:
    body = orjson.dumps({"kind": "Status", "code": code, "reason": reason, "message": message})
    error = error_from(f"{verb} jobs", code, body, {}, creating=verb == "create")
    assert type(error) is kind
    assert str(error) == f"{verb} jobs: {code} {reason}: {message}"
    assert (error.code, error.reason, error.retry_after) == (code, reason, None)


@pytest.mark.parametrize(
    ("code", "body", "words"),
    [
        (502, b"<html>\n <h1>Bad   Gateway</h1>\n</html>", "<html> <h1>Bad Gateway</h1> </html>"),
        (503, b"", "an empty answer."),
        (500, b"\xff\xfe" + b"x" * 5_000, "x…"),
        (500, orjson.dumps({"kind": "Status", "message": "y" * 5_000}), "y…"),
        (500, b'{"kind": "Status"}', "the server gave no reason."),
        (500, b"[1, 2]", "[1, 2]"),
    ],
)
def test_a_strange_body_is_shortened(code: int, body: bytes, words: str) -> None:
    error = error_from("get jobs", code, body, {})
    assert str(error).startswith(f"get jobs: {code}: ")
    assert str(error).endswith(words)
    assert len(str(error)) < 1_050


@pytest.mark.parametrize(
    ("headers", "details", "seconds"),
    [
        ({"Retry-After": "7"}, {}, 7.0),
        ({}, {"retryAfterSeconds": 3}, 3.0),
        ({"Retry-After": "86400"}, {}, 60.0),
        ({"Retry-After": "0"}, {}, None),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, {}, None),
        ({}, {}, None),
    ],
)
def test_the_pause_that_the_server_asks_for_is_kept_within_reason(
    headers: dict[str, str], details: dict[str, int], seconds: float | None
) -> None:
    body = orjson.dumps({"kind": "Status", "details": details})
    assert error_from("create jobs", 429, body, headers).retry_after == seconds


def test_warnings_are_read_from_their_headers() -> None:
    headers = [
        '299 - "unknown field \\"spec.x\\""',
        '299 - "second, with a comma" "Wed, 21 Oct 2026 07:28:00 GMT"',
        '110 - "stale"',
        "nonsense",
    ]
    assert warnings_from(headers) == ['unknown field "spec.x"', "second, with a comma"]
