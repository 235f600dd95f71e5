"""What reflectors keep of an object is all that is read of it."""

from __future__ import annotations

import json
from typing import Any

from taskrunner.domain.observed import execution_from, job_from
from taskrunner.engine.slim import slim_execution, slim_job

META: dict[str, Any] = {
    "namespace": "qa",
    "name": "nightly-1767225600-2",
    "uid": "u-1",
    "resourceVersion": "42",
    "creationTimestamp": "2026-01-01T00:00:00Z",
    "deletionTimestamp": "2026-01-01T00:09:00Z",
    "labels": {"taskrunner.dev/execution": "x", "kueue.x-k8s.io/queue-name": "team"},
    "annotations": {
        "taskrunner.dev/progress": "40",
        "taskrunner.dev/run-policy": json.dumps({"maxRetries": 2}),
    },
    "ownerReferences": [{"kind": "TaskExecution", "name": "nightly-1767225600", "uid": "u-0"}],
    "managedFields": [{"manager": "taskrunner", "fieldsV1": {"f:spec": {}}}],
}
JOB: dict[str, Any] = {
    "metadata": META,
    "spec": {
        "suspend": True,
        "activeDeadlineSeconds": 60,
        "template": {"spec": {"containers": [{"name": "main", "image": "busybox"}]}},
    },
    "status": {
        "startTime": "2026-01-01T00:00:01Z",
        "ready": 1,
        "conditions": [
            {
                "type": "Failed",
                "status": "True",
                "reason": "BackoffLimitExceeded",
                "message": "It has failed.",
                "lastTransitionTime": "2026-01-01T00:01:00Z",
            }
        ],
    },
}
EXECUTION: dict[str, Any] = {
    "metadata": META,
    "spec": {
        "taskRef": {"name": "nightly"},
        "type": "Scheduled",
        "scheduledTime": "2026-01-01T00:00:00Z",
        "decision": {"type": "Run", "reason": "OnSchedule", "due": "2026-01-01T00:00:00Z"},
        "arguments": {"SUITE": "all"},
        "priority": 7,
    },
    "status": {
        "phase": "Retrying",
        "reason": "JobFailed",
        "attempt": 1,
        "startTime": "2026-01-01T00:00:01Z",
        "nextRetryTime": "2026-01-01T00:02:00Z",
        "attempts": [{"number": 1, "reason": "JobFailed", "exitCode": 3}],
        "conditions": [{"type": "Complete", "status": "False", "message": "Not yet."}],
    },
}


def test_a_slim_job_reads_as_the_whole_one() -> None:
    assert job_from(slim_job(JOB)) == job_from(JOB)
    assert job_from(slim_job({"metadata": META})) == job_from({"metadata": META})


def test_a_slim_execution_reads_as_the_whole_one() -> None:
    assert execution_from(slim_execution(EXECUTION)) == execution_from(EXECUTION)


def test_most_of_a_job_is_not_kept() -> None:
    kept = json.dumps(slim_job(JOB))
    assert "busybox" not in kept
    assert "fieldsV1" not in kept
    assert "managedFields" in JOB["metadata"]
