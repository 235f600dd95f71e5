"""The fence as admission policy: the API server refuses what ended terms have still under way.

One ValidatingAdmissionPolicy whose parameter is a Shard, and a binding for each shard
(docs/adr/0006). The one source: the chart's copy is generated from it, `make run`, `make demo` and
the tests apply it as it is, and the operator knows refusals by the names given here.
https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from taskrunner.api.v1alpha1.names import (
    ANNOTATION_WRITER_EPOCH,
    API_VERSION,
    GROUP,
    LABEL_EXECUTION,
    LABEL_SHARD,
    SHARD,
    TASK_EXECUTION,
    shard_object,
)

Manifest = dict[str, Any]

_ADMISSION: Final = "admissionregistration.k8s.io/v1"
_SUFFIX: Final = "-fence"
_REFUSAL: Final = re.compile(
    rf"ValidatingAdmissionPolicy '[^']*{_SUFFIX}'(?: with binding '[^']*')? denied request: (.*)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Fence:
    """What the policy is made from."""

    name: str
    """The installation's; the names of the policy and its bindings begin with it."""
    user: str
    """The operator, as the API server knows it. Nobody else is looked at."""
    namespace: str
    """The operator's, where the Shards are."""
    watch_namespace: str = ""
    """The one namespace of tasks; empty for all."""
    shards: int = 1


def refusal(sentence: str) -> str | None:
    """The fence's own words in what the API server answered; None when somebody else refused."""
    found = _REFUSAL.search(sentence)
    return found[1] if found else None


def manifests(fence: Fence) -> list[Manifest]:
    """The policy and its bindings, as JSON-ready data."""
    numbers = [str(number) for number in range(fence.shards)]
    others = {"matchExpressions": [{"key": LABEL_SHARD, "operator": "NotIn", "values": numbers}]}
    return [
        _policy(fence),
        *(_of_shard(fence, number) for number in numbers),
        # A shard that does not exist has no epoch: without a parameter, the policy refuses.
        _binding(fence, "others", others, {}),
    ]


def _policy(fence: Fence) -> Manifest:
    # Only what the operator creates for runs is looked at, told by a label that the API server
    # checks before anything else: while the definition of Shard is missing, a policy refuses
    # whatever it matches, and it must not be Jobs that are none of our business.
    match: Manifest = {
        "objectSelector": {"matchExpressions": [{"key": LABEL_EXECUTION, "operator": "Exists"}]},
        "resourceRules": [
            {
                "apiGroups": [group],
                "apiVersions": ["*"],
                "operations": ["CREATE"],
                "resources": [plural],
            }
            for group, plural in ((GROUP, TASK_EXECUTION.plural), ("batch", "jobs"))
        ],
    }
    if fence.watch_namespace:
        labels = {"kubernetes.io/metadata.name": fence.watch_namespace}
        match["namespaceSelector"] = {"matchLabels": labels}
    return {
        "apiVersion": _ADMISSION,
        "kind": "ValidatingAdmissionPolicy",
        "metadata": _metadata(fence.name + _SUFFIX),
        "spec": {
            "failurePolicy": "Fail",
            "paramKind": {"apiVersion": API_VERSION, "kind": SHARD.kind},
            "matchConstraints": match,
            "matchConditions": [
                {
                    "name": "by-the-operator",
                    "expression": f'request.userInfo.username == "{fence.user}"',
                },
                {"name": "for-a-run", "expression": _FOR_A_RUN},
            ],
            "variables": [
                {"name": name, "expression": expression} for name, expression in _VARIABLES.items()
            ],
            "validations": [
                {
                    "expression": "variables.writer == variables.present",
                    "messageExpression": _MESSAGE,
                    "message": "The writer's term of holding the shard has ended.",
                    "reason": "Forbidden",
                }
            ],
        },
    }


_FOR_A_RUN: Final = "request.resource.resource == 'jobs' || dyn(object).spec.type != 'Manual'"
_VARIABLES: Final = {
    "shard": f"object.metadata.?labels[?'{LABEL_SHARD}'].orValue('')",
    # The kinds differ, and an execution names its shard twice: in its spec, which cannot be
    # changed, and in the label that chooses the binding.
    "writer": (
        "variables.shard + ' ' + (request.resource.resource == 'jobs'"
        f" ? object.metadata.?annotations[?'{ANNOTATION_WRITER_EPOCH}'].orValue('')"
        " : dyn(object).spec.?writer.?shard.orValue('') == variables.shard"
        " ? dyn(object).spec.?writer.?epoch.orValue('') : '')"
    ),
    "present": "has(params.spec) ? variables.shard + ' ' + params.spec.epoch : ''",
}
_MESSAGE: Final = (
    "has(params.spec)"
    " ? 'The writer is shut out: it writes as \"' + variables.writer.split(' ')[1]"
    " + '\", and the present epoch of shard ' + variables.shard + ' is \"' + params.spec.epoch"
    " + '\". Its term has ended; whoever holds the shard now does the work.'"
    " : 'There is no shard \"' + variables.shard + '\" in this installation, so nobody may write"
    " for it. settings.shards of the chart says how many there are.'"
)


def _of_shard(fence: Fence, number: str) -> Manifest:
    parameter = {
        "name": shard_object(number),
        "namespace": fence.namespace,
        "parameterNotFoundAction": "Deny",
    }
    return _binding(fence, number, {"matchLabels": {LABEL_SHARD: number}}, {"paramRef": parameter})


def _binding(
    fence: Fence, suffix: str, objects: Mapping[str, Any], parameter: Mapping[str, Any]
) -> Manifest:
    return {
        "apiVersion": _ADMISSION,
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": _metadata(f"{fence.name}{_SUFFIX}-{suffix}"),
        "spec": {
            "policyName": fence.name + _SUFFIX,
            "validationActions": ["Deny"],
            "matchResources": {"objectSelector": dict(objects)},
            **parameter,
        },
    }


def _metadata(name: str) -> Manifest:
    return {"name": name, "labels": {"app.kubernetes.io/name": "taskrunner"}}
