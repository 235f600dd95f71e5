"""Who asked, as the webhook writes it down where no policy can."""

from __future__ import annotations

from typing import Any

import pytest

from golden.refused import GOOD, Json, merged
from taskrunner.admission.review import Request
from taskrunner.admission.stamp import stamp
from taskrunner.api.v1alpha1.names import ANNOTATION_REQUESTED_BY as BY

GROUPS = ("qa", "system:authenticated")
PATH = "/metadata/annotations/taskrunner.dev~1requested-by"


def task(by: str | None = None, **spec: Any) -> Json:
    annotations = {"other": "kept"} | ({BY: by} if by else {})
    return merged(GOOD["ScheduledTask"], {"metadata": {"annotations": annotations}, "spec": spec})


def run(**spec: Any) -> Json:
    return merged(GOOD["TaskExecution"], {"spec": spec})


def asked(
    new: Json, old: Json | None = None, *, user: str = "jane", groups: tuple[str, ...] = GROUPS
) -> list[Json]:
    operation = "CREATE" if old is None else "UPDATE"
    return stamp(Request("1", new["kind"], operation, "qa", "a", new, old, user, groups))


def test_a_new_run_gets_who_asked_for_it() -> None:
    value = {"username": "jane", "groups": list(GROUPS)}
    assert asked(run()) == [{"op": "add", "path": "/spec/requestedBy", "value": value}]


def test_what_a_client_says_about_a_run_is_left_for_the_policy_to_refuse() -> None:
    assert asked(run(requestedBy={"username": "somebody else"})) == []


def test_a_run_that_is_there_is_left_alone() -> None:
    assert asked(run(), run()) == []


def test_more_groups_than_fit_are_left_out() -> None:
    (patch,) = asked(run(), groups=tuple(f"g{number}" for number in range(257)))
    assert patch["value"] == {"username": "jane", "groups": []}


@pytest.mark.parametrize(
    ("new", "old", "patch"),
    [
        (task(), None, {"op": "add", "path": PATH, "value": "jane"}),
        (task("jane"), None, None),
        (task("mallory"), None, {"op": "add", "path": PATH, "value": "jane"}),
        # Changes of what runs, and when.
        (task(schedule="@daily"), task("bob"), {"op": "add", "path": PATH, "value": "jane"}),
        (task("bob", schedule="@daily"), task("bob"), {"op": "add", "path": PATH, "value": "jane"}),
        (task("bob"), task("bob", schedule="@daily"), {"op": "add", "path": PATH, "value": "jane"}),
        (task("jane", schedule="@daily"), task("bob"), None),
        # Changes of anything else.
        (task("bob", suspend=True), task("bob"), None),
        (task("jane"), task("bob"), {"op": "add", "path": PATH, "value": "bob"}),
        (task(), task("bob"), {"op": "add", "path": PATH, "value": "bob"}),
        (task("jane"), task(), {"op": "remove", "path": PATH}),
        (task(), task(), None),
    ],
)
def test_a_task_names_who_last_changed_more_than_suspend(
    new: Json, old: Json | None, patch: Json | None
) -> None:
    assert asked(new, old) == ([] if patch is None else [patch])


@pytest.mark.parametrize("metadata", [{}, {"annotations": None}, {"annotations": {}}])
def test_a_task_without_annotations_gets_them(metadata: Json) -> None:
    value = {BY: "jane"}
    bare = GOOD["ScheduledTask"] | {"metadata": metadata}
    assert asked(bare) == [{"op": "add", "path": "/metadata/annotations", "value": value}]


def test_other_kinds_are_left_alone() -> None:
    assert asked(GOOD["Calendar"]) == []
