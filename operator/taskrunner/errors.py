"""Errors named by their remedy, so that each kind is handled in one place.

- `SpecError` waits for an edit by the user: it becomes a refusal at admission or `Ready=False`.
- `Conflict` means that somebody else wrote first: read again, decide again.
- `Transient` backs off and tries again: the server, the network or a quota says "not now".
- `Refused` will not change by trying again: permission, policy, or a request that is malformed.
- `Fenced` and `TermOver` mean that it is somebody else's turn: stop acting.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a spec: where, what was found, and what to do about it."""

    field: str
    """Path of the field as users write it, e.g. `spec.schedules[1].cron`."""
    value: str
    """The offending value as given, shortened; empty when the field is missing."""
    message: str
    """What is wrong, as a sentence without the field's name."""
    remedy: str
    """What to write instead, as a sentence."""

    def __str__(self) -> str:
        found = f' "{self.value}"' if self.value else ""
        return f"{self.field}{found}: {self.message} {self.remedy}".rstrip()


class TaskrunnerError(Exception):
    """Base of all errors that taskrunner raises itself."""


class SpecError(TaskrunnerError):
    """A spec cannot be followed as written; only an edit helps."""

    def __init__(self, *problems: Problem) -> None:
        self.problems: tuple[Problem, ...] = problems
        super().__init__("; ".join(str(problem) for problem in problems))


class ApiError(TaskrunnerError):
    """A call to the API server did not succeed.

    `code` is the HTTP status (0 when there was no answer), `reason` the `Status.reason` of the
    server (https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md#response-status-kind).
    """

    def __init__(
        self, message: str, *, code: int = 0, reason: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.retry_after = retry_after


class NotFound(ApiError):
    """404: the object, its namespace or its kind does not exist."""


class AlreadyExists(ApiError):
    """409 on create: the name is taken; read who holds it."""


class Conflict(ApiError):
    """409 on write: the resourceVersion is old or a precondition failed; read again."""


class Gone(ApiError):
    """410: the resourceVersion of a watch or list has expired; list again."""


class Refused(ApiError):
    """400, 403, 405, 422 …: the same request will be refused again."""


class Fenced(Refused):
    """The fence refused: what was written carries an epoch that is not the shard's present one."""


class Transient(ApiError):
    """429, 5xx, time-outs and broken connections: the same request may succeed later.

    After a broken connection or a time-out the write *may have happened*; callers read before
    they conclude anything from it.
    """


class TermOver(TaskrunnerError):
    """This replica's turn of acting for a shard has ended."""


class OtherNumber(TermOver):
    """The namespaces are divided into another number of shards than this replica is set to."""
