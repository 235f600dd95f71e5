"""The chart's admission policies on a cluster without the rest of the chart, for one namespace."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from charts import CHART, Helm, Json, Rendered
from testbed.base import BaseCluster

POLICY_KINDS: Final = (
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
)
OPERATOR: Final = "taskrunner-operator"
"""Name of the operator's ServiceAccount in what is rendered."""


@dataclass(frozen=True)
class Policies:
    """What `templates/policies` of the chart renders to, for one watched namespace.

    The names of the objects begin with the namespace's, so that the policies of several namespaces
    can be on one cluster; none of them looks at objects of other namespaces. The operator is the
    ServiceAccount `taskrunner-operator` of the same namespace.
    """

    cluster: BaseCluster
    namespace: str
    objects: tuple[Json, ...]
    stamping: Json | None
    """The MutatingWebhookConfiguration, where the webhook writes down who asked."""

    @classmethod
    def render(
        cls, cluster: BaseCluster, helm: Helm, namespace: str, values: Json | None = None
    ) -> Policies:
        """Render with the cluster's own version, as an install would."""
        version = json.loads(cluster.kubectl("get", "--raw=/version"))["gitVersion"]
        found = Rendered(
            helm.run(
                *("template", "taskrunner", CHART, f"--namespace={namespace}"),
                *(f"--kube-version={version}", f"--set=watchNamespace={namespace}"),
                f"--set=fullnameOverride={namespace}",
                f"--set=operator.serviceAccount.name={OPERATOR}",
                values=values or {},
            )
        )
        objects = [obj for obj in found if obj["kind"] in POLICY_KINDS]
        # The webhook's own policy is told apart by its label.
        component = "app.kubernetes.io/component"
        ours = [obj for obj in objects if obj["metadata"]["labels"].get(component) != "webhook"]
        stamping = [obj for obj in found if obj["kind"] == "MutatingWebhookConfiguration"]
        return cls(cluster, namespace, tuple(ours), stamping[0] if stamping else None)

    def names(self, kind: str) -> list[str]:
        """Names of the policies of a kind."""
        return [obj["metadata"]["name"] for obj in self.objects if obj["kind"] == kind]

    def install(self) -> None:
        """Apply them. It takes a second or more until the API server follows them."""
        items = {"apiVersion": "v1", "kind": "List", "items": list(self.objects)}
        self.cluster.kubectl("apply", "-f", "-", input=items)

    def remove(self) -> None:
        """Delete them; those that are gone already are fine."""
        for kind in reversed(POLICY_KINDS):
            if names := self.names(kind):
                self.cluster.kubectl("delete", kind, "--ignore-not-found", *names)
