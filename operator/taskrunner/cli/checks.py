"""What `taskrunner doctor` looks at in the cluster: what an installation puts there.

Each check says what it saw, and what to do about it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from taskrunner.cli.cluster import status_of
from taskrunner.cli.shared import Session
from taskrunner.errors import ApiError, NotFound, Refused
from taskrunner.ports import (
    CALENDARS,
    JOBS,
    SCHEDULED_TASKS,
    TASK_EXECUTIONS,
    Api,
    Obj,
    Resource,
)

Level = Literal["ok", "warn", "FAIL"]
Checks = AsyncGenerator["Check", None]

_ADMISSION: Final = "admissionregistration.k8s.io"
DEFINITIONS: Final = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition"
)
DEPLOYMENTS: Final = Resource("apps", "v1", "deployments", "Deployment")
POLICIES: Final = Resource(
    _ADMISSION, "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy"
)
BINDINGS: Final = Resource(
    _ADMISSION, "v1", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding"
)
WEBHOOKS: Final = Resource(
    _ADMISSION, "v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration"
)
REVIEWS: Final = Resource(
    "authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview"
)
LABEL: Final = "app.kubernetes.io/name=taskrunner"

OLDEST: Final = (1, 33)
"""The oldest Kubernetes that is supported."""
CERTIFICATE_DAYS: Final = 7


@dataclass(frozen=True, slots=True)
class Check:
    """One finding."""

    about: str
    level: Level
    text: str
    remedy: str = ""


async def cluster(session: Session) -> Checks:
    """The API server and its version."""
    import orjson

    found = orjson.loads(await session.raw.read("/version"))
    text = f"Kubernetes {found['gitVersion']}, by {session.origin or 'the connection given'}."
    digits = ("".join(c for c in found[part] if c.isdigit()) for part in ("major", "minor"))
    if tuple(int(number or 0) for number in digits) < OLDEST:
        remedy = f"Upgrade the cluster to {OLDEST[0]}.{OLDEST[1]} or newer."
        yield Check("cluster", "FAIL", text, remedy)
    else:
        yield Check("cluster", "ok", text)


async def definitions(session: Session) -> Checks:
    """The CustomResourceDefinitions: there, established, and those of this version."""
    from taskrunner.api import crdgen

    remedy = "Install the chart (crds.install), or: kubectl apply --server-side -f crds/"
    for of in crdgen.DEFINITIONS:
        name, about = of.resource.crd_name, f"definition {of.resource.kind}"
        try:
            found = await session.api.get(DEFINITIONS, "", name)
        except NotFound:
            yield Check(about, "FAIL", f"{name} is not there.", remedy)
            continue
        conditions = status_of(found).get("conditions") or ()
        established = any(c["type"] == "Established" and c["status"] == "True" for c in conditions)
        if not established:
            text = f"{name} is there and not established: {_messages(conditions)}"
            yield Check(about, "FAIL", text, "Correct what it says.")
        elif _fields(found) != _fields(crdgen.definition(of)):
            text = f"{name} has other fields than those of this version of taskrunner."
            yield Check(about, "warn", text, "Bring the command line and the chart to one version.")
        else:
            yield Check(about, "ok", f"{name} is served.")


def _fields(definition: Mapping[str, Any]) -> set[str]:
    """The paths of all fields of the version that we use."""
    found: set[str] = set()

    def walk(schema: Mapping[str, Any], path: str) -> None:
        for name, field in (schema.get("properties") or {}).items():
            found.add(f"{path}.{name}")
            walk(field.get("items", field), f"{path}.{name}")

    for version in definition["spec"]["versions"]:
        walk(version["schema"]["openAPIV3Schema"], version["name"])
    return found


def _messages(conditions: Sequence[Mapping[str, Any]]) -> str:
    return "; ".join(c.get("message", "") for c in conditions if c["status"] == "False")


async def policies(session: Session) -> Checks:
    """The policies of identity and fence, and that each is bound."""
    bound = {b["spec"]["policyName"] for b in await session.api.list(BINDINGS)}
    found = {p["metadata"]["name"]: p for p in await session.api.list(POLICIES)}
    for part, missing, remedy in (
        ("identity", "Anyone who may write tasks can have any pod started.", "identity.enabled"),
        ("fence", "Nothing refuses a replica that lost its Lease.", "fence.enabled"),
    ):
        mine = [n for n in found if f"-{part}" in n and _is_ours(found[n])]
        unbound = [name for name in mine if name not in bound]
        wrong = [n for n in mine if (status_of(found[n]).get("typeChecking") or {}).get(
            "expressionWarnings")]  # fmt: skip
        if not mine:
            yield Check(f"policy {part}", "warn", f"It is not there. {missing}", f"Set {remedy}.")
        elif unbound or wrong:
            text = f"Without a binding: {', '.join(unbound) or 'none'}; with errors: {wrong}."
            yield Check(f"policy {part}", "FAIL", text, "Install the chart anew.")
        else:
            yield Check(f"policy {part}", "ok", f"{', '.join(sorted(mine))}: bound.")


def _is_ours(obj: Obj) -> bool:
    labels = obj["metadata"].get("labels") or {}
    return bool(labels.get("app.kubernetes.io/name") == "taskrunner")


async def rights(session: Session, namespace: str) -> Checks:
    """What the user of this command may do, as the API server says."""
    wanted = [
        ("see tasks", "list", SCHEDULED_TASKS),
        ("write tasks", "update", SCHEDULED_TASKS),
        ("see runs", "list", TASK_EXECUTIONS),
        ("run tasks", "create", TASK_EXECUTIONS),
        ("run tasks", "create", JOBS),
        ("see calendars", "list", CALENDARS),
    ]
    refused = [
        f"{verb} {resource.plural} (to {what})"
        for what, verb, resource in wanted
        if not await _may(session.api, namespace, verb, resource)
    ]
    if refused:
        text = f"You may not, in namespace {namespace}: {', '.join(refused)}."
        yield Check("your rights", "warn", text, "Ask for the role edit there, if you need them.")
    else:
        yield Check("your rights", "ok", f"You may see, write and run tasks in {namespace}.")


async def _may(api: Api, namespace: str, verb: str, resource: Resource) -> bool:
    attributes = {"namespace": namespace, "verb": verb, "group": resource.group}
    attributes |= {"version": resource.version, "resource": resource.plural}
    body = {
        "apiVersion": REVIEWS.api_version,
        "kind": REVIEWS.kind,
        "spec": {"resourceAttributes": attributes},
    }
    return bool(status_of(await api.create(REVIEWS, "", body)).get("allowed"))


async def webhook(session: Session, namespace: str, now: float) -> Checks:
    """The admission webhook: its authority, and whether it answers."""
    found = await session.api.list(WEBHOOKS, label_selector=LABEL)
    if not found:
        text = "It is not installed: what is wrong with a task is told by its Ready condition."
        yield Check("webhook", "ok", text)
        return
    for configuration in found:
        for hook in configuration.get("webhooks") or ():
            yield _authority(hook, now)
    yield await _answers(session.api, namespace)


def _authority(hook: Mapping[str, Any], now: float) -> Check:
    import base64

    from cryptography import x509

    about, remedy = f"webhook {hook['name']}", "Look at the log of the webhook's pods."
    bundle = base64.b64decode(hook["clientConfig"].get("caBundle") or "")
    if not bundle:
        return Check(about, "FAIL", "It has no caBundle: the API server cannot call it.", remedy)
    try:
        newest = max(c.not_valid_after_utc for c in x509.load_pem_x509_certificates(bundle))
    except ValueError as error:
        return Check(about, "FAIL", f"Its caBundle is not a certificate: {error}", remedy)
    left = (newest - datetime.fromtimestamp(now, UTC)).days
    if left < CERTIFICATE_DAYS:
        level: Level = "FAIL" if left < 0 else "warn"
        return Check(about, level, f"Its authority expires on {newest:%Y-%m-%d}.", remedy)
    return Check(about, "ok", f"Its authority is valid until {newest:%Y-%m-%d}.")


async def _answers(api: Api, namespace: str) -> Check:
    """Ask by a dry run that only the webhook refuses: the schema takes any text as a schedule."""
    from taskrunner.api.v1alpha1.names import API_VERSION, SCHEDULED_TASK

    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "none"}]}
    body = {
        "apiVersion": API_VERSION,
        "kind": SCHEDULED_TASK.kind,
        "metadata": {"name": "doctor"},
        "spec": {"schedule": "61 * * * *", "jobTemplate": {"spec": {"template": {"spec": pod}}}},
    }
    try:
        await api.create(SCHEDULED_TASKS, namespace, body, dry_run=True)
    except Refused as error:
        if "61" in str(error):
            return Check("webhook", "ok", "It answers.")
        text = f"Whether it answers is not known, as something else refuses the trial: {error}"
        return Check("webhook", "warn", text, "Ask somebody who may write tasks there.")
    except ApiError as error:
        return Check("webhook", "warn", f"It cannot be tried: {error}", f"Look at {namespace}.")
    remedy = "Look at the webhook's pods, and whether the API server can reach them."
    text = "It does not answer: objects are taken unchecked."
    return Check("webhook", "FAIL", text, remedy)
