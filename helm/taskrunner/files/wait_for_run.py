"""What the pod of `helm test` does: waits until a run of a task has ended, and says how.

    python wait_for_run.py NAMESPACE TASK SECONDS

Exit code 0 when a run has succeeded; 1 when one failed, or none ended in time. Needs nothing but
Python and the right to get the task. One failed request is no verdict: the API server may restart.
"""

# ruff: noqa: T201, TID251
from __future__ import annotations

import json
import os
import ssl
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
POLL_SECONDS = 1.0


def main(namespace: str, task: str, seconds: float) -> int:
    end = time.monotonic() + seconds
    said = ""
    while True:
        try:
            status = read_status(namespace, task)
        except (OSError, ValueError) as error:
            state = f"The task {namespace}/{task} cannot be read: {error}."
        else:
            verdict, state = judge(status)
            if verdict is not None:
                print(state)
                return 0 if verdict else 1
        if state != said:
            print(state, flush=True)
            said = state
        if time.monotonic() > end:
            print(f"No run has ended within {seconds:g} s. Is the operator running and leading?")
            return 1
        time.sleep(POLL_SECONDS)


def judge(status: dict[str, Any]) -> tuple[bool | None, str]:
    """Whether a run has succeeded (None: not known yet), and a sentence about it."""
    run = status.get("lastExecution") or {}
    if status.get("lastSuccessfulTime"):
        times = f"started {run.get('startTime')}, completed {run.get('completionTime')}"
        return True, f"A run has succeeded: the last, {run.get('name')}, {times}."
    if status.get("lastFailureTime"):
        return False, f"The run {run.get('name')} has failed; look at its status, Job and pod."
    for condition in status.get("conditions") or ():
        if condition["type"] == "Ready" and condition["status"] == "False":
            return False, f"The task is not ready: {condition['reason']}: {condition['message']}"
    if run:
        return None, f"The run {run.get('name')} is {run.get('phase')}."
    if due := status.get("nextRunTime"):
        return None, f"The operator has planned the task; its next run is due at {due}."
    return None, "The operator has not seen the task yet."


def read_status(namespace: str, task: str) -> dict[str, Any]:
    """Raises OSError (urllib's and TLS errors included) and ValueError."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    server = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    path = f"apis/taskrunner.dev/v1alpha1/namespaces/{namespace}/scheduledtasks/{task}"
    request = urllib.request.Request(
        f"https://{server}/{path}",
        headers={"Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}"},
    )
    trust = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    with urllib.request.urlopen(request, timeout=10, context=trust) as answer:
        status: dict[str, Any] = json.load(answer).get("status") or {}
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
