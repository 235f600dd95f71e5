"""What a dry run of the Job says about the template.

The refusals are those of kube-apiserver 1.36, word for word; tests/cluster/test_webhook.py has the
same on a real one.
"""

from __future__ import annotations

from typing import Any

import pytest

from fakes.api import FakeApi
from fakes.clock import FakeClock
from taskrunner.admission.template import Findings, check_template, problems_in
from taskrunner.errors import ApiError, Conflict, NotFound, Refused, Transient
from taskrunner.ports import JOBS

Json = dict[str, Any]

_DECODE = 'create jobs: 400 BadRequest: Job in version "v1" cannot be handled as a Job: '
_INVALID = 'create jobs: 422 Invalid: Job.batch "nightly-dry-run-abcde" is invalid: '
_LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must"
    " start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for"
    " validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_POD = "spec.jobTemplate.spec.template.spec"
_SEE_POD = "See `kubectl explain job.spec.template.spec"

REFUSALS: dict[str, tuple[str, list[str]]] = {
    "two unknown fields": (
        _DECODE + 'strict decoding error: unknown field "spec.template.spec.containers[0].imag",'
        ' unknown field "metadata.lables"',
        [
            f"{_POD}.containers[0].imag: unknown field. {_SEE_POD}.containers`.",
            "spec.jobTemplate.metadata.lables: unknown field. See `kubectl explain job.metadata`.",
        ],
    ),
    "a field that is there twice": (
        _DECODE + 'strict decoding error: duplicate field "spec.backoffLimit"',
        [
            "spec.jobTemplate.spec.backoffLimit: The field is there twice."
            " See `kubectl explain job.spec`."
        ],
    ),
    "text for a number": (
        _DECODE + "json: cannot unmarshal string into Go struct field"
        " ContainerPort.spec.template.spec.containers.ports.containerPort of type int32",
        [
            f"{_POD}.containers.ports.containerPort: This is text, and the field takes a whole"
            f" number. {_SEE_POD}.containers.ports`."
        ],
    ),
    "text for a list": (
        _DECODE + "json: cannot unmarshal string into Go struct field"
        " Container.spec.template.spec.containers.command of type []string",
        [
            f"{_POD}.containers.command: This is text, and the field takes a list."
            f" {_SEE_POD}.containers`."
        ],
    ),
    "a list for labels": (
        _DECODE + "json: cannot unmarshal array into Go struct field ObjectMeta.metadata.labels of"
        " type map[string]string",
        [
            "spec.jobTemplate.metadata.labels: This is a list, and the field takes an object with"
            " fields. See `kubectl explain job.metadata`."
        ],
    ),
    "a value that cannot be read, wherever it is": (
        _DECODE + "quantities must match the regular expression"
        " '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        [
            "spec.jobTemplate: quantities must match the regular expression"
            " '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'. See `kubectl explain job.spec`."
        ],
    ),
    "one field": (
        _INVALID + "spec.template.spec.containers[0].image: Required value",
        [f"{_POD}.containers[0].image: Required value. {_SEE_POD}.containers.image`."],
    ),
    "several fields, with commas, colons and brackets in the details": (
        _INVALID + f'[spec.template.spec.volumes[0].name: Invalid value: "a, b: c": {_LABEL},'
        " spec.template.spec.containers[0].name: Required value, spec.template.spec.restartPolicy:"
        ' Required value: valid values: "OnFailure", "Never"]',
        [
            f'{_POD}.volumes[0].name: Invalid value: "a, b: c": {_LABEL}.'
            f" {_SEE_POD}.volumes.name`.",
            f"{_POD}.containers[0].name: Required value. {_SEE_POD}.containers.name`.",
            f'{_POD}.restartPolicy: Required value: valid values: "OnFailure", "Never".'
            f" {_SEE_POD}.restartPolicy`.",
        ],
    ),
    "an object quoted in the details": (
        _INVALID + '[spec.selector: Invalid value: {"matchLabels":{"a":"b"}}: `selector` not'
        ' auto-generated, spec.template.metadata.labels: Invalid value: {"a":"b"}: `selector` does'
        " not match template `labels`]",
        [
            'spec.jobTemplate.spec.selector: Invalid value: {"matchLabels":{"a":"b"}}: `selector`'
            " not auto-generated. See `kubectl explain job.spec.selector`.",
            'spec.jobTemplate.spec.template.metadata.labels: Invalid value: {"a":"b"}: `selector`'
            " does not match template `labels`. See `kubectl explain"
            " job.spec.template.metadata.labels`.",
        ],
    ),
    "a key of a map": (
        _INVALID + "spec.template.spec.containers[0].resources.limits[my: cpu]: Invalid value:"
        ' "my: cpu": must be a standard resource type or fully qualified',
        [
            f"{_POD}.containers[0].resources.limits[my: cpu]: Invalid value:"
            ' "my: cpu": must be a standard resource type or fully qualified.'
            f" {_SEE_POD}.containers.resources.limits`."
        ],
    ),
    "a path that kubectl cannot explain": (
        _INVALID + "spec.template.annotations.seccomp.security.alpha.kubernetes.io/pod: Invalid"
        ' value: "x": must be a valid seccomp profile',
        [
            "spec.jobTemplate.spec.template.annotations.seccomp.security.alpha.kubernetes.io/pod:"
            ' Invalid value: "x": must be a valid seccomp profile. See `kubectl explain job.spec`.'
        ],
    ),
    "a refusal that names no field": (
        _INVALID + "something is wrong",
        ["spec.jobTemplate: something is wrong. See `kubectl explain job.spec`."],
    ),
}


@pytest.mark.parametrize("title", REFUSALS)
def test_a_refusal_names_the_field_in_the_task(title: str) -> None:
    refusal, expected = REFUSALS[title]
    assert [str(problem) for problem in problems_in(refusal)] == expected


# --- the dry run --------------------------------------------------------------------------------

TEMPLATE: Json = {
    "metadata": {"labels": {"a": "b"}, "creationTimestamp": None, "name": "ignored", "lables": {}},
    "spec": {"template": {"spec": {"containers": [{"name": "main"}]}}},
}


async def findings(api: FakeApi) -> Findings:
    return await check_template(api, "qa", "nightly", TEMPLATE, timeout=2.0)


async def test_the_job_is_tried_and_not_created() -> None:
    api = FakeApi(FakeClock())
    assert await findings(api) == ([], [])
    (call,) = api.calls
    assert (call.verb, call.resource, call.namespace) == ("create", JOBS, "qa")
    assert (call.dry_run, call.timeout) == (True, 2.0)
    assert call.body["metadata"] == {
        "generateName": "nightly-dry-run-",
        "namespace": "qa",
        "labels": {"a": "b"},
        "lables": {},
    }
    assert call.body["spec"] == TEMPLATE["spec"]
    assert await api.list(JOBS) == []


async def test_warnings_of_the_server_name_the_field_in_the_task() -> None:
    api = FakeApi(FakeClock())
    api.warnings = [
        'spec.template.spec.containers[0].env[1]: hides previous definition of "A"',
        'would violate PodSecurity "restricted:latest"',
    ]
    assert await findings(api) == (
        [],
        [
            f'{_POD}.containers[0].env[1]: hides previous definition of "A"',
            'would violate PodSecurity "restricted:latest"',
        ],
    )


_REFUSED = "At present, a Job from spec.jobTemplate would be refused: "
_UNCHECKED = "spec.jobTemplate was not checked: "
_FORBIDDEN = 'create jobs: 403 Forbidden: jobs.batch "x" is forbidden: '

OTHERS: dict[str, tuple[ApiError, str]] = {
    "a quota": (
        Transient(_FORBIDDEN + "exceeded quota: small", code=403),
        f'{_REFUSED}jobs.batch "x" is forbidden: exceeded quota: small.',
    ),
    "no right": (
        Refused(
            'create jobs: 403 Forbidden: jobs.batch is forbidden: User "hook" cannot create'
            ' resource "jobs" in API group "batch" in the namespace "qa"',
            code=403,
        ),
        f'{_UNCHECKED}jobs.batch is forbidden: User "hook" cannot create resource "jobs" in API'
        ' group "batch" in the namespace "qa".',
    ),
    "somebody's webhook, with our own words": (
        Refused(
            'create jobs: 422 Invalid: admission webhook "p.example" denied the request: spec.x:'
            " Invalid value",
            code=422,
        ),
        f'{_REFUSED}admission webhook "p.example" denied the request: spec.x: Invalid value.',
    ),
    "somebody's webhook that quotes the API server": (
        Refused(
            'create jobs: 422 Invalid: admission webhook "p.example" denied the request: Job.batch'
            ' "x" is invalid: spec.x: Required value',
            code=422,
        ),
        f'{_REFUSED}admission webhook "p.example" denied the request: Job.batch "x" is invalid:'
        " spec.x: Required value.",
    ),
    "somebody's policy": (
        Refused(
            'create jobs: 422 Invalid: jobs.batch "x" is forbidden: ValidatingAdmissionPolicy'
            " 'p' with binding 'b' denied request: no Jobs today",
            code=422,
        ),
        f"{_REFUSED}jobs.batch \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b'"
        " denied request: no Jobs today.",
    ),
    "no answer": (
        Transient("create jobs: no answer in time."),
        f"{_UNCHECKED}no answer in time.",
    ),
    "an overloaded server": (
        Transient("create jobs: 429 TooManyRequests: too many requests", code=429),
        f"{_UNCHECKED}too many requests.",
    ),
    "no namespace": (
        NotFound('create jobs: 404 NotFound: namespaces "qa" not found', code=404),
        f'{_UNCHECKED}namespaces "qa" not found.',
    ),
    "a conflict": (
        Conflict("create jobs: 409 Conflict: somebody else writes", code=409),
        f"{_REFUSED}somebody else writes.",
    ),
}


@pytest.mark.parametrize("title", OTHERS)
async def test_what_is_not_about_the_template_never_blocks(title: str) -> None:
    error, warning = OTHERS[title]
    api = FakeApi(FakeClock())
    api.fail("create", JOBS, error=error)
    assert await findings(api) == ([], [warning])
