"""AdmissionReviews: what is read from them, and how verdicts are told."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskrunner.admission.review import (
    LONGEST_WARNING,
    LONGEST_WARNINGS,
    ReviewError,
    Verdict,
    answer,
    fitted,
    read_review,
)
from taskrunner.errors import Problem

Json = dict[str, Any]

CRON = Problem("spec.schedule", "61 * * * *", "There is no minute 61.", "Write 0 to 59.")
ZONE = Problem("spec.timeZone", "Mars", "This is no time zone.", 'Write e.g. "Europe/Berlin".')
MISSING = Problem("spec.jobTemplate", "", "The field is required.", "Set it.")


def review(**request: Any) -> bytes:
    given: Json = {
        "uid": "1-2",
        "kind": {"group": "taskrunner.dev", "version": "v1alpha1", "kind": "ScheduledTask"},
        "operation": "CREATE",
        "namespace": "qa",
        "name": "",
        "object": {"metadata": {"name": "nightly"}, "spec": {"schedule": "@daily"}},
        "oldObject": None,
        "userInfo": {"username": "jane"},
    }
    wrapped = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
    return orjson.dumps(wrapped | {"request": given | request})


def response(verdict: Verdict) -> Json:
    found: Json = orjson.loads(answer(read_review(review()), verdict, group="taskrunner.dev"))
    assert (found["apiVersion"], found["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    answered: Json = found["response"]
    assert answered["uid"] == "1-2"
    return answered


# --- requests -----------------------------------------------------------------------------------


def test_a_review_is_read() -> None:
    request = read_review(review())
    assert request.label == "ScheduledTask qa/nightly"
    assert (request.uid, request.operation, request.username) == ("1-2", "CREATE", "jane")
    assert request.obj["spec"] == {"schedule": "@daily"}
    assert request.old is None


@pytest.mark.parametrize(
    ("metadata", "name", "expected"),
    [
        ({"name": "a", "generateName": "b-"}, "c", "a"),
        ({"generateName": "b-"}, "c", "c"),
        ({"generateName": "b-"}, "", "b-"),
        ({}, "", ""),
    ],
)
def test_the_name_is_taken_from_where_it_is(metadata: Json, name: str, expected: str) -> None:
    assert read_review(review(object={"metadata": metadata}, name=name)).name == expected


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "The body is not JSON."),
        (b"{", "The body is not JSON."),
        (b"[]", "The body is no AdmissionReview of admission.k8s.io/v1."),
        (b'{"apiVersion": "admission.k8s.io/v1beta1"}', "The body is no AdmissionReview"),
        (b'{"apiVersion": "admission.k8s.io/v1"}', "The AdmissionReview has no request."),
        (b'{"apiVersion": "admission.k8s.io/v1", "request": {}}', "has no request."),
        (review(object="text"), "The object of the request is not an object."),
    ],
)
def test_what_is_no_review_is_told(body: bytes, why: str) -> None:
    with pytest.raises(ReviewError, match=why):
        read_review(body)


# --- answers ------------------------------------------------------------------------------------


def test_nothing_found_is_allowed() -> None:
    assert response(Verdict()) == {"uid": "1-2", "allowed": True}


def test_warnings_alone_allow() -> None:
    found = response(Verdict(warnings=("Clocks jump.",)))
    assert found == {"uid": "1-2", "allowed": True, "warnings": ["Clocks jump."]}


def test_a_problem_refuses_with_the_status_of_an_invalid_object() -> None:
    found = response(Verdict((CRON,)))
    assert found["allowed"] is False
    assert found["status"] == {
        "code": 422,
        "reason": "Invalid",
        "message": 'spec.schedule "61 * * * *": There is no minute 61. Write 0 to 59.',
        "details": {
            "group": "taskrunner.dev",
            "kind": "ScheduledTask",
            "name": "nightly",
            "causes": [
                {
                    "reason": "FieldValueInvalid",
                    "field": "spec.schedule",
                    "message": 'Invalid value: "61 * * * *": There is no minute 61. Write 0 to 59.',
                }
            ],
        },
    }


def test_every_problem_is_told() -> None:
    status = response(Verdict((CRON, ZONE, MISSING), ("Also this.",)))["status"]
    assert status["message"] == (
        '3 problems: (1) spec.schedule "61 * * * *": There is no minute 61. Write 0 to 59.'
        ' (2) spec.timeZone "Mars": This is no time zone. Write e.g. "Europe/Berlin".'
        " (3) spec.jobTemplate: The field is required. Set it."
    )
    assert [cause["field"] for cause in status["details"]["causes"]] == [
        "spec.schedule",
        "spec.timeZone",
        "spec.jobTemplate",
    ]
    assert status["details"]["causes"][2]["message"] == "The field is required. Set it."


# --- warnings -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("title", "warnings", "expected"),
    [
        ("none", [], []),
        ("one", ["a."], ["a."]),
        ("the same twice", ["a.", "b.", "a."], ["a.", "b."]),
        ("nothing said", ["", " \n"], []),
        ("line ends, which no header may have", ["a\r\nb\tc."], ["a b c."]),
        ("long, but not too long together", ["x" * 4000], ["x" * 4000]),
        (
            "too long together: cut at words",
            ["word " * 1000, "b."],
            [("word " * 51).rstrip() + "…", "b."],
        ),
        ("too long, and one word", ["x" * 5000], ["x" * 255 + "…"]),
        (
            "far too many",
            [f"{number:03d}" + "x" * 97 for number in range(50)],
            [f"{number:03d}" + "x" * 97 for number in range(40)] + ["And 10 more."],
        ),
    ],
)
def test_warnings_fit(title: str, warnings: list[str], expected: list[str]) -> None:
    assert fitted(warnings) == expected, title


@given(st.lists(st.text(max_size=600), max_size=60))
def test_the_api_server_never_has_to_cut_a_warning(warnings: list[str]) -> None:
    found = fitted(warnings)
    assert sum(map(len, found)) <= LONGEST_WARNINGS
    whole = sum(map(len, set(warnings))) <= LONGEST_WARNINGS
    assert whole or all(len(text) <= LONGEST_WARNING for text in found)
    assert not any(char < " " or char == "\x7f" for text in found for char in text)
    assert len(found) <= len(warnings)
