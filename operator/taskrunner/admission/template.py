"""The Job template, checked by the one who knows: a strict server-side dry run of a Job.

https://kubernetes.io/docs/reference/using-api/api-concepts/#dry-run
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

from taskrunner.domain.job import trial_manifest
from taskrunner.errors import ApiError, NotFound, Problem, Transient
from taskrunner.ports import JOBS, Obj, Resource

TEMPLATE: Final = "spec.jobTemplate"


class TrialApi(Protocol):
    """The part of the API server's client that a dry run takes."""

    async def create_with_warnings(
        self,
        resource: Resource,
        namespace: str,
        body: Mapping[str, Any],
        *,
        dry_run: bool = False,
        timeout: float | None = None,
    ) -> tuple[Obj, list[str]]:
        """POST; the object, and the server's warnings. Raises ApiError."""
        ...


Findings = tuple[list[Problem], list[str]]
"""Problems of the template, and warnings about it."""


async def check_template(
    api: TrialApi, namespace: str, task: str, template: Mapping[str, Any], *, timeout: float
) -> Findings:
    """What the API server says about a Job from this template.

    Only what is wrong with the template itself is a problem. A dry run that fails for another
    reason (no right, no answer, a quota, somebody's policy) may well succeed when the Job is due,
    so it is a warning.
    """
    trial = trial_manifest(namespace, task, template)
    try:
        _, warnings = await api.create_with_warnings(
            JOBS, namespace, trial, dry_run=True, timeout=timeout
        )
    except ApiError as error:
        problems = list(problems_in(str(error)))
        return problems, [] if problems else [_not_known(error)]
    return [], [_in_task(warning) for warning in warnings]


# --- what the server's answers mean -------------------------------------------------------------

_UNDECODABLE = re.compile(r'Job in version "[^"]*" cannot be handled as a Job: (.*)', re.DOTALL)
_STRICT = re.compile(r'(unknown|duplicate) field "((?:[^"\\]|\\.)*)"')
_TYPE = re.compile(
    r"cannot unmarshal (\w+) into Go (?:struct field \w+\.(\S+)|value) of type (\S+)"
)
_INVALID = re.compile(r'Job\.batch "[^"]*" is invalid: (.*)', re.DOTALL)
_PATH = r"(?:spec|metadata)(?:\[[^\]]*\]|[^\s:\[\]])*"
_ERROR_TYPES = (
    "Not found|Required value|Duplicate value|Invalid value|Unsupported value|Forbidden|Too long"
    "|Too short|Too many|Too few|Internal error"
)
_CAUSE = re.compile(rf"(?:^\[?|, )({_PATH}): (?=(?:{_ERROR_TYPES})(?:[:,\]]|$))")
_OUR_WORDS = re.compile(r"^create jobs: (?:\d+(?: \w+)?: )?")

_GO_TYPES = {"bool": "true or false", "string": "text"}
_JSON_TYPES = {"string": "text", "bool": "true or false", "array": "a list", "object": "an object"}


def problems_in(refusal: str) -> Iterator[Problem]:
    """What a refusal says about the template's fields; nothing when it is about something else.

    The messages are those of kube-apiserver for undecodable and invalid objects. Refusals by
    webhooks and policies look different, also when they use the same status code.
    """
    words = _OUR_WORDS.sub("", refusal)
    if found := _UNDECODABLE.match(words):
        yield from _undecodable(found[1])
    elif found := _INVALID.match(words):
        yield from _invalid(found[1])


def _undecodable(text: str) -> Iterator[Problem]:
    """Unknown fields, several at a time; or one value of a wrong type."""
    strict = [(match[1], match[2]) for match in _STRICT.finditer(text)]
    for kind, path in strict:
        message = "unknown field." if kind == "unknown" else "The field is there twice."
        yield Problem(_in_task(path), "", message, _explain(path, parent=True))
    if strict:
        return
    if (match := _TYPE.search(text)) and match[2]:
        given = _JSON_TYPES.get(match[1], f"a {match[1]}")
        yield Problem(
            _in_task(match[2]),
            "",
            f"This is {given}, and the field takes {_taken(match[3])}.",
            _explain(match[2], parent=True),
        )
        return
    yield Problem(TEMPLATE, "", _ended(text), _explain("spec", parent=False))


def _invalid(text: str) -> Iterator[Problem]:
    """`field: reason: detail`, or several of these in brackets."""
    marks = list(_CAUSE.finditer(text))
    if not marks:
        yield Problem(TEMPLATE, "", _ended(text), _explain("spec", parent=False))
        return
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    for mark, end in zip(marks, ends, strict=True):
        detail = text[mark.end() : end]
        if end == len(text) and text.startswith("["):
            detail = detail.removesuffix("]")
        path = mark[1]
        yield Problem(_in_task(path), "", _ended(detail), _explain(path, parent=False))


def _not_known(error: ApiError) -> str:
    """The warning for a dry run that failed without saying anything about the template."""
    words = _OUR_WORDS.sub("", str(error))
    unanswered = isinstance(error, Transient) and error.code in (0, 408, 429, 500, 502, 503, 504)
    if unanswered or isinstance(error, NotFound) or 'cannot create resource "jobs"' in words:
        return f"{TEMPLATE} was not checked: {_ended(words)}"
    return f"At present, a Job from {TEMPLATE} would be refused: {_ended(words)}"


def _in_task(path: str) -> str:
    """A place in the Job as a place in the task; also at the start of a sentence."""
    return f"{TEMPLATE}.{path}" if re.match(r"(?:spec|metadata)\b", path) else path


def _explain(path: str, *, parent: bool) -> str:
    """Where to read what the field takes; of an unknown field, what its parent has."""
    fields = [re.sub(r"\[.*", "", part) for part in path.split(".")]
    if parent and len(fields) > 1:
        fields.pop()
    if fields[0] == "metadata" or not all(re.fullmatch(r"[A-Za-z]+", field) for field in fields):
        fields = fields[:1]
    return f"See `kubectl explain job.{'.'.join(fields)}`."


def _taken(go_type: str) -> str:
    if go_type.startswith("[]"):
        return "a list"
    if go_type.startswith(("int", "uint")):
        return "a whole number"
    return _GO_TYPES.get(go_type, "an object with fields")


def _ended(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "…", "?", "!")) else f"{text}."
