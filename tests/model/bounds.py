"""How far the models are explored: in the tests, by --deep, and for each rule that is taken out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from model.election import ElectionModel
from model.explore import Model
from model.real import Scope
from model.resharding import RESHARDING_RULES, ReshardingModel
from model.rules import Rules
from model.run import FAULTS, RunModel

Models = dict[str, Model[Any]]

_ONE: Final = FAULTS - {"deleted Lease"}
"""What counts as one fault."""


def _run(faults: int, kinds: str | frozenset[str], without: str = "", **scope: Any) -> RunModel:
    """`kinds`: a set, or words divided by commas. `without`: a rule that is taken out."""
    some = frozenset(kinds.split(",")) if isinstance(kinds, str) else kinds
    return RunModel(Scope(**scope), faults, some, Rules().without(without) if without else Rules())


QUICK: Final[Models] = {
    "one slot, two faults": _run(2, FAULTS, slots=1),
    "one slot, a retry, one fault": _run(1, _ONE, slots=1, retries=1),
    "two slots, one fault": _run(1, _ONE, slots=2),
    "three slots, All, a kill": _run(1, "kill", slots=3, catch_up="All"),
    "two shards become three": ReshardingModel(),
}
"""With the unit tests."""

TESTED: Final[Models] = {
    "two slots, two faults of a replica": _run(2, "stop,silence", slots=2),
    "two slots, Forbid, two faults": _run(2, _ONE, slots=2, policy="Forbid"),
    "two slots, Forbid, a retry, one fault": _run(1, _ONE, slots=2, policy="Forbid", retries=1),
    "three slots, a kill or silence": _run(1, "kill,silence", slots=3),
    "three slots, Forbid, a stop": _run(1, "stop", slots=3, policy="Forbid"),
    "two candidates for a Lease, no fault": ElectionModel(faults=0),
}
"""With all tests: less than a minute."""

DEEP: Final[Models] = {
    "one slot, two retries, two faults": _run(2, _ONE, slots=1, retries=2),
    "two slots, two faults": _run(2, _ONE, slots=2),
    "two slots, All, two faults": _run(2, _ONE, slots=2, catch_up="All"),
    "two slots, a retry, one fault": _run(1, _ONE, slots=2, retries=1),
    "two slots, a deleted Lease": replace(_run(2, "deleted Lease", slots=2), overrun=1),
    "three slots, one fault": _run(1, _ONE, slots=3),
    "three slots, Forbid, two faults of a replica": _run(
        2, "stop,hand-over,silence", slots=3, policy="Forbid"
    ),
    "three slots, Forbid, one fault": _run(1, _ONE, slots=3, policy="Forbid"),
    "four slots, Forbid, one fault": _run(1, _ONE, slots=4, policy="Forbid"),
    "two candidates for a Lease, one fault": ElectionModel(faults=1),
}
"""By command: minutes."""

_LEASE: Final = ElectionModel(faults=1, kinds=frozenset(("deleted Lease",)))

WITHOUT: Final[Models] = {
    "fence": _run(1, "stop", "fence", slots=1),
    "settle": _run(1, "stop", "settle", slots=3),
    "released_clean": _run(1, "hand-over", "released_clean", slots=3),
    "raise_again": _run(2, "deleted Lease", "raise_again", slots=1),
    "decision_in_post": _run(1, "kill", "decision_in_post", slots=1),
    "freed_late": _run(1, "kill", "freed_late", slots=1),
    "roll_forward": _run(1, "kill", "roll_forward", slots=3),
    "look_after_silence": _run(1, "silence", "look_after_silence", slots=2, policy="Forbid"),
    "live_get": _run(1, "blind", "live_get", slots=1),
    "versioned": _run(1, "stop", "versioned", slots=1),
    "only_forward": _run(2, "deleted Lease", "only_forward", slots=1),
    "attempt_in_name": _run(0, "", "attempt_in_name", slots=1, retries=1),
    "valid_from_sending": ElectionModel(faults=0).without("valid_from_sending"),
    "versioned_lease": ElectionModel(faults=0).without("versioned_lease"),
    "deleted_is_not_free": _LEASE.without("deleted_is_not_free"),
    **{rule: ReshardingModel().without(rule) for rule in RESHARDING_RULES},
}
"""The smallest bounds in which it shows that a rule is missing."""
