"""The only setter of conditions, for status models and raw statuses alike.

https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md#typical-status-properties
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal, NotRequired, TypedDict, cast

from taskrunner.api.v1alpha1.common import format_time

ConditionStatus = Literal["True", "False", "Unknown"]

_MESSAGE_MAX = 32_768


class ConditionDict(TypedDict):
    """A condition as it is on the wire."""

    type: str
    status: ConditionStatus
    reason: str
    message: str
    lastTransitionTime: str
    observedGeneration: NotRequired[int]


def set_condition(
    conditions: Iterable[Mapping[str, Any]],
    type: str,  # noqa: A002 - the field's name
    status: ConditionStatus,
    reason: str,
    message: str,
    *,
    observed_generation: int | None,
    now: datetime,
) -> list[ConditionDict]:
    """The conditions with this one set; the others and the order stay.

    `lastTransitionTime` moves only when `status` changes. Setting what is set already gives an
    equal list, so that a caller can compare and write nothing.
    """
    found = [cast(ConditionDict, dict(condition)) for condition in conditions]
    new: ConditionDict = {
        "type": type,
        "status": status,
        "reason": reason,
        "message": message[:_MESSAGE_MAX],
        "lastTransitionTime": format_time(now.replace(microsecond=0)),
    }
    if observed_generation is not None:
        new["observedGeneration"] = observed_generation
    for position, old in enumerate(found):
        if old["type"] == type:
            if old["status"] == status:
                new["lastTransitionTime"] = old["lastTransitionTime"]
            found[position] = new
            return found
    return [*found, new]


def get_condition(conditions: Iterable[Mapping[str, Any]], type: str) -> ConditionDict | None:  # noqa: A002
    """The condition of this type, or None."""
    for condition in conditions:
        if condition["type"] == type:
            return cast(ConditionDict, dict(condition))
    return None


def is_true(conditions: Iterable[Mapping[str, Any]], type: str) -> bool:  # noqa: A002
    """Whether the condition is there and holds."""
    found = get_condition(conditions, type)
    return found is not None and found["status"] == "True"
