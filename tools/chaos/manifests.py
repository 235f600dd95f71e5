"""What faults apply to the cluster, and take away again."""

from __future__ import annotations

from typing import Any, Final

from chaos.install import ACCOUNT, NAMESPACE

FLOW_CONTROL: Final[list[dict[str, Any]]] = [
    {
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "kind": "PriorityLevelConfiguration",
        "metadata": {"name": "chaos-nothing"},
        "spec": {
            "type": "Limited",
            "limited": {
                "nominalConcurrencyShares": 0,
                "borrowingLimitPercent": 0,
                "limitResponse": {"type": "Reject"},
            },
        },
    },
    {
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "kind": "FlowSchema",
        "metadata": {"name": "chaos-operator"},
        "spec": {
            "priorityLevelConfiguration": {"name": "chaos-nothing"},
            "matchingPrecedence": 2,
            "rules": [
                {
                    "subjects": [
                        {
                            "kind": "ServiceAccount",
                            "serviceAccount": {"namespace": NAMESPACE, "name": ACCOUNT},
                        }
                    ],
                    "resourceRules": [
                        {
                            "verbs": ["*"],
                            "apiGroups": ["*"],
                            "resources": ["*"],
                            "clusterScope": True,
                            "namespaces": ["*"],
                        }
                    ],
                }
            ],
        },
    },
]

BROKEN_WEBHOOK: Final[dict[str, Any]] = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingWebhookConfiguration",
    "metadata": {"name": "chaos-broken"},
    "webhooks": [
        {
            "name": "broken.chaos.example",
            "clientConfig": {"url": "https://127.0.0.1:1/"},
            "rules": [
                {
                    "apiGroups": ["batch", "taskrunner.dev"],
                    "apiVersions": ["*"],
                    "operations": ["CREATE"],
                    "resources": ["jobs", "taskexecutions"],
                }
            ],
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "timeoutSeconds": 1,
        }
    ],
}
