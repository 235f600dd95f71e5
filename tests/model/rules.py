"""The rules that keep a slot from being lost or run twice. Each can be taken out of the model."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Final


@dataclass(frozen=True)
class Rules:
    """All in: the design (docs/explanation/exactly-once.md)."""

    fence: bool = True
    """The server refuses new executions and Jobs of a writer whose epoch is not the shard's."""
    settle: bool = True
    """At a take-over the LIST comes after the fence has followed the raised epoch."""
    decision_in_post: bool = True
    """The POST that takes a slot's name carries the decision; no later write does."""
    freed_late: bool = True
    """An execution is deleted only at or before the watermark that the server acknowledged."""
    roll_forward: bool = True
    """A new leader moves the watermark forward over the runs that it finds."""
    live_get: bool = True
    """That a Job is absent is believed after a live GET only."""
    versioned: bool = True
    """Status patches name the resourceVersion that they were computed from."""
    only_forward: bool = True
    """A leader whose watermark is behind the status does not report it."""
    raise_again: bool = True
    """A holder of the Lease whose epoch is not the shard's any more takes over anew."""
    attempt_in_name: bool = True
    """A Job's name carries the number of the attempt."""
    released_clean: bool = True
    """A leader that leaves marks its epoch as released, which spares the next one the wait, only
    after it has had an answer to all that it created."""
    look_after_silence: bool = True
    """After a POST without an answer the executions are read live before the task is planned."""

    def without(self, name: str) -> Rules:
        """The rules with one of them taken out. Raises ValueError for an unknown name."""
        if name not in NAMES:
            raise ValueError(f'There is no rule "{name}"; there are {", ".join(NAMES)}.')
        return replace(self, **{name: False})


NAMES: Final = tuple(field.name for field in fields(Rules))
