"""The admission webhook as a process of its own, called by a real API server.

It runs with an account that has no rights but those in `webhooks.rights`. Calls are limited to the
namespace of these tests, so that others on the same cluster see nothing of it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import signal
import statistics
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from golden.refused import GOOD, JOB_TEMPLATE, Json, merged
from testbed.base import BaseCluster
from testbed.cluster import Cluster
from testbed.errors import ApiError, CommandError, UnsupportedError
from webhooks import (
    ACCOUNT,
    CRDS,
    HOOK,
    OPERATOR,
    SECRET,
    Process,
    Space,
    Traffic,
    configuration,
    dry_run_only,
    handshake,
    point_at,
    rights,
    task,
    template,
    until,
)

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

# --- a namespace with a webhook -----------------------------------------------------------------


@pytest.fixture(scope="module")
def prepared(cluster: BaseCluster) -> Iterator[Space]:
    """A namespace, the accounts, and their rights."""
    if not isinstance(cluster, Cluster):
        raise UnsupportedError(
            f"In a cluster of kind {cluster.kind!r} the API server cannot call this machine's"
            " loopback address."
        )
    cluster.kubectl("apply", "--server-side", "-f", CRDS)
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
    space = Space(cluster, f"webhook-{uuid.uuid4().hex[:8]}")
    name = space.name
    cluster.kubectl("create", "namespace", name)
    for account in (ACCOUNT, OPERATOR):
        space.kubectl("create", "serviceaccount", account)
    space.kubectl("create", "secret", "generic", SECRET)
    roles = [{"apiVersion": "rbac.authorization.k8s.io/v1"} | role for role in rights(name)]
    policies = dry_run_only(name, f"system:serviceaccount:{name}:{ACCOUNT}")
    items = {"apiVersion": "v1", "kind": "List", "items": roles + policies}
    space.kubectl("apply", "-f", "-", obj=items)
    subject = f"--serviceaccount={name}:{ACCOUNT}"
    space.kubectl("create", "clusterrolebinding", name, f"--clusterrole={name}", subject)
    space.kubectl("create", "rolebinding", ACCOUNT, f"--role={ACCOUNT}", subject)
    subject = f"--serviceaccount={name}:{OPERATOR}"
    space.kubectl("create", "rolebinding", OPERATOR, "--clusterrole=cluster-admin", subject)
    yield space
    for kind in (
        "validatingwebhookconfiguration",
        "validatingadmissionpolicy",
        "validatingadmissionpolicybinding",
        "clusterrole",
        "clusterrolebinding",
    ):
        cluster.kubectl("delete", kind, name, "--ignore-not-found")
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def start(
    prepared: Space, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Process]]:
    """Starts a replica with the account's rights; all are stopped at the end."""
    kubeconfig = prepared.cluster.kubeconfig_for_service_account(prepared.name, ACCOUNT)
    directory = tmp_path_factory.mktemp("webhook")
    started: list[Process] = []

    def start(**settings: str) -> Process:
        defaults = {
            "namespace": prepared.name,
            "configuration_name": prepared.configuration,
            "secret_name": SECRET,
            "hosts": "127.0.0.1",
            "address": "127.0.0.1",
            "port": "0",
            "probe_address": "127.0.0.1",
            "probe_port": "0",
            "check_interval": "0.2",
            "drain_period": "0",
        }
        log = directory / f"{len(started)}.log"
        started.append(Process(kubeconfig, defaults | settings, log))
        return started[-1]

    yield start
    for replica in started:
        if replica.process.poll() is None:
            replica.stop()


@pytest.fixture(scope="module")
def hook(prepared: Space, start: Callable[..., Process]) -> Process:
    replica = start()
    point_at(prepared, replica)
    return replica


@pytest.fixture
def space(prepared: Space, hook: Process) -> Space:
    return prepared


# --- what is refused ----------------------------------------------------------------------------

_EXPLAIN = "See `kubectl explain job.spec.template.spec"

REFUSED: dict[str, tuple[Json, list[str]]] = {
    "a minute that does not exist": (
        task("bad", {"schedule": "61 * * * *"}),
        ['The ScheduledTask "bad" is invalid: spec.schedule: Invalid value: "61"'],
    ),
    "an unknown time zone": (
        task("bad", {"schedule": "@daily", "timeZone": "Europe/Berln"}),
        [
            'spec.timeZone: Invalid value: "Europe/Berln": This is no time zone of the IANA'
            ' database. Did you mean "Europe/Berlin"'
        ],
    ),
    "a day that never comes": (
        task("bad", {"schedule": "0 0 30 2 *"}),
        ["spec.schedule: Invalid value: ", "The expression never matches"],
    ),
    "several problems, all of them": (
        task(
            "bad",
            {
                "timeZone": "Mars/Phobos",
                "schedules": [
                    {"name": "a", "cron": "* * *"},
                    {"name": "b", "cron": "@daily", "timeZone": "CET/Berlin"},
                ],
            }
            | template(container={"imag": "x"}),
        ),
        [
            "* spec.timeZone: ",
            "* spec.schedules[0].cron: ",
            "* spec.schedules[1].timeZone: ",
            "* spec.jobTemplate.spec.template.spec.containers[0].imag: ",
        ],
    ),
    "typing errors in the pod": (
        task("bad", template({"restartpolicy": "Never"}, {"imag": "x"})),
        [
            f"spec.jobTemplate.spec.template.spec.containers[0].imag: unknown field. {_EXPLAIN}"
            ".containers`.",
            f"spec.jobTemplate.spec.template.spec.restartpolicy: unknown field. {_EXPLAIN}`.",
        ],
    ),
    "a value that a pod cannot have": (
        task("bad", template({"restartPolicy": "Always"})),
        ["spec.jobTemplate.spec.template.spec.restartPolicy: ", '"OnFailure", "Never"'],
    ),
    "a value of a wrong type": (
        task("bad", template(container={"ports": [{"containerPort": "80"}]})),
        [
            "spec.jobTemplate.spec.template.spec.containers.ports.containerPort: This is text, and"
            " the field takes a whole number."
        ],
    ),
    "a quantity that is none": (
        task("bad", template(container={"resources": {"limits": {"cpu": "1 core"}}})),
        ["spec.jobTemplate: quantities must match the regular expression"],
    ),
    "a container without image and a volume without name": (
        task("bad", template({"containers": [{"name": "a"}], "volumes": [{"emptyDir": {}}]})),
        [
            "* spec.jobTemplate.spec.template.spec.containers[0].image: Required value",
            "* spec.jobTemplate.spec.template.spec.volumes[0].name: Required value",
        ],
    ),
    "a typing error in the metadata of the template": (
        task("bad", {"jobTemplate": JOB_TEMPLATE | {"metadata": {"lables": {"a": "b"}}}}),
        ["spec.jobTemplate.metadata.lables: unknown field."],
    ),
    "a calendar of a country that is unknown": (
        merged(
            GOOD["Calendar"],
            {"spec": {"exclude": {"holidays": [{"name": "a", "country": "XX"}]}}},
        ),
        [
            'The Calendar "good" is invalid: spec.exclude.holidays[0].country: Invalid value: "XX":'
            " No public holidays are known for this country."
        ],
    ),
    "a calendar with a window that never opens": (
        merged(
            GOOD["Calendar"],
            {
                "spec": {
                    "timeZone": "Europe/Nowhere",
                    "exclude": {
                        "windows": [{"name": "a", "cron": "0 0 31 6 *", "durationSeconds": 60}]
                    },
                }
            },
        ),
        ["* spec.timeZone: ", "* spec.exclude.windows[0].cron: "],
    ),
}


@pytest.mark.parametrize("title", REFUSED)
def test_a_bad_object_is_refused_at_apply(space: Space, title: str) -> None:
    obj, sentences = REFUSED[title]
    said = space.refusal(obj)
    for sentence in sentences:
        assert sentence in said


def test_a_refusal_is_a_status_that_programs_can_read(space: Space, cluster: Cluster) -> None:
    obj = task("bad", {"schedule": "61 * * * *", "timeZone": "Mars/Phobos"})
    path = f"/apis/taskrunner.dev/v1alpha1/namespaces/{space.name}/scheduledtasks"
    with pytest.raises(ApiError) as error:
        cluster.api.request("POST", path, obj)
    assert (error.value.code, error.value.reason) == (422, "Invalid")
    said = str(error.value)
    assert f'admission webhook "{HOOK}" denied the request: 2 problems: (1) spec.' in said
    assert "(2) spec." in said


def test_the_tasks_next_to_a_bad_one_are_accepted(space: Space) -> None:
    accepted, said = space.apply(
        task("beside-1"), task("bad", {"schedule": "61 * * * *"}), task("beside-2")
    )
    assert not accepted
    assert "scheduledtask.taskrunner.dev/beside-1 created" in said
    assert "scheduledtask.taskrunner.dev/beside-2 created" in said
    assert 'The ScheduledTask "bad" is invalid' in said


# --- what is warned about -----------------------------------------------------------------------


def test_a_good_task_has_no_warning(space: Space) -> None:
    assert space.warnings(task("fine", {"schedule": "0 4 * * *"})) == []


WARNED: dict[str, tuple[Json, list[str]]] = {
    "a time in the DST gap": (
        {"schedule": "30 2 * * *"},
        ['spec.schedule "30 2 * * *": Clocks in Europe/Berlin jump from 02:00 to 03:00 on '],
    ),
    "a deprecated alias": (
        {"schedule": "0 4 * * *", "timeZone": "US/Eastern"},
        ['spec.timeZone "US/Eastern": The name is a deprecated alias in the IANA database.'],
    ),
    "a time in the past": (
        {"schedules": [{"name": "a", "at": "2020-01-01T00:00:00Z"}]},
        ['spec.schedules[0].at "at 2020-01-01T00:00:00+00:00": It has no slot to come'],
    ),
    "no slot before the end": (
        {"schedule": "0 4 29 2 *", "endTime": "2027-01-01T00:00:00Z"},
        ['spec.schedule "0 4 29 2 *": It never fires before endTime'],
    ),
    "two schedules that coincide, in an old zone": (
        {
            "timeZone": "US/Eastern",
            "schedules": [
                {"name": "a", "cron": "0 4 * * *", "arguments": {"A": "1"}},
                {"name": "b", "cron": "0 4 * * *", "arguments": {"A": "2"}},
            ],
        },
        ['spec.timeZone "US/Eastern": ', 'spec.schedules[1].cron "0 4 * * *": It always coincides'],
    ),
}


@pytest.mark.parametrize("title", WARNED)
def test_what_is_probably_not_meant_is_warned_about(space: Space, title: str) -> None:
    spec, beginnings = WARNED[title]
    said = space.warnings(task(f"warned-{list(WARNED).index(title)}", spec))
    assert len(said) == len(beginnings)
    for warning, beginning in zip(said, beginnings, strict=True):
        assert warning.startswith(beginning)


def test_more_warnings_than_fit_say_how_many_are_missing(space: Space) -> None:
    many = [
        {"name": f"a{number}", "cron": f"{number} 4 * * *", "timeZone": "US/Eastern"}
        for number in range(50)
    ]
    said = space.warnings(task("many", {"schedules": many}))
    shown, last = said[:-1], said[-1]
    assert last == f"And {50 - len(shown)} more."
    assert all(warning.endswith((".", "…")) for warning in shown)


def test_warnings_of_the_api_server_name_the_place_in_the_task(space: Space) -> None:
    twice = {"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}
    (said,) = space.warnings(task("twice", template(container=twice)))
    assert said.startswith(
        "spec.jobTemplate.spec.template.spec.containers[0].env[1]: hides previous definition"
    )


def test_a_task_may_be_applied_before_its_calendar(space: Space) -> None:
    first = task("early", {"schedule": "@daily", "calendars": [{"name": "later"}]})
    (said,) = space.warnings(first)
    assert said.startswith(
        'spec.calendars[0].name "later": There is no Calendar of this name in the namespace'
    )
    calendar = merged(GOOD["Calendar"], {"metadata": {"name": "later"}})
    assert space.warnings(calendar, merged(first, {"metadata": {"name": "in-time"}})) == []


def test_a_run_by_hand_of_a_task_that_is_not_there_is_warned_about(space: Space) -> None:
    run = merged(
        GOOD["TaskExecution"], {"metadata": {"name": "run"}, "spec": {"taskRef": {"name": "nope"}}}
    )
    (said,) = space.warnings(run)
    assert said.startswith('spec.taskRef.name "nope": There is no ScheduledTask of this name')


# --- dry runs that fail for other reasons -------------------------------------------------------


def test_a_used_up_quota_is_a_warning(space: Space) -> None:
    space.kubectl("create", "quota", "none", "--hard=count/jobs.batch=0")
    try:
        name = f"quota-{uuid.uuid4().hex[:6]}"
        said = until(lambda: space.warnings(task(name + uuid.uuid4().hex[:6])), "no quota")
        assert said[0].startswith("At present, a Job from spec.jobTemplate would be refused: ")
        assert "exceeded quota: none" in said[0]
    finally:
        space.kubectl("delete", "quota", "none")
    until(lambda: not space.warnings(task(f"x-{uuid.uuid4().hex[:6]}")), "the quota stays")


def test_somebody_elses_policy_is_a_warning(space: Space) -> None:
    name = f"{space.name}-other"
    policy, binding = dry_run_only(name, f"system:serviceaccount:{space.name}:{ACCOUNT}")
    policy["spec"]["validations"] = [
        {"expression": "false", "message": "no Jobs today", "reason": "Invalid"}
    ]
    items = {"apiVersion": "v1", "kind": "List", "items": [policy, binding]}
    space.kubectl("apply", "-f", "-", obj=items)
    try:
        said = until(lambda: space.warnings(task(f"p-{uuid.uuid4().hex[:6]}")), "no policy")
        assert said[0].startswith("At present, a Job from spec.jobTemplate would be refused: ")
        assert "no Jobs today" in said[0]
    finally:
        space.kubectl("delete", "validatingadmissionpolicy,validatingadmissionpolicybinding", name)
    until(lambda: not space.warnings(task(f"x-{uuid.uuid4().hex[:6]}")), "the policy stays")


def test_the_account_can_create_jobs_as_a_dry_run_only(space: Space) -> None:
    user = space.cluster.kubeconfig_for_service_account(space.name, ACCOUNT)
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"generateName": "real-", "namespace": space.name},
        "spec": JOB_TEMPLATE["spec"] | {"suspend": True},
    }
    arguments = (f"-n={space.name}", "create", "-f", "-")

    def refusal() -> str:
        try:
            space.cluster.kubectl(*arguments, input=job, kubeconfig=user)
        except CommandError as error:
            return error.stderr
        return ""  # The policy is not active yet: that takes a few seconds.

    assert "may create Jobs as a dry run only" in until(refusal, "a real Job can be created")
    space.cluster.kubectl(*arguments, "--dry-run=server", input=job, kubeconfig=user)


# --- what is never held up ----------------------------------------------------------------------


@contextlib.contextmanager
def frozen(replica: Process) -> Iterator[None]:
    """A webhook that takes requests and does not answer: the worst that it can do."""
    replica.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        replica.process.send_signal(signal.SIGCONT)


def test_status_metadata_and_the_operator_do_not_wait_for_the_webhook(
    space: Space, hook: Process
) -> None:
    space.apply(task("calm", {"schedule": "@daily"}))
    run = merged(GOOD["TaskExecution"], {"metadata": {"name": "by-operator"}})
    with frozen(hook):
        seconds = {}
        for what, arguments in {
            "status": ("patch", "stask", "calm", "--subresource=status", "--type=merge",
                       '-p={"status": {"activeCount": 1}}'),
            "metadata": ("annotate", "stask", "calm", "a=b"),
            "label": ("label", "stask", "calm", "a=b"),
        }.items():  # fmt: skip
            begun = time.monotonic()
            space.kubectl(*arguments)
            seconds[what] = time.monotonic() - begun
        begun = time.monotonic()
        accepted, said = space.apply(run, user=space.operator)
        assert accepted, said
        seconds["execution by the operator"] = time.monotonic() - begun
        begun = time.monotonic()
        accepted, said = space.apply(task("by-a-user", {"schedule": "61 * * * *"}))
        assert accepted, said
        waited = time.monotonic() - begun
    assert max(seconds.values()) < 2.5, seconds
    assert 4.5 < waited < 9, "a user waits for timeoutSeconds, and then the object goes through"


def test_a_bad_task_can_still_be_suspended_and_is_told_so(space: Space) -> None:
    assert space.apply(task("was-bad", {"schedule": "61 * * * *"}), user=space.operator)[0]
    (said,) = space.warnings(task("was-bad", {"schedule": "61 * * * *", "suspend": True}))
    assert said.startswith('As before: spec.schedule "61')
    worse = task("was-bad", {"schedule": "61 * * * *", "timeZone": "Mars/Phobos"})
    assert "spec.timeZone" in space.refusal(worse)


# --- the process --------------------------------------------------------------------------------


def test_a_webhook_that_is_down_lets_everything_through(
    prepared: Space, start: Callable[..., Process], hook: Process
) -> None:
    replica = start()
    point_at(prepared, replica)
    assert replica.stop() == 0
    assert prepared.apply(task("while-down", {"schedule": "61 * * * *"}))[0]
    point_at(prepared, hook)


def test_it_says_that_it_stops_and_answers_on(
    prepared: Space, start: Callable[..., Process], hook: Process
) -> None:
    replica = start(drain_period="3")
    point_at(prepared, replica)
    replica.process.terminate()
    until(lambda: replica.probe("/readyz")[0] == 503, "still ready")
    assert replica.probe("/readyz")[1] == "The process is stopping."
    assert prepared.is_checked()
    assert replica.process.wait(15) == 0
    point_at(prepared, hook)


def test_a_caBundle_that_is_taken_away_is_put_back(space: Space) -> None:  # noqa: N802
    def bundle() -> str:
        found = space.cluster.get("validatingwebhookconfiguration", space.configuration)
        return str(found["webhooks"][0]["clientConfig"].get("caBundle", ""))

    before = bundle()
    patch = '[{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]'
    space.kubectl(
        "patch", "validatingwebhookconfiguration", space.configuration, "--type=json",
        f"-p={patch}",
    )  # fmt: skip
    until(lambda: bundle() == before, "caBundle stays empty")
    until(space.is_checked, "the API server does not call the webhook any more")


def test_certificates_that_others_make_are_served(
    prepared: Space,
    cluster: Cluster,
    start: Callable[..., Process],
    hook: Process,
    tmp_path: Path,
) -> None:
    def issue(name: str) -> None:
        pair = cluster.issue_certificate(name, (), ["127.0.0.1"])
        for source, file in zip(pair, ("tls.crt", "tls.key"), strict=True):
            (tmp_path / file).write_bytes(source.read_bytes())

    issue("webhook-1")
    replica = start(cert_dir=str(tmp_path))
    # A configuration of its own: the other replica would write its own bundle into the usual one.
    kind, name = "validatingwebhookconfiguration", f"{prepared.configuration}-files"
    prepared.kubectl("delete", kind, prepared.configuration)
    obj = configuration(name, prepared.name, replica.url)
    bundle = base64.b64encode(cluster.ca_file.read_bytes()).decode()
    obj["webhooks"][0]["clientConfig"]["caBundle"] = bundle
    prepared.kubectl("apply", "-f", "-", obj=obj)
    try:
        until(prepared.is_checked, f"the API server does not call the webhook: {replica.said}")
        before = handshake(replica, bundle)
        issue("webhook-2")
        until(lambda: handshake(replica, bundle) != before, "the new files are not served")
        assert prepared.is_checked()
    finally:
        prepared.kubectl("delete", kind, name)
        point_at(prepared, hook)
    assert replica.stop() == 0


def test_neither_log_nor_metrics_show_a_key(space: Space, hook: Process) -> None:
    data = space.cluster.get(f"-n={space.name}", "secret", SECRET)["data"]
    assert set(data) == {"ca.crt", "tls.crt", "tls.key"}, "the authority's key is kept nowhere"
    shown = hook.said + hook.probe("/metrics")[1]
    assert "PRIVATE KEY" not in shown
    assert data["tls.key"][:40] not in shown


# --- rotation -----------------------------------------------------------------------------------


async def renewals(space: Space, replicas: list[Process], count: int) -> None:
    """Shake hands until this many certificates were seen at each replica. A bundle that was read
    a moment before must do: that is how late the API server may be, too."""
    seen: list[set[bytes]] = [set() for _ in replicas]
    while min(len(certificates) for certificates in seen) < count:
        found = await asyncio.to_thread(
            space.cluster.get, "validatingwebhookconfiguration", space.configuration
        )
        bundle = found["webhooks"][0]["clientConfig"]["caBundle"]
        await asyncio.sleep(0.2)
        for replica, certificates in zip(replicas, seen, strict=True):
            certificates.add(await asyncio.to_thread(handshake, replica, bundle))


def test_no_request_fails_while_two_replicas_renew_their_certificates(
    prepared: Space, cluster: Cluster, start: Callable[..., Process], hook: Process
) -> None:
    short = {"cert_lifetime": "12", "cert_settle": "1", "check_interval": "0.2"}
    assert hook.stop() == 0
    empty = ("patch", "secret", SECRET, "--type=merge", '-p={"data": null}')
    prepared.kubectl(*empty)
    replicas = [start(**short), start(**short)]
    point_at(prepared, replicas[0])
    replicas[1].wait_ready()
    traffic = Traffic(cluster, prepared.name)

    async def main() -> None:
        bad = task("traffic", {"schedule": "61 * * * *"})
        posting = asyncio.create_task(traffic.run(bad, 422, pause=0.02))
        # Three certificates: the second renewal is one of a renewed certificate.
        await asyncio.wait_for(renewals(prepared, replicas, 3), 60)
        posting.cancel()
        await asyncio.wait((posting,))  # Its connection is closed then.

    asyncio.run(main())
    said = replicas[0].said + replicas[1].said
    for replica in replicas:
        assert replica.stop() == 0
    assert len(traffic.seconds) > 100
    assert traffic.others == 0, f"of {len(traffic.seconds)} requests; {said}"
    assert "Traceback" not in said
    prepared.kubectl(*empty)


# --- speed --------------------------------------------------------------------------------------

_POSTS = 300
_FIRST = 10
"""Not counted in each turn: they open connections and fill caches."""


def test_what_a_check_adds_to_an_apply(
    prepared: Space, cluster: Cluster, start: Callable[..., Process], record_property: Any
) -> None:
    """Good tasks, created one after the other as a server-side dry run: with the webhook, and in
    turns with them without it. `make test ARGS="-k what_a_check_adds -s"` prints the figures."""
    replica = start()
    point_at(prepared, replica)
    good = task("speed", {"schedule": "30 2 * * 1-5"})
    seconds: dict[str, list[float]] = {"without": [], "with": []}
    other = f"{prepared.name}-unchecked"
    cluster.kubectl("create", "namespace", other)

    async def main() -> None:
        ways = {"without": Traffic(cluster, other), "with": Traffic(cluster, prepared.name)}
        for _ in range(5):
            for way, traffic in ways.items():
                before = len(traffic.seconds)
                await traffic.run(good, 201, count=_POSTS // 5 + _FIRST)
                seconds[way] += traffic.seconds[before + _FIRST :]
                assert traffic.others == 0

    try:
        asyncio.run(main())
    finally:
        cluster.kubectl("delete", "namespace", other, "--wait=false")
    reviews = replica.metric(
        'taskrunner_webhook_reviews_total{kind="ScheduledTask",outcome="allowed"'
    )
    assert reviews >= len(seconds["with"]), "the webhook was asked each time"
    p50 = {way: statistics.median(found) * 1000 for way, found in seconds.items()}
    p99 = {way: statistics.quantiles(found, n=100)[98] * 1000 for way, found in seconds.items()}
    line = (
        f"{len(seconds['with'])} posts each: p50 {p50['without']:.1f} → {p50['with']:.1f} ms,"
        f" p99 {p99['without']:.1f} → {p99['with']:.1f} ms"
    )
    record_property("added latency", line)
    print(f"\nwithout → with the webhook, {line}")
    assert p50["with"] - p50["without"] < 50, line
    assert replica.stop() == 0
