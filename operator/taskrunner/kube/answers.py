"""What the API server's answers mean: status and `Status` body → an error named by its remedy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from taskrunner.api import fence
from taskrunner.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Fenced,
    Gone,
    NotFound,
    Refused,
    Transient,
)

_LONGEST_SENTENCE = 1_000
_LONGEST_BODY = 200
_LONGEST_PAUSE = 60.0

# ResourceQuota answers 403, although waiting helps (k8s.io/apiserver, resourcequota/controller.go).
_QUOTA = re.compile(r"exceeded quota: |status unknown for quota: |failed quota: ")

# A patch that names the uid of an object that was deleted and created anew since.
_OTHER_UID = re.compile(r"metadata\.uid: Invalid value: .*field is immutable")

_WARNING = re.compile(r'^299 \S+ "((?:[^"\\]|\\.)*)"')


def error_from(
    what: str, code: int, body: bytes, headers: Mapping[str, str], *, creating: bool = False
) -> ApiError:
    """The error for an answer of 300 or above (or an ERROR event of a watch).

    `what` says what was asked, for people. `creating` tells a taken name from other conflicts.
    """
    status = _status(body)
    reason = str(status.get("reason") or "")
    sentence = _sentence(code, status, body)
    message = f"{what}: {code} {reason}: {sentence}" if reason else f"{what}: {code}: {sentence}"
    kind = _kind(code, reason, sentence, creating=creating)
    return kind(message, code=code, reason=reason, retry_after=_retry_after(status, headers))


def error_from_event(what: str, status: Mapping[str, Any]) -> ApiError:
    """The error for the `Status` object of a watch's ERROR event."""
    code = status.get("code")
    return error_from(what, code if isinstance(code, int) else 500, orjson.dumps(status), {})


def warnings_from(headers: list[str]) -> list[str]:
    """The sentences in `Warning: 299 - "…"` headers (RFC 7234, section 5.5; KEP-1693)."""
    found = (_WARNING.match(header) for header in headers)
    return [re.sub(r"\\(.)", r"\1", match.group(1)) for match in found if match]


def _kind(code: int, reason: str, sentence: str, *, creating: bool) -> type[ApiError]:
    if code == 404:
        return NotFound
    if code == 409:
        if reason == "AlreadyExists":
            return AlreadyExists
        # A create has no version to conflict with: this is a quota being written by two at once.
        return Transient if creating else Conflict
    if code == 410:
        return Gone
    if code in (408, 425, 429) or code >= 500:
        return Transient
    if code == 422 and _OTHER_UID.search(sentence):
        return Conflict
    if code == 403 and _QUOTA.search(sentence):
        return Transient
    return Fenced if fence.refusal(sentence) is not None else Refused


def _status(body: bytes) -> dict[str, Any]:
    try:
        status = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return status if isinstance(status, dict) and status.get("kind") == "Status" else {}


def _sentence(code: int, status: Mapping[str, Any], body: bytes) -> str:
    """The server's own sentence; a validation message may quote a whole object, so shortened."""
    if message := status.get("message"):
        return shortened(str(message), _LONGEST_SENTENCE)
    if status:
        return "the server gave no reason."
    # Not from the API server itself, but from a proxy or load balancer: a page, usually.
    text = " ".join(body.decode(errors="replace").split())
    return shortened(text, _LONGEST_BODY) or "an empty answer."


def _retry_after(status: Mapping[str, Any], headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, if the server says so (RFC 9110, section 10.2.3), within reason."""
    details = status.get("details")
    value = headers.get("Retry-After") or (
        details.get("retryAfterSeconds") if isinstance(details, dict) else None
    )
    try:
        seconds = float(value) if value else 0.0
    except (TypeError, ValueError):  # An HTTP date: nobody sends it, and clocks may disagree.
        return None
    return min(seconds, _LONGEST_PAUSE) if seconds > 0 else None


def shortened(text: str, limit: int) -> str:
    """At most `limit` characters, with a mark where something is left out."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
