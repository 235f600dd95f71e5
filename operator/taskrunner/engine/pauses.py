"""Pauses beside a task's own `suspend`: of a namespace, and of the whole operator.

A pause keeps everything from starting: slots stay undecided, as under suspend, and runs that were
asked for stay Pending. What runs goes on, its retries included. A pause costs one write for each
task that has a slot due in it and for each run that it holds, and none for the others.
"""

from __future__ import annotations

from taskrunner.api.v1alpha1.names import LABEL_PAUSED


class Pauses:
    """What is paused now, as far as the watches know."""

    def __init__(self) -> None:
        self.namespaces: set[str] = set()
        self.operator = ""
        """`namespace/name` of the ConfigMap that pauses the operator; empty while none does."""
        self.weights: dict[str, int] = {}
        """Of namespaces, beside one another; 1 for others. From the same ConfigMap."""

    def why(self, namespace: str) -> str:
        """Why nothing starts in a namespace and how to go on, as sentences; "" when it may."""
        if self.operator:
            at, _, name = self.operator.partition("/")
            return (
                "The operator is paused: no run starts. To go on: kubectl patch configmap"
                f' {name} -n {at} --type=merge -p \'{{"data":{{"paused":"false"}}}}\''
            )
        if namespace in self.namespaces:
            return (
                f'Namespace "{namespace}" is paused: no run starts in it. To go on: kubectl label'
                f" namespace {namespace} {LABEL_PAUSED}-"
            )
        return ""
