"""`gitops/argocd/argocd-cm.yaml`: the health scripts as a patch to Argo CD's ConfigMap.

https://argo-cd.readthedocs.io/en/stable/operator-manual/health/#custom-health-checks
"""

from __future__ import annotations

from pathlib import Path
from textwrap import indent

_SCRIPTS = Path(__file__).parents[2] / "gitops" / "argocd" / "health"
_HEADER = """\
# Generated from gitops/argocd/health by `make generate`; do not edit.
# Teaches Argo CD the health of our kinds:
#   kubectl patch configmap argocd-cm -n argocd --patch-file gitops/argocd/argocd-cm.yaml
apiVersion: v1
kind: ConfigMap
metadata:
  name: argocd-cm
  namespace: argocd
  labels: {app.kubernetes.io/name: argocd-cm, app.kubernetes.io/part-of: argocd}
data:
"""


def generate() -> dict[str, str]:
    """The text of the file by its path in the repository."""
    entries = [
        f"  resource.customizations.health.taskrunner.dev_{script.stem}: |\n"
        + indent(script.read_text(encoding="utf-8"), "    ")
        for script in sorted(_SCRIPTS.glob("*.lua"))
    ]
    return {"gitops/argocd/argocd-cm.yaml": _HEADER + "".join(entries)}
