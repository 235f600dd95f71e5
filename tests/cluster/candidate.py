"""A process that stands for election, for tests that kill and stop it.

Usage: candidate.py KUBECONFIG NAMESPACE LEASE IDENTITY. Prints a line of JSON for each thing that
happens, with the boot time, which all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys

from taskrunner.domain.election import Durations
from taskrunner.kube.client import ApiClient
from taskrunner.kube.clock import SystemClock
from taskrunner.kube.config import from_kubeconfig
from taskrunner.kube.election import Elector, Term

DURATIONS = Durations(lease=4, renew_deadline=3, retry=0.5, poll=0.25)
CLOCK = SystemClock()


def say(what: str, **more: object) -> None:
    print(json.dumps({"what": what, "boot": CLOCK.boot(), **more}), flush=True)


async def work(term: Term) -> None:
    say("started", epoch=term.epoch)
    try:
        while True:
            # The instant before the check: no elector can help a process that is stopped between
            # its check and its act; that is what the fence is for.
            at = CLOCK.boot()
            if (left := term.remaining()) > 0:
                say("acted", boot=at, left=left)
            await CLOCK.sleep(0.02)
    finally:
        say("stopped")


async def main(kubeconfig: str, namespace: str, lease: str, identity: str) -> None:
    connection = from_kubeconfig(kubeconfig)
    async with ApiClient(connection, CLOCK, pool=2) as api:
        elector = Elector(api, CLOCK, namespace, lease, identity, DURATIONS)
        task = asyncio.create_task(elector.run(work))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        say("standing")
        await asyncio.wait({task})
        say("ended")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
