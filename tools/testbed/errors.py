"""The errors of the test bed. Each message says what failed and what to do about it."""

from __future__ import annotations


class TestbedError(RuntimeError):
    """Something in the test bed failed."""

    __test__ = False  # pytest would take the name for a class of tests


class MissingPartError(TestbedError):
    """The machine lacks a part that cannot be made here; the message names it and the remedy."""


class UnsupportedError(TestbedError):
    """This kind of cluster cannot do what was asked (for example kill a component in kind)."""


class ComponentDiedError(TestbedError):
    """A component of the cluster ended without being asked to; the message has its log's tail."""


class CommandError(TestbedError):
    """A command of the cluster (kubectl, helm) failed.

    Attributes:
        returncode: the command's exit code.
        stderr: what it wrote to standard error.
    """

    def __init__(self, message: str, returncode: int, stderr: str) -> None:
        super().__init__(message)
        self.returncode = returncode
        self.stderr = stderr


class ApiError(TestbedError):
    """The API server refused a request.

    Attributes:
        code: the HTTP status code.
        reason: the machine-readable reason of the Status object, such as `NotFound`.
    """

    def __init__(self, message: str, code: int, reason: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
