"""The webhook for tests: its manifests, its process, and a namespace that it watches over."""

from __future__ import annotations

import asyncio
import base64
import json
import math
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import aiohttp

from golden.refused import GOOD, JOB_TEMPLATE, Json, merged
from testbed.base import BaseCluster
from testbed.cluster import Cluster

CRDS = Path(__file__).parents[1] / "crds"
ACCOUNT = "taskrunner-webhook"
SECRET = "taskrunner-webhook-tls"
OPERATOR = "taskrunner"
HOOK = "validate.taskrunner.dev"
T = TypeVar("T")


def rights(configuration: str) -> list[Json]:
    """All that the webhook's account may do."""
    everywhere = [
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create"]},
        {
            "apiGroups": ["taskrunner.dev"],
            "resources": ["calendars", "scheduledtasks"],
            "verbs": ["get"],
        },
        {
            "apiGroups": ["admissionregistration.k8s.io"],
            "resources": ["validatingwebhookconfigurations", "mutatingwebhookconfigurations"],
            "resourceNames": [configuration],
            "verbs": ["get", "update"],
        },
    ]
    own = [
        {
            "apiGroups": [""],
            "resources": ["secrets"],
            "resourceNames": [SECRET],
            "verbs": ["get", "update"],
        }
    ]
    return [
        {"kind": "ClusterRole", "metadata": {"name": configuration}, "rules": everywhere},
        {"kind": "Role", "metadata": {"name": ACCOUNT}, "rules": own},
    ]


def dry_run_only(name: str, account: str) -> list[Json]:
    """RBAC cannot say "create, but only as a dry run"; a policy in the API server can."""
    kind = "ValidatingAdmissionPolicy"
    policy = {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "resourceRules": [
                {
                    "apiGroups": ["batch"],
                    "apiVersions": ["*"],
                    "operations": ["CREATE"],
                    "resources": ["jobs"],
                }
            ]
        },
        "matchConditions": [
            {"name": "webhook", "expression": f"request.userInfo.username == '{account}'"}
        ],
        "validations": [
            {
                "expression": "request.dryRun == true",
                "message": "taskrunner's webhook may create Jobs as a dry run only",
            }
        ],
    }
    api = "admissionregistration.k8s.io/v1"
    return [
        {"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": policy},
        {
            "apiVersion": api,
            "kind": f"{kind}Binding",
            "metadata": {"name": name},
            "spec": {"policyName": name, "validationActions": ["Deny"]},
        },
    ]


def configuration(name: str, namespace: str, url: str) -> Json:
    """As the chart writes it, but for `url` in place of a Service."""
    rule = {
        "apiGroups": ["taskrunner.dev"],
        "apiVersions": ["v1alpha1"],
        "operations": ["CREATE", "UPDATE"],
        "resources": ["scheduledtasks", "taskexecutions", "calendars"],
        "scope": "Namespaced",
    }
    hook = {
        "name": HOOK,
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": url},
        "rules": [rule],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "matchConditions": [
            {
                "name": "not-the-operator",
                "expression": "request.userInfo.username !="
                f" 'system:serviceaccount:{namespace}:{OPERATOR}'",
            },
            {
                "name": "new-or-changed",
                "expression": "request.operation == 'CREATE' || object.spec != oldObject.spec",
            },
        ],
        "failurePolicy": "Ignore",
        "sideEffects": "None",
        "timeoutSeconds": 5,
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [hook],
    }


def until(check: Callable[[], T], what: str, *, seconds: float = 20) -> T:
    """Wait for something that is true; fail with `what` when it does not come about."""
    end = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < end, f"{what} (after {seconds:g} s)"
        time.sleep(0.05)
    return found


@dataclass
class Process:
    """One replica of the webhook."""

    kubeconfig: Path
    settings: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        given = {f"SCHEDULER_WEBHOOK_{name.upper()}": v for name, v in self.settings.items()}
        own = {k: v for k, v in os.environ.items() if not k.startswith("SCHEDULER_")}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "taskrunner", "webhook", "--kubeconfig", self.kubeconfig],
                env={**own, **given},
                stderr=log,
                stdout=log,
            )

    @property
    def said(self) -> str:
        return self.log.read_text()

    @property
    def ports(self) -> tuple[int, int]:
        """Of HTTPS and of the probes."""

        def found() -> re.Match[str] | None:
            assert self.process.poll() is None, self.said
            return re.search(r"on port (\d+); probes and metrics on port (\d+)", self.said)

        match = until(found, f"the webhook does not serve: {self.said}")
        assert match
        return int(match[1]), int(match[2])

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.ports[0]}/validate"

    def probe(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[1]}{path}") as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def wait_ready(self) -> None:
        until(lambda: self.probe("/readyz")[0] == 200, f"never ready: {self.said}")

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels that `name` does not give."""
        lines = self.probe("/metrics")[1].splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    def stop(self) -> int:
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        return self.process.wait(20)


class Space:
    """A namespace whose tasks are checked by the webhook."""

    def __init__(self, cluster: BaseCluster, name: str) -> None:
        self.cluster = cluster
        self.name = name
        self.configuration = name

    def kubectl(self, *arguments: str | Path, obj: Json | None = None) -> str:
        return self.cluster.kubectl(f"-n={self.name}", *arguments, input=obj)

    def apply(self, *objects: Json, user: Path | None = None) -> tuple[bool, str]:
        """Whether it was accepted, and all that kubectl printed."""
        done = subprocess.run(
            [self.cluster.bin("kubectl"), f"-n={self.name}", "apply", "-f", "-"],
            env={**os.environ, "KUBECONFIG": str(user or self.cluster.kubeconfig)},
            input=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode == 0, done.stdout + done.stderr

    def refusal(self, obj: Json) -> str:
        accepted, said = self.apply(obj)
        assert not accepted, said
        return said

    def warnings(self, *objects: Json) -> list[str]:
        accepted, said = self.apply(*objects)
        assert accepted, said
        lines = said.splitlines()
        return [line.removeprefix("Warning: ") for line in lines if line.startswith("Warning: ")]

    @property
    def operator(self) -> Path:
        """The kubeconfig of an account whose writes are not checked."""
        return self.cluster.kubeconfig_for_service_account(self.name, OPERATOR)

    def is_checked(self) -> bool:
        """Whether the API server calls the webhook."""
        return not self.apply(task("probe", {"schedule": "61 * * * *"}))[0]


def task(name: str, spec: Json | None = None) -> Json:
    return merged(GOOD["ScheduledTask"], {"metadata": {"name": name}, "spec": spec or {}})


def template(pod: Json | None = None, container: Json | None = None) -> Json:
    """The spec of a task whose pod or only container has these fields, too."""
    found = merged(JOB_TEMPLATE, {"spec": {"template": {"spec": pod or {}}}})
    if container:
        found["spec"]["template"]["spec"]["containers"][0] |= container
    return {"jobTemplate": json.loads(json.dumps(found))}


def point_at(space: Space, replica: Process) -> None:
    """Have the API server call this replica, and wait until it does."""
    obj = configuration(space.configuration, space.name, replica.url)
    space.kubectl("apply", "-f", "-", obj=obj)
    replica.wait_ready()
    until(space.is_checked, f"the API server does not call the webhook: {replica.said}")


class Traffic:
    """Creates tasks, as a dry run, over one connection; counts and times the answers."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        path = f"/apis/taskrunner.dev/v1alpha1/namespaces/{namespace}/scheduledtasks"
        self._url = f"{cluster.url}{path}?dryRun=All"
        self._tls = ssl.create_default_context(cafile=str(cluster.ca_file))
        self._tls.load_cert_chain(*cluster.issue_certificate("testbed-admin", ["system:masters"]))
        self.seconds: list[float] = []
        self.others = 0
        """Answers that were not the expected one."""

    async def run(self, obj: Json, code: int, *, count: float = math.inf, pause: float = 0) -> None:
        """Post `count` times, each answered before the next; `code` is the answer expected."""
        end = len(self.seconds) + count
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=1)
        async with aiohttp.ClientSession(connector=connector) as session:
            while len(self.seconds) < end:
                body = merged(obj, {"metadata": {"name": f"traffic-{len(self.seconds)}"}})
                begun = time.monotonic()
                async with session.post(self._url, json=body) as response:
                    await response.read()
                self.seconds.append(time.monotonic() - begun)
                self.others += response.status != code
                await asyncio.sleep(pause)


def handshake(replica: Process, bundle: str) -> bytes:
    """The certificate of a replica, checked as the API server checks it on a new connection."""
    tls = ssl.create_default_context(cadata=base64.b64decode(bundle).decode())
    with (
        socket.create_connection(("127.0.0.1", replica.ports[0]), timeout=10) as connection,
        tls.wrap_socket(connection, server_hostname="127.0.0.1") as secured,
    ):
        found = secured.getpeercert(binary_form=True)
    assert found
    return found
