"""Paths, queries and watch lines of the Kubernetes API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from urllib.parse import quote, urlencode

import orjson

from taskrunner.kube.source import Batch
from taskrunner.kube.transport import no_answer
from taskrunner.ports import Resource


def url_path(resource: Resource, namespace: str, name: str = "", subresource: str = "") -> str:
    """Where the API server keeps a collection, an object, or a part of one."""
    path = _collection(resource, namespace)
    if name:
        path += f"/{quote(name, safe='')}"
    return f"{path}/{subresource}" if subresource else path


@lru_cache(4_096)
def _collection(resource: Resource, namespace: str) -> str:
    root = f"/apis/{resource.group}" if resource.group else "/api"
    scope = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
    return f"{root}/{resource.version}{scope}/{resource.plural}"


def url_query(parameters: Mapping[str, str]) -> str:
    """`?…` with the parameters that have a value."""
    given = {key: value for key, value in parameters.items() if value}
    return f"?{urlencode(given)}" if given else ""


def decoded(what: str, lines: Iterable[bytes]) -> Batch:
    """Decode one event at a time: each is gone before the next one comes, which takes a third of
    the CPU of decoding all that has arrived first (bench/kube)."""
    for line in lines:
        if line:
            try:
                event = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise no_answer(what, error) from error
            yield event["type"], event["object"]
