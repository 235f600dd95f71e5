"""The chart with several shards: a binding of the fence for each, and two rights more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from charts import NAMESPACE, Helm, Json, Rendered
from taskrunner.api.fence import Fence, manifests
from testbed.errors import CommandError

pytestmark = pytest.mark.timeout(600)  # the first of them may have to build helm

FENCE = Fence(
    "taskrunner", f"system:serviceaccount:{NAMESPACE}:taskrunner-operator", NAMESPACE, shards=1
)


@pytest.fixture(scope="module")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return Helm(tmp_path_factory.mktemp("helm"))


def of(shards: int) -> Json:
    return {"settings": {"shards": shards}}


@pytest.mark.parametrize("shards", [1, 2, 32])
def test_each_shard_has_its_binding_and_one_is_for_all_others(helm: Helm, shards: int) -> None:
    rendered = Rendered(helm.template(of(shards)))
    expected = manifests(replace(FENCE, shards=shards))
    for obj in expected:
        assert rendered.get(obj["kind"], obj["metadata"]["name"])["spec"] == obj["spec"]
    bindings = rendered.names("ValidatingAdmissionPolicyBinding")
    assert len([name for name in bindings if "-fence-" in name]) == shards + 1


@pytest.mark.parametrize(
    ("shards", "verbs"),
    [(1, ["get", "create", "update"]), (2, ["get", "create", "update", "list", "delete"])],
)
def test_only_several_shards_need_to_see_and_delete_leases(
    helm: Helm, shards: int, verbs: list[str]
) -> None:
    rendered = Rendered(helm.template(of(shards)))
    role = rendered.get("Role", "taskrunner-operator-leader-election")
    (rule,) = (rule for rule in role["rules"] if rule["resources"] == ["leases"])
    assert rule["verbs"] == verbs
    (everywhere,) = (
        rule
        for rule in rendered.get("ClusterRole", "taskrunner-operator")["rules"]
        if rule["resources"] == ["leases"]
    )
    assert everywhere["verbs"] == ["get", "create", "update"]


@pytest.mark.parametrize("shards", [0, 33])
def test_other_numbers_are_refused(helm: Helm, shards: int) -> None:
    with pytest.raises(CommandError) as error:
        helm.template(of(shards))
    assert "at '/settings/shards'" in error.value.stderr
