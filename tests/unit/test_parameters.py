"""Arguments of runs: what fits, what is refused and in which words, what containers get."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskrunner.domain.job import job_manifest
from taskrunner.domain.observed import execution_from
from taskrunner.domain.parameters import EnvVar, Parameters
from taskrunner.errors import SpecError
from unit.planning import task

Json = dict[str, Any]

SUITE = {"name": "SUITE", "enum": ["smoke", "full"], "default": "smoke"}
TOKEN = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "ci", "key": "token"}}}
REGION = {
    "name": "REGION",
    "valueFrom": {"configMapKeyRef": {"name": "site", "key": "region", "optional": True}},
}
TARGET = {"name": "TARGET"}


def parameters(*declared: Json) -> Parameters:
    return task(parameters=list(declared)).parameters


def told(found: Parameters, **arguments: str) -> list[str]:
    return [str(problem) for problem in found.problems(arguments, "spec.arguments")]


def refused(spec: Json) -> list[str]:
    with pytest.raises(SpecError) as error:
        task(spec)
    return [str(problem) for problem in error.value.problems]


# --- what arguments are taken -------------------------------------------------------------------

COUNT = {"name": "COUNT", "type": "integer", "minimum": 1, "maximum": 10, "default": "1"}


@pytest.mark.parametrize(
    ("declared", "value", "problem"),
    [
        (SUITE, "full", None),
        (SUITE, "smok", "This is not one of the values that the parameter takes."
                        " Write smoke or full."),
        (SUITE, "", "This is not one of the values that the parameter takes."
                    " Write smoke or full."),
        (TARGET, "", None),
        (TARGET, "any $(thing) at all\n", None),
        (COUNT, "10", None),
        (COUNT, "11", "The number is more than 10. Write 1 to 10."),
        (COUNT, "0", "The number is less than 1. Write 1 to 10."),
        (COUNT, "-0", "The number is less than 1. Write 1 to 10."),
        (COUNT, "ten", "This is not a whole number. Write digits without leading zeros, e.g. 3."),
        (COUNT, "01", "This is not a whole number. Write digits without leading zeros, e.g. 3."),
        (COUNT, "1.0", "This is not a whole number. Write digits without leading zeros, e.g. 3."),
        (COUNT, " 1", "This is not a whole number. Write digits without leading zeros, e.g. 3."),
        (COUNT, "1\n", "This is not a whole number. Write digits without leading zeros, e.g. 3."),
        (COUNT, "٣", "This is not a whole number. Write digits without leading zeros, e.g. 3."),
        ({"name": "N", "type": "integer", "minimum": 5}, "4",
         "The number is less than 5. Write at least 5."),
        ({"name": "N", "type": "integer", "maximum": 5}, "6",
         "The number is more than 5. Write at most 5."),
        ({"name": "N", "type": "integer"}, "-12345678901234567890", None),
        ({"name": "R", "type": "number", "maximum": 1}, "0.5", None),
        ({"name": "R", "type": "number", "maximum": 1}, "1e-3", None),
        ({"name": "R", "type": "number", "maximum": 1}, "1.0000000000000000000000001",
         "The number is more than 1. Write at most 1."),
        ({"name": "R", "type": "number"}, "1e9999",
         "This is not a number. Write digits, with a point if need be, e.g. 0.5."),
        ({"name": "R", "type": "number"}, "NaN",
         "This is not a number. Write digits, with a point if need be, e.g. 0.5."),
        ({"name": "B", "type": "boolean"}, "false", None),
        ({"name": "B", "type": "boolean"}, "False",
         "This is not true or false. Write true or false, in lower case."),
    ],
)  # fmt: skip
def test_a_value_fits_or_is_refused_by_name(
    declared: Json, value: str, problem: str | None
) -> None:
    name = declared["name"]
    shown = f' "{value}"' if value else ""
    expected = [] if problem is None else [f"spec.arguments.{name}{shown}: {problem}"]
    assert told(parameters(declared), **{name: value}) == expected


def test_a_long_list_of_values_is_told_in_part() -> None:
    many = {"name": "N", "enum": [f"v{number}" for number in range(20)]}
    (said,) = told(parameters(many), N="x")
    assert said.endswith(
        "Write one of v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11 and 8 more."
    )


def test_unknown_names_are_refused_once_there_are_definitions() -> None:
    found = parameters(SUITE, TARGET, TOKEN)
    assert told(found, SUIT="full", TARGET="a") == [
        "spec.arguments.SUIT: The task has no such parameter. Did you mean SUITE?"
    ]
    assert told(found, X="secret", TARGET="a") == [
        "spec.arguments.X: The task has no such parameter. Remove it; the task takes SUITE and"
        " TARGET."
    ]
    assert told(parameters(TOKEN), X="a") == [
        "spec.arguments.X: The task has no such parameter. Remove it; the task takes no arguments."
    ]


def test_a_parameter_without_default_must_be_given() -> None:
    assert told(parameters(TARGET, {**COUNT, "name": "N", "default": None})) == [
        "spec.arguments.TARGET: The task needs this argument: the parameter has no default."
        ' Write e.g. arguments: {TARGET: "…"}, or give it a default.',
        "spec.arguments.N: The task needs this argument: the parameter has no default."
        ' Write e.g. arguments: {N: "1"}, or give it a default.',
    ]


@pytest.mark.parametrize(
    ("declared", "origin"), [(TOKEN, 'Secret "ci"'), (REGION, 'ConfigMap "site"')]
)
def test_no_argument_replaces_a_secret_and_its_value_is_not_repeated(
    declared: Json, origin: str
) -> None:
    found = parameters(declared)
    assert told(found, **{declared["name"]: "hunter2"}) == [
        f"spec.arguments.{declared['name']}: The task takes this value from the {origin}, and no"
        " argument replaces it. Remove the argument."
    ]
    with pytest.raises(SpecError) as error:
        found.environment({declared["name"]: "hunter2"})
    assert "hunter2" not in str(error.value)


def test_without_definitions_any_argument_is_taken_as_text() -> None:
    assert told(parameters(), ANY="thing", OTHER="") == []


def test_without_definitions_no_argument_replaces_what_the_template_takes_from_a_secret() -> None:
    taken = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "ci", "key": "token"}}}
    found = task(jobTemplate=template(init=[taken], main=[{"name": "A", "value": "x"}])).parameters
    assert told(found, TOKEN="hunter2", A="y") == [
        "spec.arguments.TOKEN: The Job template takes this variable from elsewhere (valueFrom), and"
        " the argument would replace it. Remove the argument, or declare it in spec.parameters of"
        " the task."
    ]
    declared = task(
        jobTemplate=template(init=[taken], main=[]), parameters=[{"name": "TOKEN"}]
    ).parameters
    assert told(declared, TOKEN="given on purpose") == []


# --- definitions and schedules ------------------------------------------------------------------


def test_values_in_definitions_fit_their_own_type() -> None:
    declared = [
        {"name": "A", "enum": ["a", "b"], "default": "c"},
        {"name": "B", "type": "integer", "enum": ["1", "two"]},
        {"name": "C", "type": "integer", "maximum": 5, "default": "6"},
        {"name": "D", "type": "boolean", "default": "yes"},
    ]
    assert refused({"parameters": declared}) == [
        'spec.parameters[0].default "c": This is not one of the values that the parameter takes.'
        " Write a or b.",
        'spec.parameters[1].enum[1] "two": This is not a whole number.'
        " Write digits without leading zeros, e.g. 3.",
        'spec.parameters[2].default "6": The number is more than 5. Write at most 5.',
        'spec.parameters[3].default "yes": This is not true or false.'
        " Write true or false, in lower case.",
    ]


def test_a_single_schedule_has_no_arguments_so_all_needs_defaults() -> None:
    assert refused({"schedule": "@daily", "parameters": [TARGET, SUITE, TOKEN]}) == [
        'spec.schedule "@daily": Its runs have no value for TARGET, which has no default.'
        " Write defaults in spec.parameters, or an entry of spec.schedules with arguments."
    ]
    assert task(schedule="@daily", parameters=[SUITE, TOKEN]).entries


def test_arguments_of_schedules_fit_the_definitions() -> None:
    entries = [
        {"name": "a", "everySeconds": 60, "arguments": {"SUITE": "smok", "TARGET": "x"}},
        {"name": "b", "everySeconds": 60, "arguments": {"TARGET": "x"}},
        {"name": "c", "everySeconds": 60},
    ]
    assert refused({"schedules": entries, "parameters": [SUITE, TARGET]}) == [
        'spec.schedules[0].arguments.SUITE "smok": This is not one of the values that the parameter'
        " takes. Write smoke or full.",
        "spec.schedules[2].arguments.TARGET: The task needs this argument: the parameter has no"
        ' default. Write e.g. arguments: {TARGET: "…"}, or give it a default.',
    ]


def test_a_task_that_runs_by_hand_only_may_have_parameters_without_defaults() -> None:
    assert task(parameters=[TARGET]).parameters.declared[0].required


@pytest.mark.parametrize(
    "spec",
    [
        {}, {"template": None}, {"template": {"spec": None}},
        {"template": {"spec": {"containers": 3}}},
        {"template": {"spec": {"containers": ["x", {"env": "y"}, {"env": ["z", None]}]}}},
    ],
)  # fmt: skip
def test_a_template_of_any_form_can_be_looked_at(spec: Json) -> None:
    assert told(task(jobTemplate={"spec": spec}).parameters, A="x") == []


# --- what containers get ------------------------------------------------------------------------


def template(**containers: list[EnvVar]) -> Json:
    made = {name: {"name": name, "env": env} for name, env in containers.items()}
    pod = {
        "initContainers": [made["init"]],
        "containers": [{"name": "bare"}, made["main"]],
        "restartPolicy": "Never",
    }
    return {"spec": {"template": {"spec": pod}}}


def environments(spec: Json, arguments: dict[str, str]) -> dict[str, list[EnvVar]]:
    """`env` of each container of the Job of a run with these arguments."""
    compiled = task(spec)
    meta = {
        "name": "run", "namespace": "qa", "uid": "u", "resourceVersion": "1",
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    execution = execution_from({"metadata": meta, "spec": {"taskRef": {"name": "task"}}})
    environment = compiled.parameters.environment(arguments)
    job = job_manifest(compiled.job_template, execution, "run-1", environment=environment)
    pod = orjson.loads(orjson.dumps(job))["spec"]["template"]["spec"]
    return {c["name"]: c.get("env", []) for c in pod["initContainers"] + pod["containers"]}


def test_every_container_gets_the_values_in_the_order_of_the_definitions() -> None:
    other = {"name": "URL", "value": "https://$(REGION)/$(SUITE)"}
    mine = {"name": "SUITE", "value": "of the template"}
    spec = {
        "parameters": [TOKEN, SUITE, REGION, TARGET],
        "jobTemplate": template(init=[mine, other], main=[other]),
    }
    given = [
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "ci", "key": "token"}}},
        {"name": "SUITE", "value": "smoke"},
        {
            "name": "REGION",
            "valueFrom": {"configMapKeyRef": {"name": "site", "key": "region", "optional": True}},
        },
        {"name": "TARGET", "value": "a"},
    ]
    assert environments(spec, {"TARGET": "a"}) == {
        "init": [*given, other],
        "bare": given,
        "main": [*given, other],
    }


def test_an_argument_wins_over_the_default_and_over_the_template() -> None:
    found = environments(
        {"parameters": [SUITE], "jobTemplate": template(init=[], main=[{"name": "SUITE"}])},
        {"SUITE": "full"},
    )
    assert found["main"] == [{"name": "SUITE", "value": "full"}]


def test_without_parameters_and_arguments_the_template_stays_as_it_is() -> None:
    mine = [{"name": "A", "value": "$(B)"}]
    found = environments({"jobTemplate": template(init=[], main=mine)}, {})
    assert found == {"init": [], "bare": [], "main": mine}


def expanded(text: str, variables: dict[str, str]) -> str:
    """What the kubelet makes of a value (k8s.io/kubernetes/third_party/forked/golang/expansion)."""

    def one(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        return variables.get(found[1], found[0])

    return re.sub(r"\$\$|\$\(([^)]*)\)", one, text)


@given(st.text(alphabet="$()A$x \\{}", max_size=12) | st.text(max_size=12))
def test_containers_get_an_argument_exactly_as_it_was_given(value: str) -> None:
    """An argument cannot fetch another variable, such as a Secret's."""
    (variable,) = Parameters().environment({"V": value})
    assert expanded(variable["value"], {"A": "hunter2", "": "hunter2"}) == value
