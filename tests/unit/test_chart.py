"""The chart, rendered by helm and read as data."""

from __future__ import annotations

import json
import os
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from charts import CHART, NAMESPACE, ROOT, Helm, Json, Rendered
from generators import values_reference
from taskrunner import settings as operator_settings
from taskrunner.admission import settings as webhook_settings
from taskrunner.admission.server import PATH
from taskrunner.api.fence import Fence, manifests
from taskrunner.settings import Settings
from testbed.errors import CommandError

pytestmark = pytest.mark.timeout(600)  # the first of them may have to build helm

GOLDEN = ROOT / "tests" / "golden" / "helm"
NAMESPACED: Json = {"watchNamespace": "team-a"}
PODS: Json = {
    "replicas": 3,
    "serviceAccount": {"annotations": {"example.com/role": "tasks"}},
    "podDisruptionBudget": {"maxUnavailable": "30%"},
    "topologySpreadConstraints": [],
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "system", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "platform",
    "podLabels": {"egress": "none"},
    "podAnnotations": {"example.com/scrape": "true"},
    "extraEnv": [{"name": "TZ", "value": "UTC"}],
}
EVERYTHING: Json = {
    "fullnameOverride": "tasks",
    "commonLabels": {"team": "platform"},
    "image": {"repository": "images.example/taskrunner", "digest": "sha256:" + "0" * 64},
    "imagePullSecrets": [{"name": "pull"}],
    "identity": {"stamp": "webhook"},
    "guardRails": {
        "enabled": True,
        "minIntervalSeconds": 60,
        "maxSchedules": 10,
        "maxConcurrent": 5,
        "maxHistory": 100,
        "ownerOnly": True,
    },
    "monitoring": {
        "serviceMonitor": {"enabled": True, "interval": "15s", "labels": {"release": "prometheus"}},
        "rules": {"enabled": True, "labels": {"release": "prometheus"}},
        "dashboard": {"enabled": True},
    },
    "networkPolicy": {
        "enabled": True,
        "metricsFrom": [{"namespaceSelector": {"matchLabels": {"monitoring": "yes"}}}],
    },
    "flowSchema": {"enabled": True},
    "priorityClass": {"create": True},
    "operator": PODS,
    "webhook": PODS,
}
MINIMAL: Json = {
    "crds": {"install": False},
    "rbac": {"create": False, "aggregateRoles": False},
    "identity": {"enabled": False},
    "fence": {"enabled": False},
    "operator": {
        "serviceAccount": {"create": False, "name": "theirs"},
        "podDisruptionBudget": {"enabled": False},
    },
    "webhook": {"enabled": False},
}
CASES = {"default": {}, "namespaced": NAMESPACED, "everything": EVERYTHING, "minimal": MINIMAL}


@pytest.fixture(scope="module")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return Helm(tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="module")
def default(helm: Helm) -> Rendered:
    return Rendered(helm.template())


@pytest.fixture(scope="module", params=CASES)
def rendered(request: pytest.FixtureRequest, helm: Helm) -> Rendered:
    return Rendered(helm.template(CASES[request.param]))


# --- as a whole -----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_lint_finds_nothing(helm: Helm, case: str) -> None:
    said = helm.run("lint", "--strict", CHART, values=CASES[case])
    assert "1 chart(s) linted, 0 chart(s) failed" in said


@pytest.mark.parametrize("case", CASES)
def test_what_is_rendered_is_what_was_agreed_on(helm: Helm, case: str) -> None:
    """The snapshot shows a reviewer what a change does. Write it anew with UPDATE_GOLDEN=1."""
    text = _without_crds(helm.template(CASES[case]))
    file = GOLDEN / f"{case}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8"), (
        f"The chart renders otherwise than {file.name} says. If that is meant: "
        'UPDATE_GOLDEN=1 make test-unit ARGS="-k chart"'
    )


def test_the_chart_has_the_version_of_the_program() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert chart["version"] == chart["appVersion"] == project["version"]


def test_what_is_not_the_chart_s_stays_out_of_the_package(helm: Helm, tmp_path: Path) -> None:
    helm.run("package", CHART, "--destination", tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["taskrunner-0.1.0.tgz"]


def test_every_object_says_whose_it_is(rendered: Rendered) -> None:
    for obj in rendered:
        labels = obj["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] == "taskrunner"
        assert labels["app.kubernetes.io/instance"] == "taskrunner"
        assert labels["app.kubernetes.io/managed-by"] == "Helm"


def test_names_follow_the_release(helm: Helm) -> None:
    rendered = Rendered(helm.template(release="second"))
    names = ["second-taskrunner-operator", "second-taskrunner-webhook"]
    assert rendered.names("Deployment") == names


# --- definitions ----------------------------------------------------------------------------------


def test_the_definitions_are_those_of_the_repository(default: Rendered) -> None:
    files = sorted((ROOT / "crds").glob("*.yaml"))
    assert len(files) == len(default.names("CustomResourceDefinition"))
    for file in files:
        crd = yaml.safe_load(file.read_text())
        ours = default.get("CustomResourceDefinition", crd["metadata"]["name"])
        assert ours["spec"] == crd["spec"]


def test_the_definitions_outlive_the_release(default: Rendered) -> None:
    for name in default.names("CustomResourceDefinition"):
        annotations = default.get("CustomResourceDefinition", name)["metadata"]["annotations"]
        assert annotations == {"helm.sh/resource-policy": "keep"}


def test_the_definitions_can_be_left_to_others(helm: Helm) -> None:
    assert not Rendered(helm.template(MINIMAL)).names("CustomResourceDefinition")


# --- pods -----------------------------------------------------------------------------------------


def test_every_pod_meets_the_restricted_standard(rendered: Rendered) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted, and more."""
    assert len(rendered.pod_specs) >= 3
    for spec in rendered.pod_specs.values():
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not spec.get("hostNetwork")
        assert not spec.get("volumes")
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            }
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]


def test_every_pod_runs_the_one_image(helm: Helm, default: Rendered) -> None:
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    assert _images(default) == {f"taskrunner.dev/taskrunner:{version}"}
    exact = Rendered(helm.template(EVERYTHING))
    assert _images(exact) == {f"images.example/taskrunner:{version}@sha256:{'0' * 64}"}
    for spec in exact.pod_specs.values():
        assert spec["imagePullSecrets"] == [{"name": "pull"}]


def test_pods_of_one_version_spread_over_nodes_and_zones(default: Rendered) -> None:
    spec = default.get("Deployment", "taskrunner-operator")["spec"]
    constraints = spec["template"]["spec"]["topologySpreadConstraints"]
    assert [c["topologyKey"] for c in constraints] == [
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    ]
    for constraint in constraints:
        assert constraint["labelSelector"] == spec["selector"]
        assert constraint["matchLabelKeys"] == ["pod-template-hash"]


def test_selectors_find_the_pods_of_their_component_only(default: Rendered) -> None:
    """One that does not match its own pods is refused by the server; one too wide is not."""
    deployments = [obj for obj in default if obj["kind"] == "Deployment"]
    selecting = [obj for obj in default if obj["kind"] in ("Deployment", "PodDisruptionBudget")]
    for obj in selecting:
        wanted = obj["spec"]["selector"]["matchLabels"].items()
        matched = [
            deployment["metadata"]["name"]
            for deployment in deployments
            if wanted <= deployment["spec"]["template"]["metadata"]["labels"].items()
        ]
        assert matched == [obj["metadata"]["name"]]


# --- settings -------------------------------------------------------------------------------------


def test_the_operator_understands_its_environment(default: Rendered) -> None:
    settings = operator_settings.load(_environment(default))
    assert settings.namespace == NAMESPACE
    assert settings.probe_port == 8080


def test_every_setting_can_be_set(default: Rendered) -> None:
    given = {name.removeprefix(operator_settings.PREFIX).lower() for name in _environment(default)}
    # The identity is made from POD_NAME; pods have one address only.
    assert Settings.model_fields.keys() - given == {"identity", "probe_address"}


def test_the_settings_have_the_defaults_of_the_program(default: Rendered) -> None:
    settings = operator_settings.load(_environment(default)).model_dump(exclude={"identity"})
    assert settings == Settings(identity="any").model_dump(exclude={"identity"})


PROFILES: dict[str, Json] = {
    "development": {"max_concurrent_executions": 100, "queue_check_interval": 30.0},
    "production": {"max_concurrent_executions": 1000, "default_retry_count": 3},
}


@pytest.mark.parametrize("name", sorted(path.stem for path in (CHART / "profiles").iterdir()))
def test_a_profile_sets_what_it_is_known_for(helm: Helm, name: str) -> None:
    profile = yaml.safe_load((CHART / "profiles" / f"{name}.yaml").read_text())
    settings = operator_settings.load(_environment(Rendered(helm.template(profile))))
    assert {key: getattr(settings, key) for key in PROFILES[name]} == PROFILES[name]


def test_the_settings_have_the_bounds_of_the_program() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]["settings"]
    program = Settings.model_json_schema()["properties"]
    for name, value in schema["properties"].items():
        ours = program[re.sub("([A-Z])", r"_\1", name).lower()]
        same = ("type", "minimum", "maximum", "enum")
        assert {k: value.get(k) for k in same} == {k: ours.get(k) for k in same}, name


def test_one_namespace_can_be_watched(helm: Helm) -> None:
    rendered = Rendered(helm.template(NAMESPACED))
    assert operator_settings.load(_environment(rendered)).watch_namespace == "team-a"


# --- webhook --------------------------------------------------------------------------------------


def test_the_webhook_is_found_where_it_says_it_is(default: Rendered) -> None:
    """Its certificate is for the Service of the configuration, which it may write."""
    settings = webhook_settings.load(_environment(default, "webhook"))
    found = default.get("ValidatingWebhookConfiguration", settings.configuration_name)
    service = found["webhooks"][0]["clientConfig"]["service"]
    assert f"{service['name']}.{service['namespace']}.svc" in settings.server_names
    assert service["path"] == PATH

    ports = default.get("Service", service["name"])["spec"]["ports"]
    assert [port["port"] for port in ports] == [service["port"]]
    pod = default.get("Deployment", "taskrunner-webhook")["spec"]["template"]
    assert default.get("Service", service["name"])["spec"]["selector"].items() <= (
        pod["metadata"]["labels"].items()
    )
    listening = {
        port["name"]: port["containerPort"] for port in pod["spec"]["containers"][0]["ports"]
    }
    assert listening == {"https": settings.port, "http": settings.probe_port}
    assert default.get("Secret", settings.secret_name)["metadata"]["namespace"] == NAMESPACE


def test_the_webhook_holds_nothing_up_when_it_is_down(rendered: Rendered) -> None:
    for kind in ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"):
        for name in rendered.names(kind):
            for hook in rendered.get(kind, name)["webhooks"]:
                assert hook["failurePolicy"] == "Ignore"
                assert hook["timeoutSeconds"] <= 5


def test_the_certificates_are_left_to_the_webhook(default: Rendered) -> None:
    """What the chart does not give, an upgrade does not take away."""
    assert default.get("Secret", "taskrunner-webhook-tls").keys().isdisjoint({"data", "stringData"})
    (hook,) = default.get("ValidatingWebhookConfiguration", "taskrunner")["webhooks"]
    assert "caBundle" not in hook["clientConfig"]


def test_the_operator_s_own_writes_pass_the_webhook_by(default: Rendered) -> None:
    (hook,) = default.get("ValidatingWebhookConfiguration", "taskrunner")["webhooks"]
    account = default.get("ServiceAccount", "taskrunner-operator")["metadata"]
    user = f"system:serviceaccount:{account['namespace']}:{account['name']}"
    (condition,) = hook["matchConditions"]
    assert condition["expression"] == f'request.userInfo.username != "{user}"'


def test_with_one_namespace_the_webhook_looks_at_nothing_else(helm: Helm) -> None:
    rendered = Rendered(helm.template(NAMESPACED))
    (hook,) = rendered.get("ValidatingWebhookConfiguration", "taskrunner")["webhooks"]
    selected = {"matchLabels": {"kubernetes.io/metadata.name": "team-a"}}
    assert hook["namespaceSelector"] == selected


def test_without_the_webhook_nothing_of_it_is_left(helm: Helm) -> None:
    rendered = Rendered(helm.template({"webhook": {"enabled": False}}))
    assert [o["metadata"]["name"] for o in rendered if "webhook" in o["metadata"]["name"]] == []
    assert not rendered.names("ValidatingWebhookConfiguration")
    assert not rendered.names("MutatingWebhookConfiguration")


# --- rights ---------------------------------------------------------------------------------------


def test_rights_are_named_one_by_one(rendered: Rendered) -> None:
    for obj in rendered:
        for rule in obj.get("rules", ()) if obj["kind"] in ("Role", "ClusterRole") else ():
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]


def test_nobody_reads_secrets_or_grants_rights(rendered: Rendered) -> None:
    """The one exception: the webhook's own certificates, by name."""
    for obj in rendered:
        for rule in obj.get("rules", ()) if obj["kind"] in ("Role", "ClusterRole") else ():
            assert not {"serviceaccounts/token", "pods/exec"} & set(rule["resources"])
            if "pods" in rule["resources"]:
                assert not {"create", "update", "patch"} & set(rule["verbs"])
            assert "rbac.authorization.k8s.io" not in rule["apiGroups"]
            if "secrets" in rule["resources"]:
                assert obj["kind"] == "Role"
                assert rule["resourceNames"] == [f"{obj['metadata']['name'][:-13]}-tls"]
                assert rule["verbs"] == ["get", "update"]


def test_specs_are_only_read_and_statuses_only_patched(default: Rendered) -> None:
    rules = default.get("ClusterRole", "taskrunner-operator")["rules"]
    verbs = {resource: rule["verbs"] for rule in rules for resource in rule["resources"]}
    assert verbs["scheduledtasks"] == verbs["calendars"] == ["get", "list", "watch"]
    assert verbs["scheduledtasks/status"] == verbs["taskexecutions/status"] == ["patch"]


def test_with_one_namespace_nothing_reaches_beyond_it(helm: Helm) -> None:
    values = {
        **NAMESPACED,
        "rbac": {"aggregateRoles": False},
        "crds": {"install": False},
        "webhook": {"enabled": False},
        "identity": {"enabled": False},
        "fence": {"enabled": False},
    }
    rendered = Rendered(helm.template(values))
    places = {obj["metadata"].get("namespace") for obj in rendered}
    assert places == {NAMESPACE, "team-a", None}
    # The Namespace itself is in no namespace.
    assert [
        obj["rules"] for obj in rendered if "namespace" not in obj["metadata"] and "rules" in obj
    ] == [
        [
            {
                "apiGroups": [""],
                "resources": ["namespaces"],
                "resourceNames": ["team-a"],
                "verbs": ["get", "list", "watch"],
            }
        ]
    ]
    role = rendered.get("Role", "taskrunner-operator")
    assert role["metadata"]["namespace"] == "team-a"
    everywhere = Rendered(helm.template()).get("ClusterRole", "taskrunner-operator")
    beyond = [rule for rule in everywhere["rules"] if rule not in role["rules"]]
    assert [rule["resources"] for rule in beyond] == [["namespaces"]]
    assert all(rule in everywhere["rules"] for rule in role["rules"])


# --- policies -------------------------------------------------------------------------------------

POLICIES = ("ValidatingAdmissionPolicy", "MutatingAdmissionPolicy")


def test_policies_refuse_when_they_cannot_be_evaluated(default: Rendered) -> None:
    policies = [obj for obj in default if obj["kind"] in POLICIES]
    assert {obj["spec"]["failurePolicy"] for obj in policies} == {"Fail"}
    bindings = [obj["spec"] for obj in default if obj["kind"] == f"{POLICIES[0]}Binding"]
    assert all(spec["validationActions"] == ["Deny"] for spec in bindings)


@pytest.mark.parametrize("kind", POLICIES)
def test_every_policy_is_bound(rendered: Rendered, kind: str) -> None:
    bindings = [obj for obj in rendered if obj["kind"] == f"{kind}Binding"]
    assert sorted({obj["spec"]["policyName"] for obj in bindings}) == rendered.names(kind)


def test_with_one_namespace_the_policies_look_at_nothing_else(helm: Helm) -> None:
    rendered = Rendered(helm.template(NAMESPACED))
    selected = {"matchLabels": {"kubernetes.io/metadata.name": "team-a"}}
    names = [name for kind in POLICIES for name in rendered.names(kind) if "identity" in name]
    assert len(names) == 5
    for kind in POLICIES:
        for name in rendered.names(kind):
            if "identity" in name:
                found = rendered.get(kind, name)["spec"]["matchConstraints"]
                assert found["namespaceSelector"] == selected


def test_the_operator_of_the_policies_is_the_one_that_is_installed(default: Rendered) -> None:
    account = default.get("ServiceAccount", "taskrunner-operator")["metadata"]
    user = f"system:serviceaccount:{account['namespace']}:{account['name']}"
    spec = default.get(POLICIES[0], "taskrunner-identity-executions")["spec"]
    (condition,) = spec["matchConditions"]
    assert condition["expression"] == f'request.userInfo.username != "{user}"'


@pytest.mark.parametrize(
    ("version", "values", "policy"),
    [
        ("1.36.0", {}, True),
        ("1.35.2", {}, False),
        ("1.35.2", {"identity": {"stamp": "policy"}}, True),
        ("1.36.0", {"identity": {"stamp": "webhook"}}, False),
        ("1.36.0", {"identity": {"enabled": False}}, False),
    ],
)
def test_the_api_server_stamps_who_asked_where_it_can(
    helm: Helm, version: str, values: Json, policy: bool
) -> None:
    command = ("template", "taskrunner", CHART, f"--kube-version={version}")
    rendered = Rendered(helm.run(*command, values=values))
    assert bool(rendered.names("MutatingAdmissionPolicy")) is policy
    stamped = values.get("identity", {}).get("enabled", True)
    webhooks = rendered.names("MutatingWebhookConfiguration")
    assert bool(webhooks) is (stamped and not policy)
    # It may write the configuration exactly where there is one, and is told its name.
    role = rendered.get("ClusterRole", "taskrunner-webhook-configuration")
    allowed = [name for rule in role["rules"] for name in rule["resources"]]
    assert ("mutatingwebhookconfigurations" in allowed) is bool(webhooks)
    settings = webhook_settings.load(_environment(rendered, "webhook"))
    assert [settings.mutating_configuration_name] == (webhooks or [""])


@pytest.mark.parametrize(
    ("role", "verbs"),
    [
        ("view", {"get", "list", "watch"}),
        (
            "edit",
            {"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"},
        ),
        (
            "admin",
            {"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"},
        ),
    ],
)
def test_users_have_the_rights_of_kubernetes_own_roles(
    default: Rendered, role: str, verbs: set[str]
) -> None:
    found = default.get("ClusterRole", f"taskrunner-{role}")
    label = f"rbac.authorization.k8s.io/aggregate-to-{role}"
    assert found["metadata"]["labels"][label] == "true"
    by_resource = {
        name: set(rule["verbs"]) for rule in found["rules"] for name in rule["resources"]
    }
    for resource in ("scheduledtasks", "taskexecutions", "calendars"):
        assert by_resource[resource] == verbs
        assert by_resource[f"{resource}/status"] == {"get"}


# --- the fence ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "fence"),
    [
        pytest.param({}, Fence("taskrunner", f"{NAMESPACE}:taskrunner-operator", NAMESPACE)),
        pytest.param(
            NAMESPACED,
            Fence("taskrunner", f"{NAMESPACE}:taskrunner-operator", NAMESPACE, "team-a"),
        ),
        pytest.param(
            {
                "fullnameOverride": "tasks",
                "operator": {"serviceAccount": {"name": "runner"}},
            },
            Fence("tasks", f"{NAMESPACE}:runner", NAMESPACE),
        ),
    ],
)
def test_the_fence_is_that_of_the_program(helm: Helm, values: Json, fence: Fence) -> None:
    rendered = Rendered(helm.template(values))
    account = replace(fence, user=f"system:serviceaccount:{fence.user}")
    for expected in manifests(account):
        found = rendered.get(expected["kind"], expected["metadata"]["name"])
        assert found["spec"] == expected["spec"]


def test_the_fence_can_be_left_to_others(helm: Helm) -> None:
    rendered = Rendered(helm.template({"fence": {"enabled": False}}))
    assert "taskrunner-fence" not in rendered.names("ValidatingAdmissionPolicy")


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"replicas": 3}, "additional properties 'replicas' not allowed"),
        (
            {"settings": {"lokTtl": 15}},
            "at '/settings': additional properties 'lokTtl' not allowed",
        ),
        ({"settings": {"lockTtl": 1}}, "at '/settings/lockTtl': minimum: got 1, want 3"),
        ({"settings": {"logLevel": "loud"}}, "at '/settings/logLevel': value must be one of"),
        ({"settings": {"lockTtl": 10}}, "renewDeadline (10) < lockTtl (10) must hold"),
        ({"operator": {"replicas": "2"}}, "at '/operator/replicas': got string, want integer"),
        ({"image": {"digest": "latest"}}, "at '/image/digest': 'latest' does not match pattern"),
        ({"watchNamespace": "Team A"}, "at '/watchNamespace': 'Team A' does not match pattern"),
        (
            {"operator": {"serviceAccount": {"create": False}}},
            "operator.serviceAccount.name: with create: false, name the account that exists.",
        ),
    ],
)
def test_a_wrong_value_is_refused_by_name(helm: Helm, values: Json, said: str) -> None:
    with pytest.raises(CommandError) as error:
        helm.template(values)
    assert said in error.value.stderr


def test_the_chart_can_be_part_of_another_one(helm: Helm) -> None:
    assert helm.template({"global": {"anything": True}})


def test_every_value_has_a_comment() -> None:
    text = (CHART / "values.yaml").read_text()
    schema = json.loads((CHART / "values.schema.json").read_text())
    documented = {value.path for value in values_reference.documented(text)}
    assert documented == set(_leaves(schema, schema)) - {"global"}


# --- the test of `helm test` ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "verdict", "said"),
    [
        ({}, None, "has not seen the task"),
        ({"nextRunTime": "2026-01-01T00:00:10Z"}, None, "next run is due at 2026-01-01T00:00:10Z"),
        ({"lastExecution": {"name": "t-1", "phase": "Running"}}, None, "The run t-1 is Running."),
        (
            {
                "lastSuccessfulTime": "2026-01-01T00:00:12Z",
                "lastExecution": {"name": "t-1", "phase": "Succeeded"},
            },
            True,
            "The last, t-1",
        ),
        (
            {"lastFailureTime": "2026-01-01T00:00:12Z", "lastExecution": {"name": "t"}},
            False,
            "run t",
        ),
        (
            {"conditions": [{"type": "Ready", "status": "False", "reason": "R", "message": "M"}]},
            False,
            "not ready: R: M",
        ),
    ],
)
def test_the_test_pod_knows_how_a_task_is_doing(
    status: Json, verdict: bool | None, said: str
) -> None:
    code: dict[str, Any] = {"__name__": "wait_for_run"}
    exec((CHART / "files" / "wait_for_run.py").read_text(), code)  # it is no module of a package
    found, sentence = code["judge"](status)
    assert found is verdict
    assert said.lower() in sentence.lower()


def _without_crds(text: str) -> str:
    documents = text.split("---\n")
    return "---\n".join(d for d in documents if "\nkind: CustomResourceDefinition\n" not in d)


def _images(rendered: Rendered) -> set[str]:
    return {c["image"] for spec in rendered.pod_specs.values() for c in spec["containers"]}


def _environment(rendered: Rendered, component: str = "operator") -> dict[str, str]:
    """SCHEDULER_… variables as the pod has them."""
    deployment = rendered.get("Deployment", f"taskrunner-{component}")
    fields = {"metadata.namespace": deployment["metadata"]["namespace"]}
    return {
        entry["name"]: entry["value"]
        if "value" in entry
        else fields[entry["valueFrom"]["fieldRef"]["fieldPath"]]
        for entry in deployment["spec"]["template"]["spec"]["containers"][0]["env"]
        if entry["name"].startswith(operator_settings.PREFIX)
    }


def _leaves(node: Json, schema: Json, path: str = "") -> list[str]:
    """Paths of all values that the schema knows, down to what it leaves open."""
    if reference := node.get("$ref"):
        node = schema["definitions"][reference.removeprefix("#/definitions/")]
    if "properties" not in node or path.endswith("resources"):
        return [path]
    return [
        leaf
        for name, child in node["properties"].items()
        for leaf in _leaves(child, schema, f"{path}.{name}".removeprefix("."))
    ]
