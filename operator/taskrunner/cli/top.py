"""`taskrunner top`: what runs and waits now, how long, and what it uses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import typer

from taskrunner.cli.cluster import (
    AllNamespaces,
    Kubeconfig,
    KubeContext,
    Namespace,
    on_cluster,
    place_of,
    status_of,
)
from taskrunner.cli.shared import Session, fail
from taskrunner.cli.tables import Format, Output, table, write_data
from taskrunner.cli.times import instant, length, milliseconds
from taskrunner.cli.upcoming import NOT_ENDED
from taskrunner.errors import ApiError
from taskrunner.ports import SHARDS, TASK_EXECUTIONS, Api, Clock, Obj, Resource

POD_METRICS: Final = Resource("metrics.k8s.io", "v1beta1", "pods", "PodMetrics")
_CPU: Final = {"n": 1e-6, "u": 1e-3, "m": 1.0, "": 1e3}
_MEMORY: Final = {"": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "k": 10**3, "M": 10**6, "G": 10**9}


@dataclass(slots=True)
class Load:
    """What a task has under way."""

    active: int = 0
    waiting: int = 0
    retrying: int = 0
    longest: int = 0
    """Seconds since its oldest active run started."""
    oldest: int = 0
    """Seconds since the first of what waits was to start."""
    lag: int | None = None
    """The longest start lag of what is active, in milliseconds."""
    cpu: float = 0.0
    """Thousandths of a core."""
    memory: int = 0
    runs: list[str] = field(default_factory=list)

    def data(self) -> dict[str, Any]:
        """For programs; what is not known is left out."""
        found: dict[str, Any] = {
            "active": self.active,
            "waiting": self.waiting,
            "retrying": self.retrying,
            "longestSeconds": self.longest,
            "oldestWaitSeconds": self.oldest,
        }
        if self.lag is not None:
            found["startLagMilliseconds"] = self.lag
        if self.memory:
            found |= {"cpuMillicores": round(self.cpu), "memoryBytes": self.memory}
        return found


def top(
    context: typer.Context,
    all_namespaces: AllNamespaces = False,
    by: Annotated[
        str, typer.Option("--sort", help="active, waiting, longest, cpu or memory.")
    ] = "active",
    namespace: Namespace = "",
    output: Output = Format.table,
    kubeconfig: Kubeconfig = "",
    kube_context: KubeContext = "",
) -> None:
    """Show what runs and what waits, by task, and how the operator keeps up.

      taskrunner top -A

      taskrunner top -n qa --sort waiting

    CPU and memory are there when the cluster has a metrics server. The lag of a shard is the
    longest time from due to started in the last minute.
    """
    if by not in ("active", "waiting", "longest", "cpu", "memory"):
        fail(f'--sort "{by}": That is no column. Write active, waiting, longest, cpu or memory.')
    if output is Format.name:
        fail("-o name is for objects, and this is none. Write -o json.")
    clock: Clock = context.obj.clock

    async def work(session: Session) -> int:
        where = "" if all_namespaces else namespace or session.namespace
        runs = await session.api.list(TASK_EXECUTIONS, namespace=where, field_selector=NOT_ENDED)
        loads = measure(runs, await _metrics(session.api, where), clock.now())
        ranked = sorted(loads.items(), key=lambda item: (-getattr(item[1], by), item[0]))
        shards = await _shards(session.api)
        if output in (Format.json, Format.yaml):
            tasks = [{"namespace": n, "task": t, **load.data()} for (n, t), load in ranked]
            write_data({"shards": [_shard_data(shard) for shard in shards], "tasks": tasks}, output)
            return 0
        for shard in shards:
            typer.echo(_shard_line(shard, clock.now()))
        _print(ranked, output)
        return 0

    on_cluster(context, kubeconfig, kube_context, work)


def measure(
    runs: Iterable[Obj], metrics: Mapping[tuple[str, str], tuple[float, int]], now: float
) -> dict[tuple[str, str], Load]:
    """What each task has under way; `metrics` by namespace and execution."""
    found: dict[tuple[str, str], Load] = defaultdict(Load)
    for run in runs:
        namespace, name = place_of(run)
        status = status_of(run)
        load = found[namespace, run["spec"]["taskRef"]["name"]]
        load.runs.append(name)
        due = instant(run["spec"].get("notBefore") or run["spec"].get("scheduledTime"))
        created = instant(run["metadata"].get("creationTimestamp")) or int(now)
        phase = status.get("phase", "Pending")
        if phase == "Retrying":
            load.retrying += 1
        if phase in ("Running", "Retrying"):
            load.active += 1
            started = instant(status.get("startTime"))
            load.longest = max(load.longest, int(now) - (started or created))
            if (lag := status.get("startLagMilliseconds")) is not None:
                load.lag = max(load.lag or 0, lag)
        else:
            load.waiting += 1
            load.oldest = max(load.oldest, int(now) - max(created, due or 0), 0)
        cpu, memory = metrics.get((namespace, name), (0.0, 0))
        load.cpu += cpu
        load.memory += memory
    return dict(found)


async def _metrics(api: Api, namespace: str) -> dict[tuple[str, str], tuple[float, int]]:
    """CPU and memory of the pods of runs; empty without a metrics server."""
    from taskrunner.api.v1alpha1.names import LABEL_EXECUTION

    try:
        pods = await api.list(POD_METRICS, namespace=namespace, label_selector=LABEL_EXECUTION)
    except ApiError:
        return {}
    found: dict[tuple[str, str], tuple[float, int]] = defaultdict(lambda: (0.0, 0))
    for pod in pods:
        key = (pod["metadata"]["namespace"], pod["metadata"]["labels"][LABEL_EXECUTION])
        for container in pod.get("containers") or ():
            usage = container.get("usage") or {}
            cpu, memory = found[key]
            cpu += quantity(usage.get("cpu", "0"), _CPU)
            found[key] = cpu, memory + int(quantity(usage.get("memory", "0"), _MEMORY))
    return dict(found)


def quantity(text: str, units: Mapping[str, float]) -> float:
    """A Kubernetes quantity in the measure of `units`; 0 for one that is not understood.

    >>> quantity("250m", {"m": 1.0, "": 1000.0})
    250.0
    """
    number = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    try:
        return float(number) * units[text[len(number) :]]
    except (ValueError, KeyError):
        return 0.0


async def _shards(api: Api) -> list[Obj]:
    """The shards, where the user may see them."""
    try:
        return await api.list(SHARDS)
    except ApiError:
        return []


def _shard_data(shard: Obj) -> dict[str, Any]:
    status = status_of(shard)
    kept = ("holder", "tasks", "agenda", "lagMilliseconds", "lastUpdateTime")
    name = {"namespace": shard["metadata"]["namespace"], "name": shard["metadata"]["name"]}
    return name | {field: status[field] for field in kept if field in status}


def _shard_line(shard: Obj, now: float) -> str:
    namespace, name = place_of(shard)
    status = status_of(shard)
    lag = milliseconds(status.get("lagMilliseconds")) or "nothing started"
    told = instant(status.get("lastUpdateTime"))
    age = "" if told is None else f" (told {length(now - told)} ago)"
    return (
        f"{namespace}/{name}: holder {status.get('holder') or 'nobody'},"
        f" {status.get('tasks', 0)} tasks, lag {lag}{age}"
    )


def _print(ranked: list[tuple[tuple[str, str], Load]], output: Format) -> None:
    total = Load()
    rows: list[list[str]] = []
    known = any(load.memory for _, load in ranked)
    for (namespace, task), load in ranked:
        total.active += load.active
        total.waiting += load.waiting
        row = [namespace, task, str(load.active), str(load.waiting), str(load.retrying)]
        row += [length(load.longest) if load.active else "", milliseconds(load.lag)]
        row += [length(load.oldest) if load.waiting else ""]
        row += [f"{load.cpu:.0f}m", f"{load.memory / 2**20:.0f}Mi"] if known else []
        row += [", ".join(load.runs)] if output is Format.wide else []
        rows.append(row)
    if not rows:
        typer.echo("Nothing runs and nothing waits.", err=True)
        return
    titles = ["NAMESPACE", "TASK", "ACTIVE", "WAITING", "RETRYING", "LONGEST", "LAG", "OLDEST WAIT"]
    titles += ["CPU", "MEMORY"] if known else []
    titles += ["RUNS"] if output is Format.wide else []
    table(titles, rows)
    typer.echo(f"{total.active} active, {total.waiting} waiting", err=True)
