"""What `taskrunner doctor` looks at. Each check says what it saw, and what to do about it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from taskrunner.cli.cluster import place_of, status_of
from taskrunner.cli.shared import Session
from taskrunner.cli.times import instant, length
from taskrunner.errors import ApiError, NotFound, Refused
from taskrunner.ports import (
    CALENDARS,
    JOBS,
    LEASES,
    SCHEDULED_TASKS,
    SHARDS,
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
MOST_SKEW: Final = 2.0
"""Seconds that clocks may differ; the operator stops at the same."""
SLOW_MILLISECONDS: Final = 1_000
LATE_SECONDS: Final = 60
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


async def operator(session: Session) -> Checks:
    """The Deployments of the chart."""
    found = await session.api.list(DEPLOYMENTS, label_selector=LABEL)
    if not found:
        text = "No Deployment of the chart is there; a replica may run elsewhere."
        yield Check("pods", "warn", text, "Install the chart, or start `taskrunner operator`.")
    for deployment in found:
        namespace, name = place_of(deployment)
        wanted = deployment["spec"].get("replicas", 1)
        ready = status_of(deployment).get("readyReplicas", 0)
        text = f"{namespace}/{name}: {ready} of {wanted} pods are ready."
        level: Level = "ok" if ready >= wanted else "warn" if ready else "FAIL"
        remedy = f"kubectl describe pods -n {namespace}; kubectl logs -n {namespace} deploy/{name}"
        yield Check("pods", level, text, "" if level == "ok" else f"Look: {remedy}")


async def shards(session: Session, now: float) -> Checks:
    """Who acts: the Leases, the fence, and the lag."""
    found = await session.api.list(SHARDS)
    if not found:
        yield Check(
            "shards", "FAIL", "There is no Shard: no operator has acted here yet.",
            "Start the operator; its log says what it waits for.",
        )  # fmt: skip
    for shard in found:
        namespace, name = place_of(shard)
        status, about = status_of(shard), f"shard {namespace}/{name}"
        try:
            lease = (await session.api.get(LEASES, namespace, name))["spec"]
        except NotFound:
            lease = {}
        yield _lease(about, lease, now)
        fenced = next((c for c in status.get("conditions") or () if c["type"] == "Fenced"), None)
        if fenced is not None and fenced["status"] != "True":
            level: Level = "FAIL" if fenced["status"] == "False" else "warn"
            yield Check(about, level, fenced["message"], "See docs/explanation/fence.md.")
        elif fenced is not None:
            yield Check(about, "ok", "The API server refuses writes of ended terms.")
        lag = status.get("lagMilliseconds")
        if lag is not None:
            slow = lag > SLOW_MILLISECONDS
            text = (
                f"Runs started at most {lag} ms after they were due, {status.get('tasks')} tasks."
            )
            remedy = (
                "Look at the load of the API server and the CPU of the operator." if slow else ""
            )
            yield Check(about, "warn" if slow else "ok", text, remedy)


def _lease(about: str, lease: Mapping[str, Any], now: float) -> Check:
    holder, renewed = lease.get("holderIdentity"), instant(lease.get("renewTime"))
    if not holder or renewed is None:
        remedy = "Look at the operator's pods and their logs."
        return Check(about, "FAIL", "Nobody holds its Lease: nothing starts.", remedy)
    age, valid = now - renewed, lease.get("leaseDurationSeconds", 15)
    if age > valid:
        text = f"{holder} renewed its Lease {length(age)} ago, and it is valid for {valid} s."
        return Check(
            about, "FAIL", text, "Nobody acts: look at the operator's pods and their logs."
        )
    return Check(about, "ok", f"{holder} holds the Lease, renewed {length(age)} ago.")


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


async def clock(session: Session) -> Checks:
    """This machine's clock against that of the API server."""
    skew = session.skew()
    if skew is None:
        yield Check("clock", "warn", "The API server did not tell its time.", "Try again.")
    elif abs(skew) > MOST_SKEW:
        text = f"This machine's clock is {abs(skew):.1f} s {'ahead' if skew > 0 else 'behind'}."
        yield Check("clock", "warn", text, "Set it (NTP). Replicas with such a clock do not act.")
    else:
        yield Check(
            "clock", "ok", f"This machine and the API server agree within {MOST_SKEW:.0f} s."
        )


async def tasks(session: Session, now: float) -> Checks:
    """Tasks that cannot be followed, are overdue, or have left dead letters."""
    from taskrunner.api.v1alpha1.reasons import ExecutionReason

    found = await session.api.list(SCHEDULED_TASKS)
    broken, late = [], []
    for task in found:
        name, status = "/".join(place_of(task)), status_of(task)
        conditions: Sequence[Obj] = status.get("conditions") or ()
        ready: Obj = next((c for c in conditions if c["type"] == "Ready"), {})
        if ready.get("status") == "False":
            broken.append(name)
        held = task["spec"].get("suspend") or ready.get("reason") == "Paused"
        due = instant(status.get("nextRunTime"))
        if due is not None and due + LATE_SECONDS < now and not held:
            late.append(name)
    yield _some("tasks", f"{len(found)} tasks", broken, "cannot be followed", "FAIL",
                "kubectl describe stask says why.")  # fmt: skip
    yield _some("tasks", "No task", late, "should have run", "FAIL",
                "Look at the Leases and the operator's log.")  # fmt: skip
    field = f"status.reason={ExecutionReason.RETRIES_EXHAUSTED}"
    dead = await session.api.list(TASK_EXECUTIONS, field_selector=field)
    names = ["/".join(place_of(one)) for one in dead]
    yield _some("dead letters", "No run", names, "have exhausted their retries", "warn",
                "Mend the cause, then: taskrunner redrive.")  # fmt: skip


def _some(about: str, none: str, names: list[str], what: str, level: Level, remedy: str) -> Check:
    if not names:
        return Check(about, "ok", f"{none}: none {what}." if none[0].isdigit() else f"None {what}.")
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return Check(about, level, f"{len(names)} {what}: {shown}.", remedy)
