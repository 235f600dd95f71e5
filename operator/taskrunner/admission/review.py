"""AdmissionReview on the wire: what the API server asks, and what it is answered. Pure.

https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#webhook-request-and-response
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from taskrunner.errors import Problem, TaskrunnerError

API_VERSION: Final = "admission.k8s.io/v1"

LONGEST_WARNINGS: Final = 4096
LONGEST_WARNING: Final = 256
"""Characters. When all warnings of an answer are longer than LONGEST_WARNINGS together, the API
server cuts each at LONGEST_WARNING, and drops what is too much then (k8s.io/apiserver,
pkg/endpoints/filters/warning.go). We do the same, with a mark where a text was cut, and a last line
that says how many are missing."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
"""A warning with such characters is dropped whole by the API server: it cannot be a header."""


class ReviewError(TaskrunnerError):
    """The request is no AdmissionReview; the message says why."""


@dataclass(frozen=True, slots=True)
class Request:
    """One question of the API server: may this object be written?"""

    uid: str
    """Of the request, for the answer and the log."""
    kind: str
    operation: str
    """CREATE or UPDATE; others are allowed unread."""
    namespace: str
    name: str
    obj: dict[str, Any]
    old: dict[str, Any] | None
    """The object as it is now; None on CREATE."""
    username: str
    groups: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The object, for people."""
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found out. Problems refuse the object, warnings only tell."""

    problems: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()


def read_review(body: bytes) -> Request:
    """The question in an HTTP body. Raises ReviewError."""
    try:
        review = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise ReviewError("The body is not JSON.") from None
    if not isinstance(review, dict) or review.get("apiVersion") != API_VERSION:
        raise ReviewError(f"The body is no AdmissionReview of {API_VERSION}.")
    request = review.get("request")
    if not isinstance(request, dict) or not request.get("uid"):
        raise ReviewError("The AdmissionReview has no request.")
    obj = request.get("object") or {}
    if not isinstance(obj, dict):
        raise ReviewError("The object of the request is not an object.")
    metadata = obj.get("metadata") or {}
    user = request.get("userInfo") or {}
    return Request(
        uid=str(request["uid"]),
        kind=str((request.get("kind") or {}).get("kind") or ""),
        operation=str(request.get("operation") or ""),
        namespace=str(request.get("namespace") or ""),
        name=str(metadata.get("name") or request.get("name") or metadata.get("generateName") or ""),
        obj=obj,
        old=request.get("oldObject") or None,
        username=str(user.get("username") or ""),
        groups=tuple(str(group) for group in user.get("groups") or ()),
    )


def answer(request: Request, verdict: Verdict, *, group: str) -> bytes:
    """The AdmissionReview that says so.

    A refusal is the `Status` that the API server itself gives for an invalid object, so that
    kubectl and others show it as they show those: one line for each field.
    """
    response: dict[str, Any] = {"uid": request.uid, "allowed": not verdict.problems}
    if verdict.warnings:
        response["warnings"] = fitted(verdict.warnings)
    if verdict.problems:
        response["status"] = {
            "code": 422,
            "reason": "Invalid",
            "message": sentence(verdict.problems),
            "details": {
                "group": group,
                "kind": request.kind,
                "name": request.name,
                "causes": [cause(problem) for problem in verdict.problems],
            },
        }
    return _review(response)


def answer_with(request: Request, patch: Sequence[Mapping[str, Any]]) -> bytes:
    """The AdmissionReview that lets the object through, with these changes (RFC 6902)."""
    response: dict[str, Any] = {"uid": request.uid, "allowed": True}
    if patch:
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(orjson.dumps(patch)).decode()
    return _review(response)


def _review(response: Mapping[str, Any]) -> bytes:
    return orjson.dumps(
        {"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response}
    )


def sentence(problems: Iterable[Problem]) -> str:
    """All problems in one text, for those who show only the message."""
    found = [str(problem) for problem in problems]
    if len(found) == 1:
        return found[0]
    return f"{len(found)} problems: " + " ".join(
        f"({number}) {text}" for number, text in enumerate(found, start=1)
    )


def cause(problem: Problem) -> Mapping[str, str]:
    """A problem as `StatusCause`; clients write the field in front of the message."""
    text = f"{problem.message} {problem.remedy}".rstrip()
    return {
        "reason": "FieldValueInvalid",
        "field": problem.field,
        "message": f'Invalid value: "{problem.value}": {text}' if problem.value else text,
    }


def fitted(warnings: Iterable[str]) -> list[str]:
    """The warnings, each once, so that the API server passes them on as they are."""
    texts = [_CONTROL.sub(" ", text).strip() for text in dict.fromkeys(warnings)]
    texts = [text for text in texts if text]
    if sum(map(len, texts)) <= LONGEST_WARNINGS:
        return texts
    found: list[str] = []
    room = LONGEST_WARNINGS - len(_more(len(texts)))
    for text in map(shortened, texts):
        room -= len(text)
        if room < 0:
            return [*found, _more(len(texts) - len(found))]
        found.append(text)
    return found


def shortened(text: str) -> str:
    """A warning cut at a word, with a mark, when it is too long."""
    if len(text) <= LONGEST_WARNING:
        return text
    kept = text[: LONGEST_WARNING - 1]
    words = kept.rpartition(" ")[0]
    return (words if len(words) > LONGEST_WARNING // 2 else kept).rstrip() + "…"


def _more(count: int) -> str:
    return f"And {count} more."
