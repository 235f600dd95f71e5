"""Why a pod does not start, or does not come to be: a reason, what happened, and what to do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from taskrunner.api.v1alpha1.reasons import ExecutionReason
from taskrunner.domain.pods import Container, Pod

GRACE_SECONDS: Final = 3
"""What is over by then is not worth a write: a Secret applied a moment after the task, a node that
is just being freed."""
_WORDS: Final = 500


@dataclass(frozen=True, slots=True)
class Notice:
    """What Warning events said about a Job (its pods are refused) or a pod (a volume that cannot be
    mounted). `first` and `last` are when it was said."""

    about: str
    """uid of the Job or pod."""
    message: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why an attempt does not get on: a reason and a sentence for people."""

    reason: ExecutionReason
    message: str
    since: int


_IMAGE: Final = ExecutionReason.IMAGE_PULL_FAILED
_START: Final = ExecutionReason.CREATE_CONTAINER_ERROR
_KUBELET: Final[Mapping[str, ExecutionReason]] = {
    # pkg/kubelet/images/types.go; the first two alternate, and are one thing.
    "ErrImagePull": _IMAGE,
    "ImagePullBackOff": _IMAGE,
    "ErrImageNeverPull": _IMAGE,
    "ImageInspectError": _IMAGE,
    "RegistryUnavailable": _IMAGE,
    "SignatureValidationFailed": _IMAGE,
    "InvalidImageName": ExecutionReason.INVALID_IMAGE_NAME,
    # pkg/kubelet/kuberuntime/kuberuntime_container.go
    "CreateContainerConfigError": ExecutionReason.CREATE_CONTAINER_CONFIG_ERROR,
    "CreateContainerError": _START,
    "RunContainerError": _START,
    "PreCreateHookError": _START,
    "PreStartHookError": _START,
    "PostStartHookError": _START,
    # pkg/kubelet/container/sync_result.go
    "CrashLoopBackOff": ExecutionReason.CRASH_LOOP_BACK_OFF,
}
"""Problems, by why a container waits. Other reasons, such as ContainerCreating, are none."""

PROBLEMS: Final = frozenset(
    {
        *_KUBELET.values(),
        ExecutionReason.FAILED_MOUNT,
        ExecutionReason.UNSCHEDULABLE,
        ExecutionReason.POD_REJECTED,
        ExecutionReason.QUOTA_EXCEEDED,
    }
)
"""All reasons of this module."""
PASSING: Final = PROBLEMS - {ExecutionReason.CRASH_LOOP_BACK_OFF}
"""Reasons that are over once the pod gets on. A container that crashes and is started again runs in
between, and would be told of each time."""
MENDED: Final = "What held the pod up is over; its containers are being created."
"""Said with PodPending."""

_PREEMPTION: Final = re.compile(r"\s*(no new claims to deallocate,\s*)?preemption: .*$", re.DOTALL)
"""Why other pods are not pushed aside for it: of no use to who reads on."""
_POD_NAME: Final = re.compile(r'^(Error creating: )?(pods "[^"]*" is forbidden: )?')
_ACCOUNT: Final = re.compile(r'serviceaccount "([^"]*)" not found')
_REFUSALS: Final[tuple[tuple[str, str], ...]] = (
    (
        "failed quota",
        "Set these requests and limits in the pod template; the namespace's quota asks for them.",
    ),
    (
        "violates PodSecurity",
        "Set the securityContext in the pod template as it says, or ask for another level of the "
        "namespace.",
    ),
    (
        "denied the request",
        "Change the pod template as the admission webhook asks, or ask who runs it.",
    ),
    (
        "ValidatingAdmissionPolicy",
        "Change the pod template as the policy asks, or ask who administers it.",
    ),
    ("PriorityClass", "Correct priorityClassName in the pod template, or create the class."),
    ("is invalid", "Correct the pod template."),
)


def problem_of(pod: Pod, notice: Notice | None) -> Waiting | None:
    """Why a pod that has not ended does not get on; None when nothing is known to be wrong."""
    begun = pod.scheduled if pod.scheduled is not None else pod.created
    for container in pod.containers:
        reason = _KUBELET.get(container.waiting)
        if reason is not None:
            since = container.finished if container.finished is not None else begun
            return Waiting(reason, _container_words(container, reason), since)
    if pod.unschedulable:
        said = _PREEMPTION.sub("", pod.unschedulable)
        message = (
            f"No node takes the pod: {_cut(said)} Lower the pod's requests, correct "
            "its node selector, affinity or tolerations, or add nodes."
        )
        begun = pod.created if pod.unschedulable_since is None else pod.unschedulable_since
        return Waiting(ExecutionReason.UNSCHEDULABLE, message, begun)
    if notice is not None and pod.phase == "Pending" and not pod.mounted:
        message = (
            f"The pod's volumes cannot be mounted: {_cut(notice.message)} Create what is missing, "
            "or correct the volumes in the pod template; the kubelet tries again."
        )
        return Waiting(ExecutionReason.FAILED_MOUNT, message, notice.first)
    return None


def refusal_of(notice: Notice | None, newest: Pod | None) -> Waiting | None:
    """Why an attempt without pods has none, when the Job controller said so after the last one."""
    if notice is None or (newest is not None and newest.created > notice.last):
        return None
    said = _POD_NAME.sub("", notice.message)
    if "exceeded quota" in said:
        message = (
            f"The namespace's quota has no room for the pod: {_cut(said)} It starts when there is "
            "room: raise the quota, lower the pod's requests, or let other runs end."
        )
        return Waiting(ExecutionReason.QUOTA_EXCEEDED, message, notice.first)
    account = _ACCOUNT.search(said)
    if account is not None:
        remedy = (
            f'Create the ServiceAccount "{account[1]}" in this namespace, or correct '
            "serviceAccountName in the pod template."
        )
    else:
        remedy = next(
            (remedy for words, remedy in _REFUSALS if words in said),
            "Correct the pod template, or what refuses it.",
        )
    message = f"The pod was refused: {_cut(said)} {remedy} The Job controller tries again."
    return Waiting(ExecutionReason.POD_REJECTED, message, notice.first)


def _container_words(container: Container, reason: ExecutionReason) -> str:
    name = f"{'init ' if container.init else ''}container {container.name}"
    said = _cut(container.waiting_message or container.waiting)
    match reason:
        case ExecutionReason.IMAGE_PULL_FAILED:
            remedy = (
                "Check the image's name and tag, imagePullSecrets, imagePullPolicy, and that the "
                "node reaches the registry; the kubelet tries again."
            )
            return f'The image "{container.image}" of {name} cannot be pulled: {said} {remedy}'
        case ExecutionReason.INVALID_IMAGE_NAME:
            return (
                f'"{container.image}" is not the name of an image ({name}): {said} Correct it in '
                "the pod template, and run the task again."
            )
        case ExecutionReason.CREATE_CONTAINER_CONFIG_ERROR if "runAsNonRoot" in said:
            return (
                f"The {name} cannot be set up: {said} Set securityContext.runAsUser in the pod "
                "template to a user other than 0, or use an image that has one."
            )
        case ExecutionReason.CREATE_CONTAINER_CONFIG_ERROR:
            return (
                f"The {name} cannot be set up: {said} Create the ConfigMap, Secret or key that is "
                "missing, or correct its name in the pod template; the kubelet tries again."
            )
        case ExecutionReason.CRASH_LOOP_BACK_OFF:
            ended = f" (exit code {container.exit_code})" if container.exit_code else ""
            return (
                f"The {name} fails again and again{ended}: {said} Look at its logs; with "
                "restartPolicy: Never the first failure ends the attempt."
            )
        case _:
            return (
                f"The {name} cannot be started: {said} Correct its command, securityContext or "
                "hooks in the pod template; the kubelet tries again."
            )


def _cut(text: str) -> str:
    """Other people's words as a sentence of ours."""
    said = " ".join(text.split())
    if len(said) > _WORDS:
        return said[: _WORDS - 1] + "…"
    return said if said.endswith((".", "!", "?")) else f"{said}."
