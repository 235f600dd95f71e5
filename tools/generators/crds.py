"""`crds/`: the CustomResourceDefinitions, one file each."""

from __future__ import annotations

from typing import Any

import yaml

from taskrunner.api.crdgen import DEFINITIONS, definition
from taskrunner.api.v1alpha1.names import GROUP

HEADER = "# Generated from operator/taskrunner/api by `make generate`; do not edit.\n"


class _Dumper(yaml.SafeDumper):
    """Without anchors, and with list items indented as Kubernetes manifests have them."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def generate() -> dict[str, str]:
    """The text of each file by its path in the repository."""
    return {
        f"crds/{GROUP}_{of.resource.plural}.yaml": HEADER
        + yaml.dump(definition(of), Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True)
        for of in DEFINITIONS
    }
