"""Kubeconfig files that hold all they need, so that they can be copied anywhere."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from testbed.certificates import write_private


def write(
    path: Path,
    *,
    url: str,
    ca: bytes,
    user: str,
    credentials: dict[str, Any],
    context: str,
    namespace: str = "default",
) -> Path:
    """Write a kubeconfig with one cluster, one user and one context.

    It is written as JSON, which every reader of YAML takes, kubectl included.

    Args:
        path: where to write it; readable for its owner only.
        url: the API server's address.
        ca: the certificate authority to trust, PEM.
        user: the entry's name; what the server calls the user stands in the credentials.
        credentials: `client_certificate(…)` or `token(…)`.
        context: the name of the context and the cluster.
        namespace: the namespace of commands that name none.
    """
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": context,
                "cluster": {"server": url, "certificate-authority-data": _base64(ca)},
            }
        ],
        "users": [{"name": user, "user": credentials}],
        "contexts": [
            {"name": context, "context": {"cluster": context, "user": user, "namespace": namespace}}
        ],
        "current-context": context,
    }
    write_private(path, json.dumps(config, indent=1).encode() + b"\n")
    return path


def client_certificate(certificate: bytes, key: bytes) -> dict[str, Any]:
    return {
        "client-certificate-data": _base64(certificate),
        "client-key-data": _base64(key),
    }


def token(value: str) -> dict[str, Any]:
    return {"token": value}


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
