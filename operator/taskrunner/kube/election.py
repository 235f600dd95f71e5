"""Holding a Lease: campaign, work, renew, stop in time, give it back.

Our own because none of the Python clients has one that is safe (docs/adr/0003). The decisions are
in `taskrunner.domain.election`; here is only their execution.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from taskrunner.domain.election import (
    Acquire,
    Durations,
    Lost,
    Record,
    Sighting,
    Wait,
    campaign,
    claim,
    defend,
    release,
    renewal,
    sight,
)
from taskrunner.errors import AlreadyExists, ApiError, Conflict, NotFound
from taskrunner.kube.bounded import bounded, first
from taskrunner.ports import LEASES, Api, Clock, Obj

log = logging.getLogger(__name__)

_MARGIN = 0.5
"""Seconds before the Lease may go to somebody else at which work that has not stopped is killed."""

_LEAST = 1.0
"""Seconds that work always gets to stop."""


def unique_identity(name: str = "") -> str:
    """A name for this process that no other ever has: the given one (the pod's; default: the
    host's) and eight hex digits."""
    return f"{name or socket.gethostname()}-{secrets.token_hex(4)}"


class _Validity:
    """Until when the holder may act, boot time."""

    def __init__(self, clock: Clock, sent: float, durations: Durations) -> None:
        self._clock = clock
        self._durations = durations
        self.renewed(sent)

    def renewed(self, sent: float) -> None:
        """A write that was sent at `sent` has succeeded."""
        self.until = sent + self._durations.renew_deadline
        self.hard_stop = sent + self._durations.lease - min(_MARGIN, self._durations.lease / 10)

    def end(self) -> None:
        self.until = float("-inf")

    def remaining(self) -> float:
        return max(0.0, self.until - self._clock.boot())


@dataclass(frozen=True, slots=True)
class Term:
    """One time of holding the Lease."""

    epoch: int
    """The Lease's `leaseTransitions`; grows from term to term while the Lease is not deleted."""
    identity: str
    remaining: Callable[[], float]
    """Seconds for which it is certain, by the boot clock, that nobody else holds the Lease, with
    time to spare for stopping; 0 when the term is over. Ask before each write, and bound it so."""


Work = Callable[[Term], Awaitable[None]]


class Elector:
    """One candidate for one Lease.

    `labels` are put on the Lease when it is written.

    Give it a client of its own (`ApiClient(…, pool=2)`), or a burst of writes delays renewals.
    `on_overrun` is called when work goes on although the Lease is about to expire elsewhere; it
    ends the process, because two at work are worse than none.
    """

    def __init__(
        self,
        api: Api,
        clock: Clock,
        namespace: str,
        lease_name: str,
        identity: str,
        durations: Durations | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        on_overrun: Callable[[], None] | None = None,
    ) -> None:
        self._api = api
        self._clock = clock
        self._namespace = namespace
        self._name = lease_name
        self._labels = dict(labels or {})
        self._identity = identity
        self._durations = durations or Durations()
        self._on_overrun = on_overrun or _exit
        self._seen: Sighting | None = None
        self._lease: Obj = {}
        self._complaint = ""
        self.term: Term | None = None
        """The present term; None while somebody else, or nobody, holds the Lease."""

    @property
    def holder(self) -> str:
        """Who held the Lease when it was last seen; empty when nobody did."""
        return self._seen.record.holder if self._seen and self._seen.record else ""

    def note(self, seen: Sighting) -> None:
        """What this process has seen of the Lease already: a holder that has died is not given all
        its time once more. Only while this does not run."""
        self._seen = seen

    async def run(self, on_started: Work) -> None:
        """Campaign, and run `on_started` in each term won.

        When the term is lost, the work is cancelled, awaited, and the campaign begins anew. When
        the work ends by itself, the Lease is given back and this returns, or raises what the work
        raised. When this is cancelled, the work is cancelled and awaited while the Lease is still
        renewed, and then the Lease is given back.
        """
        while True:
            validity = await self._win()
            if await self._serve(validity, on_started):
                return

    # --- campaign -------------------------------------------------------------------------------

    async def _win(self) -> _Validity:
        while True:
            try:
                seen = await self._look(self._durations.call)
                match campaign(seen, self._identity, self._clock.boot(), self._durations):
                    case Wait(seconds):
                        self._calm()
                        await self._clock.sleep(seconds)
                    case Acquire() as decision:
                        sent = self._clock.boot()
                        await self._take(decision)
                        self._calm()
                        log.info("Lease %s: acquired, term %d.", self._label, decision.transitions)
                        return _Validity(self._clock, sent, self._durations)
            except (AlreadyExists, Conflict):
                continue  # Somebody was faster; look who.
            except ApiError as error:
                self._complain("acquired", error)
                await self._clock.sleep(self._durations.retry)

    async def _take(self, decision: Acquire) -> None:
        spec = claim(decision, self._identity, self._clock.now(), self._durations)
        await self._write(spec, self._durations.call)

    # --- term -----------------------------------------------------------------------------------

    async def _serve(self, validity: _Validity, on_started: Work) -> bool:
        """Work until the work ends (True) or the term is lost (False)."""
        epoch = Record.of(self._lease).transitions
        self.term = term = Term(epoch, self._identity, validity.remaining)
        work = asyncio.ensure_future(on_started(term))
        keeper = asyncio.create_task(self._keep(validity))
        try:
            await asyncio.wait({work, keeper}, return_when=asyncio.FIRST_COMPLETED)
            finished = work.done()
        finally:
            # If the process dies from here on, the Lease expires by itself.
            await self._stop(work, validity)
            lost = keeper.done()
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
            validity.end()
            self.term = None
            if not lost:
                await self._give_back()
        if finished:
            await work
        elif not work.cancelled() and (error := work.exception()) is not None:
            log.error("Lease %s: the work failed while stopping.", self._label, exc_info=error)
        if lost:
            log.warning("Lease %s: lost, because %s.", self._label, keeper.result())
        return finished

    async def _keep(self, validity: _Validity) -> str:
        """Renew until that cannot go on; returns why."""
        pause = self._durations.retry
        while True:
            left = validity.until - self._clock.boot()
            await self._clock.sleep(min(pause, left))
            sent, pause = self._clock.boot(), self._durations.retry
            seen = self._seen or Sighting(None, sent)
            match defend(seen, self._identity, validity.until, sent, self._durations):
                case Lost(reason):
                    validity.end()
                    return reason
            limit = min(self._durations.call, validity.until - sent)
            try:
                spec = renewal(self._lease["spec"], self._clock.now())
                await self._write(spec, limit)
                validity.renewed(sent)
                self._calm()
            except (Conflict, NotFound):
                # Somebody else's write, or our own of which the answer was lost: look at once.
                if await self._look_again(validity):
                    pause = 0.0
            except ApiError as error:
                self._complain("renewed", error)

    async def _look_again(self, validity: _Validity) -> bool:
        limit = min(self._durations.call, validity.remaining())
        try:
            await self._look(limit)
        except ApiError as error:
            self._complain("read", error)
            return False
        return True

    async def _stop(self, work: asyncio.Future[None], validity: _Validity) -> None:
        """Cancel the work and wait for its end; if that takes until others may start, say so."""
        work.cancel()
        # A process that was suspended is past its hard stop when it wakes up, and needs a moment
        # to cancel; it does not act in it, because nothing remains of the term.
        least = self._clock.boot() + _LEAST
        while not work.done():
            hard_stop = max(least, validity.hard_stop)  # Moves while the Lease is renewed.
            left = hard_stop - self._clock.boot()
            if left <= 0:
                log.critical(
                    "Lease %s: the work does not stop, and the Lease is about to expire.",
                    self._label,
                )
                self._on_overrun()
                await asyncio.wait({work})
            elif await first(self._clock, left, work):
                return

    async def _give_back(self) -> None:
        """Best effort: when it fails, the others wait until the Lease expires."""
        try:
            try:
                await self._release()
            except Conflict:
                # A renewal was under way when it was cancelled, and the server has done it.
                seen = await self._look(self._durations.retry)
                if seen.record is None or seen.record.holder != self._identity:
                    return
                await self._release()
        except ApiError as error:
            log.warning("Lease %s: not released: %s", self._label, error)
        else:
            log.info("Lease %s: released.", self._label)

    async def _release(self) -> None:
        spec = release(self._lease["spec"], self._clock.now())
        await self._write(spec, self._durations.retry)

    # --- the Lease ------------------------------------------------------------------------------

    async def _look(self, seconds: float) -> Sighting:
        """Read the Lease. Its age counts from when the answer has come, the latest possible."""
        call = self._api.get(LEASES, self._namespace, self._name)
        try:
            self._lease = await bounded(self._clock, seconds, call)
        except NotFound:
            self._lease = {}
        record = Record.of(self._lease) if self._lease else None
        self._seen = sight(self._seen, record, self._clock.boot())
        return self._seen

    async def _write(self, spec: Obj, seconds: float) -> None:
        """Create the Lease or replace the one that was read (its version and uid are the
        preconditions). Raises ApiErrors."""
        if self._lease:
            body = {**self._lease, "spec": spec}
            if self._labels:
                meta = self._lease["metadata"]
                body["metadata"] = {**meta, "labels": (meta.get("labels") or {}) | self._labels}
            call = self._api.replace(LEASES, self._namespace, self._name, body, timeout=seconds)
        else:
            meta = {"name": self._name, "namespace": self._namespace}
            body = {
                "apiVersion": LEASES.api_version,
                "kind": LEASES.kind,
                "metadata": meta | ({"labels": self._labels} if self._labels else {}),
                "spec": spec,
            }
            call = self._api.create(LEASES, self._namespace, body, timeout=seconds)
        self._lease = await bounded(self._clock, seconds, call)
        self._seen = Sighting(Record.of(self._lease), self._clock.boot())

    # --- words ----------------------------------------------------------------------------------

    @property
    def _label(self) -> str:
        return f"{self._namespace}/{self._name}"

    def _complain(self, verb: str, error: ApiError) -> None:
        """Say what is wrong, once for as long as it stays the same."""
        if (text := str(error)) != self._complaint:
            self._complaint = text
            log.warning("Lease %s: not %s: %s", self._label, verb, text)

    def _calm(self) -> None:
        if self._complaint:
            self._complaint = ""
            log.info("Lease %s: reachable again.", self._label)


def _exit() -> None:
    # Not sys.exit: whatever holds up the work could hold up an orderly end as well.
    os._exit(70)
