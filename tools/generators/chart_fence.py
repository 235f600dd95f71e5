"""`helm/taskrunner/files/fence.yaml`: the fence for the chart, with marks that a template replaces.

`binding` is that of one shard; the template makes one for each.
"""

from __future__ import annotations

import yaml

from taskrunner.api.fence import Fence, manifests

_PATH = "helm/taskrunner/files/fence.yaml"
_HEADER = "# Generated from operator/taskrunner/api/fence.py by `make generate`; do not edit.\n"


def generate() -> dict[str, str]:
    """The text of the file by its path in the repository."""
    policy, binding, others = manifests(Fence("@NAME@", "@USER@", "@NAMESPACE@"))
    text = yaml.dump({"policy": policy, "others": others}, sort_keys=False, width=100)
    one = yaml.dump({"binding": binding}, sort_keys=False, width=100)
    for mark in ("fence-0", "shard-0", "'0'"):
        assert mark in one
        one = one.replace(mark, mark.replace("0", "@SHARD@"))
    return {_PATH: _HEADER + text + one}
