"""Break things while tasks run, and account for every slot: `make chaos`.

Starts a cluster of the test bed (etcd with fsync), two or three replicas of the operator with the
chart's rights, and a few hundred tasks; then one fault after the other. Exits with 1 when a slot
was lost, doubled or stuck, and prints what is known of it.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from chaos.faults import FAULTS, Field
from chaos.install import install
from chaos.ledger import Ledger, Sink, seconds
from chaos.load import NAMESPACES, Task, tasks
from chaos.replicas import Replica
from chaos.report import Recorded, Report
from chaos.verdict import judge
from taskrunner.errors import ApiError, Transient
from taskrunner.kube.client import ApiClient
from taskrunner.kube.clock import SystemClock
from taskrunner.kube.config import from_kubeconfig
from taskrunner.kube.reflector import Reflector
from taskrunner.ports import JOBS, SCHEDULED_TASKS, TASK_EXECUTIONS, Obj
from testbed import Cluster, ClusterSpec

_SETTLE_SECONDS = 180.0
_WARM_UP_SECONDS = 15.0


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    spec = ClusterSpec(name="chaos", version=options.k8s_version, audit=True, fsync=True)
    directory = Path(tempfile.mkdtemp(prefix="chaos-"))
    with Cluster(spec) as cluster:
        report = asyncio.run(run(cluster, directory, options))
    print(report.text)
    if options.report is not None:
        options.report.write_text(report.text)
    if report.verdict.violations:
        print(f"chaos: the replicas' logs are in {directory}", file=sys.stderr)
        return 1
    shutil.rmtree(directory)
    return 0


async def run(cluster: Cluster, directory: Path, options: argparse.Namespace) -> Report:
    """The whole run on a cluster that is up."""
    rng = random.Random(options.seed)
    ledger = Ledger()
    kubeconfig = await asyncio.to_thread(install, cluster)
    for namespace in NAMESPACES:
        await asyncio.to_thread(cluster.kubectl, "create", "namespace", namespace)
    load = list(tasks(options.tasks, options.fast, rng))
    replicas = [Replica(f"r{n + 1}", kubeconfig, directory) for n in range(options.replicas)]
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            ApiClient(from_kubeconfig(str(cluster.kubeconfig)), clock, pool=16)
        )
        for replica in replicas:
            await replica.start()
            stack.push_async_callback(replica.stop)
        watches = [
            asyncio.create_task(
                Reflector(client, clock, TASK_EXECUTIONS, Sink(ledger, "execution")).run()
            ),
            asyncio.create_task(Reflector(client, clock, JOBS, Sink(ledger, "job")).run()),
        ]
        born = {}
        for task in load:
            obj = await _create(client, task)
            born[task.key] = seconds(obj["metadata"]["creationTimestamp"])
        ledger.say(f"{len(load)} tasks applied; {len(replicas)} replicas")
        await asyncio.sleep(_WARM_UP_SECONDS)
        field = Field(cluster, replicas, client, ledger, rng)
        recorded = await _break_things(field, options)
        decided = await _settle(client, load, ledger)
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
        memory = max(replica.memory() for replica in replicas)
        restarts = sum(replica.restarts for replica in replicas)
    ledger.audit(await asyncio.to_thread(lambda: list(cluster.audit_events(writes=True))))
    verdict = judge(load, born, decided, ledger)
    return Report(options, verdict, recorded, ledger, memory, restarts)


async def _create(client: ApiClient, task: Task) -> Obj:
    """Policies and definitions that were just made are not all known to the server at once."""
    while True:
        try:
            return await client.create(SCHEDULED_TASKS, task.namespace, task.manifest())
        except Transient:
            await asyncio.sleep(0.5)


async def _break_things(field: Field, options: argparse.Namespace) -> list[Recorded]:
    """Faults in random order, each kind as often as the others, until time and count are over."""
    end = time.monotonic() + options.minutes * 60
    recorded: list[Recorded] = []
    chosen = [f for f in FAULTS if not options.only or f.__name__ in options.only]
    bag: list[int] = []
    while time.monotonic() < end or len(recorded) < options.faults:
        if not bag:
            bag = field.rng.sample(range(len(chosen)), len(chosen))
        fault = chosen[bag.pop()]
        began = time.time()
        try:
            detail = await fault(field)
        except (ApiError, OSError) as error:
            detail = f"cut short: {error}"  # A fault may meet the one before it.
        recorded.append(Recorded(began, fault.__name__.replace("_", " "), detail))
        field.ledger.say(f"{len(recorded)}: {fault.__name__} {detail}")
        await asyncio.sleep(field.between(options.pause / 2, options.pause * 1.5))
    return recorded


async def _settle(client: ApiClient, load: list[Task], ledger: Ledger) -> dict[str, int]:
    """No faults any more: every slot until now must be decided, and every run must end. The answer
    is how far each task was decided."""
    until = int(time.time())
    ledger.say("no more faults; waiting until all is decided")
    deadline = time.monotonic() + _SETTLE_SECONDS
    decided: dict[str, int] = {}
    while time.monotonic() < deadline:
        await asyncio.sleep(2)
        for obj in await client.list(SCHEDULED_TASKS):
            meta, status = obj["metadata"], obj.get("status") or {}
            if at := status.get("decidedUntil"):
                decided[f"{meta['namespace']}/{meta['name']}"] = seconds(at)
        behind = [t for t in load if t.slots(decided.get(t.key, 0), until)]
        if not behind:
            break
    ledger.say(f"{len(behind)} tasks are behind; suspending all")
    for task in load:
        await client.patch(SCHEDULED_TASKS, task.namespace, task.name, {"spec": {"suspend": True}})
    while time.monotonic() < deadline + _SETTLE_SECONDS:
        await asyncio.sleep(2)
        executions = await client.list(TASK_EXECUTIONS)
        if all((e.get("status") or {}).get("completionTime") for e in executions):
            break
    ledger.say("settled")
    # Whoever is behind is judged up to where it should be, so that its slots count as lost.
    return {t.key: until if t in behind else decided[t.key] for t in load}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long (default: 10)")
    parser.add_argument("--faults", type=int, default=60, help="at least so many (default: 60)")
    parser.add_argument("--replicas", type=int, default=3, help="of the operator (default: 3)")
    parser.add_argument("--tasks", type=int, default=200, help="of 10 to 60 s (default: 200)")
    parser.add_argument("--fast", type=int, default=20, help="of 1 to 5 s (default: 20)")
    parser.add_argument(
        "--pause", type=float, default=3, help="seconds between faults (default: 3)"
    )
    parser.add_argument("--only", nargs="*", default=(), help="only these faults, by name")
    parser.add_argument("--seed", type=int, default=None, help="for the same order of faults")
    parser.add_argument("--k8s-version", default="1.36", help="minor version (default: 1.36)")
    parser.add_argument("--report", type=Path, default=None, help="also write the report here")
    return parser


if __name__ == "__main__":
    sys.exit(main())
