"""What is read from pods and events, as a real kubelet and Job controller have written them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from taskrunner.domain.instants import parse_instant
from taskrunner.domain.observed import execution_from
from taskrunner.domain.pod_facts import NO_PODS, PodFacts, facts
from taskrunner.domain.pod_problems import GRACE_SECONDS, PROBLEMS, Notice, refusal_of
from taskrunner.domain.pods import RESULT_BYTES, Pod, Progress, pod_from, progress_from, tail
from taskrunner.engine.pod_sinks import NoticeSink, PodSink, slim_notice, slim_pod
from taskrunner.engine.pods import Pods
from taskrunner.engine.store import Store
from taskrunner.engine.work import Key

Json = dict[str, Any]
GOLDEN: Json = yaml.load(
    (Path(__file__).parents[1] / "golden" / "pods.yaml").read_text(), yaml.CSafeLoader
)


def pod(name: str, **metadata: Any) -> Pod:
    obj = dict(GOLDEN["pods"][name])
    return pod_from(obj | {"metadata": obj["metadata"] | metadata})


def of(name: str, finished: str = "") -> PodFacts:
    return facts([pod(name)], finished=finished)


# --- how it ended -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "exit_code", "reason", "detail", "result"),
    [
        pytest.param("success", 0, "Completed", "", "copied 12 files\n", id="a good end"),
        pytest.param(
            "exit-3",
            3,
            "Error",
            "container main exited with code 3 (Error): disk is full",
            "disk is full\n",
            id="an exit code and a termination message",
        ),
        pytest.param(
            "logs",
            4,
            "Error",
            "container main exited with code 4 (Error): to the log",
            "to the log\n",
            id="FallbackToLogsOnError",
        ),
        pytest.param(
            "oom",
            137,
            "OOMKilled",
            "container main was killed, because it used more memory than its limit allows "
            "(OOMKilled, exit code 137); raise its resources.limits.memory, or have it use less",
            "",
            id="out of memory",
        ),
        pytest.param(
            "two",
            7,
            "Error",
            "container main exited with code 7 (Error): main",
            "main\n",
            id="the second of two containers failed",
        ),
        pytest.param(
            "init",
            9,
            "Error",
            "init container prepare exited with code 9 (Error): no database",
            "no database\n",
            id="an init container failed",
        ),
        pytest.param(
            "sidecar",
            6,
            "Error",
            "container main exited with code 6 (Error)",
            "",
            id="a sidecar is ended after the main container, and counts for nothing",
        ),
    ],
)
def test_how_a_pod_ended(name: str, exit_code: int, reason: str, detail: str, result: str) -> None:
    found = of(name, "Complete" if exit_code == 0 else "Failed")
    assert (found.exit_code, found.reason) == (exit_code, reason)
    assert found.detail == detail
    assert found.result == result
    assert (found.pods_left, found.pods_over) == (0, 1)
    assert found.problem is None


def test_a_program_that_is_not_there_is_told_in_the_runtimes_words() -> None:
    found = of("no-command", "Failed")
    assert (found.exit_code, found.reason) == (128, "StartError")
    assert "/no/such/program" in found.detail


def test_an_evicted_pod_was_ended_by_the_cluster_and_not_by_its_program() -> None:
    found = of("evicted", "Failed")
    assert found.disrupted
    assert found.reason == "EvictionByEvictionAPI"
    assert "was ended (EvictionByEvictionAPI): Eviction API: evicting" in found.detail


def test_a_deadline_of_the_pod_itself_is_told() -> None:
    found = of("deadline", "Failed")
    assert found.reason == "DeadlineExceeded"
    assert not found.disrupted
    assert "longer than the specified deadline" in found.detail


def test_a_running_pod_has_no_end_yet() -> None:
    found = of("running")
    assert (found.exit_code, found.reason, found.detail, found.result) == (None, "", "", "")
    assert found.up
    assert found.running
    assert found.created is not None
    assert found.running_since == found.created + 1
    assert found.pods_left == 1


def test_without_pods_nothing_is_known() -> None:
    assert facts(()) == NO_PODS


def test_of_the_pods_of_a_job_the_last_decides() -> None:
    found = facts([pod("retried-2"), pod("retried-1")], finished="Failed")
    assert found.exit_code == 2
    assert found.created == pod("retried-1").created
    assert found.pods_over == 2


def test_a_job_that_completed_after_a_failure_is_told_by_the_pod_that_succeeded() -> None:
    created = "2030-01-01T00:00:00Z"
    later = pod("exit-3", uid="later", creationTimestamp=created)
    assert facts([pod("success"), later], finished="Complete").exit_code == 0
    assert facts([pod("success"), later], finished="Failed").exit_code == 3


def test_a_pod_that_was_deleted_because_another_failed_does_not_decide() -> None:
    deleted = pod("deadline", uid="other", deletionTimestamp="2030-01-01T00:00:00Z")
    assert facts([deleted, pod("exit-3")], finished="Failed").exit_code == 3


# --- what it waits for --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "reason", "told"),
    [
        ("image-pull", "ImagePullFailed", ['image "registry.invalid/missing:1"', "imagePullSecr"]),
        ("image-back-off", "ImagePullFailed", ['image "registry.invalid/missing:1"', "Back-off"]),
        ("never-pull", "ImagePullFailed", ["taskrunner.dev/missing:1", "pull policy of Never"]),
        ("bad-image-name", "InvalidImageName", ['"UPPER:::"', "must be lowercase"]),
        ("no-secret", "CreateContainerConfigError", ['secret "ci" not found', "Create the"]),
        ("no-config-key", "CreateContainerConfigError", ["couldn't find key absent in ConfigMap"]),
        ("root", "CreateContainerConfigError", ["runAsNonRoot", "Set securityContext.runAsUser"]),
        ("no-node", "Unschedulable", ["0/1 nodes are available: 1 Insufficient cpu. Lower the"]),
        ("no-selector", "Unschedulable", ["node affinity/selector. Lower"]),
        ("crash-loop", "CrashLoopBackOff", ["exit code 5", "restartPolicy: Never"]),
    ],
)
def test_why_a_pod_does_not_get_on(name: str, reason: str, told: list[str]) -> None:
    problem = of(name).problem
    assert problem is not None
    assert problem.reason == reason
    assert problem.reason in PROBLEMS
    for text in told:
        assert text in problem.message
    assert of(name).waiting == problem.message
    assert 0 <= problem.since - pod(name).created <= 2


@pytest.mark.parametrize("name", ["running", "crash-again", "no-volume"])
def test_what_a_pod_cannot_tell_or_is_normal_is_no_problem(name: str) -> None:
    assert of(name).problem is None


def test_the_two_names_of_a_failed_pull_are_one_reason() -> None:
    first, then = of("image-pull").problem, of("image-back-off").problem
    assert first is not None
    assert then is not None
    assert first.reason == then.reason


class Seen:
    """A store, and what it was told to look at."""

    def __init__(self) -> None:
        self.store = Store()
        self.keys: list[Key] = []
        self.store.wake = self.keys.append
        self.pods = PodSink(self.store)
        self.notices = NoticeSink(self.store)

    def pod(self, name: str) -> None:
        self.pods.seen("ADDED", slim_pod(GOLDEN["pods"][name]))

    def events(self, name: str) -> None:
        for event in GOLDEN["events"][name]:
            self.notices.seen("ADDED", slim_notice(event))

    def facts(self, name: str, finished: str = "") -> PodFacts:
        """As of the Job that the golden pod or event belongs to."""
        if name in GOLDEN["pods"]:
            job_uid = GOLDEN["pods"][name]["metadata"]["ownerReferences"][0]["uid"]
        else:
            job_uid = GOLDEN["events"][name][0]["regarding"]["uid"]
        pods = self.store.pods.of(f"team/{name}")
        return facts(pods, finished=finished, job_uid=job_uid, notices=self.store.pods.notices)


def test_a_volume_that_cannot_be_mounted_is_told_by_an_event() -> None:
    seen = Seen()
    seen.pod("no-volume")
    seen.events("no-volume")
    problem = seen.facts("no-volume").problem
    assert problem is not None
    assert problem.reason == "FailedMount"
    assert 'configmap "absent" not found. Create what is missing' in problem.message
    assert seen.keys[-1] == Key("run", "team/no-volume")


def test_once_volumes_are_mounted_an_old_event_says_nothing() -> None:
    seen = Seen()
    obj = dict(GOLDEN["pods"]["no-volume"])
    mounted = {"type": "PodReadyToStartContainers", "status": "True"}
    obj["status"] = obj["status"] | {"conditions": [mounted]}
    seen.pods.seen("ADDED", slim_pod(obj))
    seen.events("no-volume")
    assert seen.facts("no-volume").problem is None


@pytest.mark.parametrize(
    ("name", "reason", "told"),
    [
        pytest.param(
            "quota",
            "QuotaExceeded",
            ["exceeded quota: small, requested: pods=1, used: pods=0, limited: pods=0.", "raise"],
            id="the quota is used up",
        ),
        pytest.param(
            "quota-limits",
            "PodRejected",
            ["failed quota: cpu: must specify limits.cpu for: main.", "Set these requests"],
            id="the quota asks for limits",
        ),
        pytest.param(
            "standard",
            "PodRejected",
            ['violates PodSecurity "restricted:latest"', "Set the securityContext"],
            id="Pod Security",
        ),
        pytest.param(
            "no-account",
            "PodRejected",
            ['serviceaccount "absent" not found', 'Create the ServiceAccount "absent"'],
            id="no service account",
        ),
        pytest.param(
            "priority",
            "PodRejected",
            ["no PriorityClass with name absent was found. Correct priorityClassName"],
            id="no priority class",
        ),
    ],
)
def test_why_pods_are_refused(name: str, reason: str, told: list[str]) -> None:
    seen = Seen()
    seen.events(name)
    problem = seen.facts(name).problem
    assert problem is not None
    assert problem.reason == reason
    assert problem.reason in PROBLEMS
    for text in told:
        assert text in problem.message
    assert "Error creating" not in problem.message
    namespace = GOLDEN["events"][name][0]["metadata"]["namespace"]
    assert seen.keys[-1] == Key("run", f"{namespace}/{name}")


@pytest.mark.parametrize(
    ("note", "told"),
    [
        pytest.param(
            'Error creating: admission webhook "images.example.com" denied the request: no tag',
            "denied the request: no tag. Change the pod template as the admission webhook asks",
            id="an admission webhook",
        ),
        pytest.param(
            "Error creating: pods \"x-1-abcde\" is forbidden: ValidatingAdmissionPolicy 'p' with "
            "binding 'b' denied request: no tag",
            "denied request: no tag. Change the pod template as the policy asks",
            id="an admission policy",
        ),
        pytest.param(
            'Error creating: Pod "x-1-abcde" is invalid: spec.priority: Forbidden',
            "spec.priority: Forbidden. Correct the pod template.",
            id="an invalid pod",
        ),
        pytest.param(
            "Error creating: something new",
            "something new. Correct the pod template, or what refuses it.",
            id="what is not known yet",
        ),
    ],
)
def test_others_that_refuse_pods(note: str, told: str) -> None:
    problem = refusal_of(Notice("uid", note, 1, 1), None)
    assert problem is not None
    assert problem.reason == "PodRejected"
    assert told in problem.message


def test_a_container_that_the_runtime_cannot_create_is_told() -> None:
    obj = dict(GOLDEN["pods"]["no-secret"])
    waiting = {"reason": "CreateContainerError", "message": "no command specified"}
    status = {"name": "main", "state": {"waiting": waiting}}
    problem = facts([pod_from(obj | {"status": {"containerStatuses": [status]}})]).problem
    assert problem is not None
    assert problem.reason == "CreateContainerError"
    assert "cannot be started: no command specified. Correct its command" in problem.message


def test_each_refused_pod_has_an_event_and_the_problem_began_with_the_first() -> None:
    seen = Seen()
    seen.events("quota")
    first, second = (
        parse_instant(e["deprecatedFirstTimestamp"]) for e in GOLDEN["events"]["quota"]
    )
    problem = seen.facts("quota").problem
    assert first < second
    assert problem is not None
    assert problem.since == first


def test_a_pod_that_came_after_the_refusal_or_an_end_makes_it_old() -> None:
    seen = Seen()
    seen.events("quota")
    (uid,) = {event["regarding"]["uid"] for event in GOLDEN["events"]["quota"]}
    notices = seen.store.pods.notices
    later = pod("exit-3", creationTimestamp="2030-01-01T00:00:00Z")
    assert facts([later], job_uid=uid, notices=notices).problem is None
    assert facts((), finished="Failed", job_uid=uid, notices=notices).problem is None


# --- progress and result ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("", None),
        ("  ", None),
        ("0", Progress(0, "")),
        ("40", Progress(40, "")),
        ("40%", Progress(40, "")),
        ("100 %", Progress(100, "")),
        ("40 Copying files", Progress(40, "Copying files")),
        ("40%  Copying", Progress(40, "Copying")),
        ("Copying files", Progress(None, "Copying files")),
        ("140", Progress(None, "140")),
        ("-1", Progress(None, "-1")),
        ("4x", Progress(None, "4x")),
        ("3 of\n7", Progress(3, "of\n7")),
    ],
)
def test_progress(text: str | None, expected: Progress | None) -> None:
    assert progress_from(text) == expected


@given(st.text())
def test_any_progress_is_within_bounds(text: str) -> None:
    found = progress_from(text)
    if found is not None:
        assert found.percent is None or 0 <= found.percent <= 100
        assert len(found.message) <= 256


@given(st.text(), st.integers(1, 64))
def test_a_result_is_cut_at_a_character(text: str, size: int) -> None:
    end = tail(text, size)
    assert text.endswith(end)
    assert len(end.encode()) <= size
    if len(text.encode()) <= size:
        assert end == text


def test_four_kibibytes_of_a_result_are_kept() -> None:
    obj = dict(GOLDEN["pods"]["exit-3"])
    ended = {"exitCode": 3, "reason": "Error", "message": "é" * 4096}
    status = {"name": "main", "state": {"terminated": ended}}
    found = facts([pod_from(obj | {"status": {"phase": "Failed", "containerStatuses": [status]}})])
    assert found.result == "é" * (RESULT_BYTES // 2)


# --- the memory ---------------------------------------------------------------------------------


def execution(name: str, version: int, phase: str) -> Any:
    return execution_from(
        {
            "metadata": {
                "namespace": "team",
                "name": name,
                "uid": f"uid-{name}",
                "resourceVersion": str(version),
                "creationTimestamp": "2026-11-21T11:06:00Z",
            },
            "spec": {"taskRef": {"name": "t"}},
            "status": {"phase": phase},
        }
    )


def test_pods_are_remembered_until_their_execution_has_ended() -> None:
    seen = Seen()
    seen.store.put_execution(execution("exit-3", 1, "Running"))
    seen.pod("exit-3")
    assert len(seen.store.pods) == 1
    seen.pods.synced({}, 10**9)
    assert seen.facts("exit-3", "Failed").exit_code == 3
    seen.store.put_execution(execution("exit-3", 2, "Failed"))
    assert len(seen.store.pods) == 0
    seen.pod("exit-3")
    assert len(seen.store.pods) == 0


def test_the_last_pod_of_a_run_that_was_deleted_leaves_nothing() -> None:
    seen = Seen()
    seen.pod("exit-3")
    assert len(seen.store.pods) == 1
    metadata = GOLDEN["pods"]["exit-3"]["metadata"] | {"resourceVersion": str(10**9)}
    seen.pods.seen("DELETED", slim_pod(GOLDEN["pods"]["exit-3"] | {"metadata": metadata}))
    assert len(seen.store.pods) == 0
    assert seen.store.pods.of("team/exit-3") == []


def test_a_pod_that_a_list_does_not_have_is_gone_and_what_it_said_counts() -> None:
    seen = Seen()
    seen.store.put_execution(execution("exit-3", 1, "Running"))
    seen.pod("exit-3")
    seen.pods.synced({}, 10**9)
    (gone,) = seen.store.pods.of("team/exit-3")
    assert gone.gone
    assert seen.facts("exit-3", "Failed").exit_code == 3


def test_an_older_version_or_no_change_is_no_news() -> None:
    seen = Seen()
    obj = GOLDEN["pods"]["running"]
    version = int(obj["metadata"]["resourceVersion"])
    for newer in (0, -1, 1):
        metadata = obj["metadata"] | {"resourceVersion": str(version + newer)}
        seen.pods.seen("MODIFIED", slim_pod(obj | {"metadata": metadata}))
    assert seen.keys == [Key("run", "team/evicted")]


@pytest.mark.parametrize("missing", ["labels", "ownerReferences"])
def test_a_pod_that_is_not_of_a_job_of_ours_is_left_alone(missing: str) -> None:
    seen = Seen()
    obj = dict(GOLDEN["pods"]["running"])
    obj["metadata"] = {k: v for k, v in obj["metadata"].items() if k != missing}
    seen.pods.seen("ADDED", slim_pod(obj))
    assert len(seen.store.pods) == 0


def test_events_of_others_are_bounded() -> None:
    pods = Pods(lambda key: None)
    sink = NoticeSink(Store())
    sink._pods = pods
    event = GOLDEN["events"]["quota"][0]
    for number in range(5_000):
        regarding = event["regarding"] | {"uid": str(number)}
        sink.seen("ADDED", slim_notice(event | {"regarding": regarding}))
    assert len(pods.notices) <= 4_096


def test_the_grace_is_seconds() -> None:
    assert 2 <= GRACE_SECONDS <= 3


def test_a_pod_that_is_being_deleted_waits_for_nothing() -> None:
    going = pod("image-pull", deletionTimestamp="2030-01-01T00:00:00Z")
    assert facts([going]).problem is None
    assert facts([going]).pods_left == 1


YEAR_0 = "0000-01-01T00:00:00Z"
"""Kubernetes takes it."""


@pytest.mark.parametrize(
    "change",
    [
        {"deprecatedFirstTimestamp": YEAR_0, "deprecatedLastTimestamp": YEAR_0},
        {"deprecatedFirstTimestamp": None, "eventTime": YEAR_0, "series": {"lastObservedTime": ""}},
        {"regarding": {"kind": "Job", "uid": "u"}},
        {"regarding": {}},
        {"note": ""},
    ],
)
def test_an_event_that_anybody_may_have_written_stops_nothing(change: Json) -> None:
    seen = Seen()
    seen.notices.seen("LISTED", slim_notice(GOLDEN["events"]["quota"][0] | change))
    for notice in seen.store.pods.notices.values():
        created = parse_instant(GOLDEN["events"]["quota"][0]["metadata"]["creationTimestamp"])
        assert notice.first == created


def test_a_pod_with_times_that_are_none_stops_nothing() -> None:
    obj = dict(GOLDEN["pods"]["exit-3"])
    ended = {"exitCode": 3, "startedAt": YEAR_0, "finishedAt": None}
    status = {
        "phase": "Failed",
        "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": YEAR_0}],
        "containerStatuses": [{"name": "main", "state": {"terminated": ended}}],
    }
    assert facts([pod_from(obj | {"status": status})]).exit_code == 3


@pytest.mark.parametrize("status", [None, {}, {"phase": "Pending", "containerStatuses": None}])
def test_a_pod_that_says_nothing_yet_is_followed(status: Json | None) -> None:
    found = facts([pod_from(GOLDEN["pods"]["exit-3"] | {"status": status})])
    assert (found.pods_left, found.exit_code, found.problem) == (1, None, None)
