"""A shard's turn: raise the epoch, let the fence settle, see that it stands; and give it back.

The order makes a take-over safe: hold the Lease, raise, settle, list, act. What an earlier term has
slipped in before the fence settled is in the list; what comes later is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from taskrunner.api.fence import refusal
from taskrunner.api.v1alpha1.names import shard_object
from taskrunner.domain.fence import (
    Finding,
    Obj,
    Tried,
    Writer,
    epoch_text,
    follows_release,
    judge,
    probes,
    raised,
    signed,
)
from taskrunner.engine.numbers import FIRST, Numbers
from taskrunner.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    NotFound,
    Refused,
    TermOver,
    Transient,
)
from taskrunner.ports import JOBS, SHARDS, TASK_EXECUTIONS, Api, Clock, Term

log = logging.getLogger(__name__)

CALL_SECONDS: Final = 5.0
PAUSE_SECONDS: Final = 0.2
"""Between two tries at something that cannot be done now."""


@dataclass(frozen=True, slots=True)
class Turn:
    """`ports.Term` with the epoch that the fence lets in."""

    identity: str
    epoch: int
    remaining: Callable[[], float]
    settled: bool
    """Nothing of the epoch before is under way: its holder said so when it left."""

    @property
    def text(self) -> str:
        """The epoch as it is written."""
        return epoch_text(self.identity, self.epoch)


class Fence:
    """The fence of one shard, for one replica.

    `probe_namespace` is where the operator may create executions and Jobs; dry runs go there.
    """

    def __init__(
        self,
        api: Api,
        clock: Clock,
        *,
        namespace: str,
        shard: str,
        shards: int,
        probe_namespace: str,
        settle_seconds: float,
    ) -> None:
        self._api = api
        self._clock = clock
        self._namespace = namespace
        self._shard = shard
        self._shards = shards
        self._numbers = Numbers(api, namespace, shards)
        self.name = shard_object(shard)
        self._last = 0
        """The last number that this process has tried to take."""
        self.shard_object: Obj = {}
        """The Shard as last written; empty before."""
        self._probe_namespace = probe_namespace
        self._settle_seconds = settle_seconds

    async def raise_epoch(
        self,
        term: Term,
        *,
        may: Callable[[Obj | None], Awaitable[bool]] | None = None,
        closing: int = 0,
    ) -> Turn:
        """Shut out everybody else. Raises TermOver when the Lease runs out before it is done, and
        OtherNumber when another number of shards is in force.

        A process that is stopped right here and goes on after another has raised the epoch meets a
        Conflict, reads again, and finds that its Lease is over. A crash leaves an epoch whose
        holder does nothing; the next one raises it further.

        `may` and `closing` are for a change of the number of shards: asked instead of the number in
        force, between reading the Shard and writing it; and what to write as `spec.closing`.
        """
        said = ""
        while True:
            limit = self._limit(term)
            try:
                present = await self._read()
                if not await (may or self._may_begin)(present):
                    await self._clock.sleep(PAUSE_SECONDS)
                    continue
                before = present["spec"] if present else None
                spec = raised(before, term.identity, self._at_least(term), self._shards)
                if closing:
                    spec["closing"] = closing
                self._last = int(spec["number"])
                await self._write(present, spec, limit)
            except (AlreadyExists, Conflict):
                continue  # Somebody was faster; look again, while the Lease is ours.
            except ApiError as error:
                if said != (said := _why(error)):
                    log.warning("Shard %s: the epoch is not raised: %s", self.name, said)
                await self._clock.sleep(PAUSE_SECONDS)
            else:
                number = int(spec["number"])
                return Turn(term.identity, number, term.remaining, follows_release(before))

    async def settle(self, turn: Turn) -> None:
        """Wait until every API server refuses the epoch before (measured: 0.3 s at most)."""
        if not turn.settled:
            await self._clock.sleep(self._settle_seconds)

    async def stand(
        self, turn: Turn, *, required: bool, tell: Callable[[Finding], None]
    ) -> Finding:
        """Return when the fence stands, or, if it is not required, when it lets us in.

        A fence that comes into being only now has to settle, too. `tell` hears of each finding.
        Raises TermOver when the term ends meanwhile.
        """
        stood = True
        while True:
            self._limit(turn)
            try:
                finding = await self.inspect(turn)
            except Transient as error:
                log.info("Shard %s: the fence cannot be tried: %s", self.name, error)
                await self._clock.sleep(PAUSE_SECONDS)
                continue
            tell(finding)
            match finding.standing:
                case "Active" if not stood:
                    stood = True
                    await self._clock.sleep(self._settle_seconds)
                    continue
                case "Active" | "Unknown":
                    return finding
                case "Missing" if not required:
                    return finding
                case "Closed" if not await self.is_ours(turn):
                    raise TermOver("Somebody else has raised the shard's epoch.")
            stood = finding.standing == "Closed" and stood
            await self._clock.sleep(PAUSE_SECONDS)

    async def inspect(self, turn: Turn) -> Finding:
        """Try the fence with dry runs: nothing is written. The epoch of number 0 never was.
        Raises Transient."""
        execution, job = probes(self._probe_namespace)
        ours = Writer(self._shard, turn.text)
        stale = Writer(self._shard, epoch_text(turn.identity, 0))
        let_in = await self._try(signed(execution, ours))
        refused = {body["kind"]: await self._try(signed(body, stale)) for body in (execution, job)}
        return judge(let_in, refused)

    async def is_ours(self, turn: Turn) -> bool:
        """Whether the Shard on the server itself names our epoch. When that cannot be read, it is
        taken for ours: the fence decides, and it is asked with every write."""
        try:
            present = await self._read()
        except ApiError:
            return True
        return present is not None and present["spec"]["epoch"] == turn.text

    async def release(self, turn: Turn) -> None:
        """Say that nothing of our epoch is under way, so that the next holder need not wait.

        Only for somebody who has had an answer to every write. Best effort: without it, the next
        one waits. A crash before costs the next holder the time to settle.
        """
        if turn.remaining() <= 0:
            return
        try:
            present = await self._read()
            if present is not None and present["spec"]["epoch"] == turn.text:
                spec = {**present["spec"], "released": True}
                await self._write(present, spec, min(CALL_SECONDS, turn.remaining()))
        except ApiError as error:
            log.info("Shard %s: not marked as released: %s", self.name, error)

    async def close(self, turn: Turn) -> None:
        """Take `spec.closing` away. Raises TermOver when somebody else has raised the epoch, or the
        Lease runs out. A crash before leaves it to whoever takes the Lease next."""
        while True:
            limit = self._limit(turn)
            try:
                present = await self._read()
                if present is None or present["spec"]["epoch"] != turn.text:
                    raise TermOver("Somebody else has raised the shard's epoch.")
                spec = {k: v for k, v in present["spec"].items() if k != "closing"}
                await self._write(present, spec, limit)
            except Conflict:
                continue
            except ApiError as error:
                log.info("Shard %s: closing is not taken away: %s", self.name, error)
                await self._clock.sleep(PAUSE_SECONDS)
            else:
                return

    # --- how ------------------------------------------------------------------------------------

    async def _may_begin(self, present: Obj | None) -> bool:
        if self._shards == 1 and self._shard != FIRST:
            return True  # Not one of several, but one by itself.
        return await self._numbers.agree(self._shard, present)

    def _at_least(self, term: Term) -> int:
        return max(term.epoch, self._last) + 1

    def _limit(self, term: Term) -> float:
        remaining = term.remaining()
        if remaining <= 0:
            raise TermOver("The shard's Lease may have passed to another replica.")
        return min(remaining, CALL_SECONDS)

    async def _read(self) -> Obj | None:
        try:
            return await self._api.get(SHARDS, self._namespace, self.name)
        except NotFound:
            return None

    async def _write(self, present: Obj | None, spec: Obj, limit: float) -> None:
        if present is not None:
            body = {**present, "spec": spec}
            self.shard_object = await self._api.replace(
                SHARDS, self._namespace, self.name, body, timeout=limit
            )
            return
        body = {
            "apiVersion": SHARDS.api_version,
            "kind": SHARDS.kind,
            "metadata": {"name": self.name, "namespace": self._namespace},
            "spec": spec,
        }
        self.shard_object = await self._api.create(SHARDS, self._namespace, body, timeout=limit)

    async def _try(self, body: Obj) -> Tried:
        resource = JOBS if body["kind"] == JOBS.kind else TASK_EXECUTIONS
        try:
            await self._api.create(
                resource, self._probe_namespace, body, dry_run=True, timeout=CALL_SECONDS
            )
        except AlreadyExists:
            return Tried(accepted=True)
        except Transient:
            raise
        except ApiError as error:
            fenced = refusal(str(error))
            return Tried(False, fenced is not None, fenced or str(error))
        return Tried(accepted=True)


def _why(error: ApiError) -> str:
    if isinstance(error, NotFound):
        return "the definition of Shard, or the operator's namespace, is missing; apply crds/"
    if isinstance(error, Refused) and error.code == 403:
        return f"{error}; the operator needs get, create and update of shards in its namespace"
    return str(error)
