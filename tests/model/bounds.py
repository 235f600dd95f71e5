"""How far the models are explored: in the tests, by --deep, and for each rule that is taken out."""

from __future__ import annotations

from typing import Any, Final

from model.election import ElectionModel
from model.explore import Model
from model.real import Scope
from model.rules import Rules
from model.run import FAULTS, Fault, RunModel

_OF_ONE: Final = frozenset[Fault](FAULTS) - {"deleted Lease"}
"""A deleted Lease costs two."""
_OF_A_REPLICA: Final = frozenset[Fault](("stop", "silence"))

Models = dict[str, Model[Any]]

QUICK: Final[Models] = {
    "one slot, two faults of any kind": RunModel(Scope(slots=1), faults=2),
    "two slots, one fault of any kind": RunModel(Scope(slots=2), faults=1),
    "three slots, All, a kill": RunModel(
        Scope(slots=3, catch_up="All"), 1, frozenset[Fault](("kill",))
    ),
}
"""With the unit tests."""

TESTED: Final[Models] = {
    "two slots, two faults of a replica": RunModel(Scope(slots=2), 2, _OF_A_REPLICA),
    "two slots, Forbid, two faults": RunModel(Scope(slots=2, policy="Forbid"), 2, _OF_ONE),
    "three slots, Last, a kill or silence": RunModel(
        Scope(slots=3), 1, frozenset[Fault](("kill", "silence"))
    ),
    "three slots, Forbid, one fault": RunModel(Scope(slots=3, policy="Forbid"), 1, _OF_ONE),
    "two candidates for a Lease, no fault": ElectionModel(faults=0),
}
"""With all tests: less than a minute."""

DEEP: Final[Models] = {
    "two slots, two faults of any kind": RunModel(Scope(slots=2), 2, _OF_ONE),
    "two slots, All, two faults of any kind": RunModel(Scope(slots=2, catch_up="All"), 2, _OF_ONE),
    "two slots, a deleted Lease": RunModel(
        Scope(slots=2), 2, frozenset[Fault](("deleted Lease",)), overrun=1
    ),
    "three slots, one fault of any kind": RunModel(Scope(slots=3), 1, _OF_ONE),
    "three slots, Forbid, two faults of a replica": RunModel(
        Scope(slots=3, policy="Forbid"), 2, _OF_A_REPLICA
    ),
    "four slots, Forbid, one fault": RunModel(Scope(slots=4, policy="Forbid"), 1, _OF_ONE),
    "two candidates for a Lease, one fault of any kind": ElectionModel(faults=1),
}
"""By command."""


def _without(
    rule: str, slots: int, *kinds: Fault, faults: int = 1, forbid: bool = False
) -> RunModel:
    scope = Scope(slots=slots, policy="Forbid" if forbid else "Allow")
    return RunModel(scope, faults, frozenset(kinds), Rules().without(rule))


_LEASE: Final = ElectionModel(faults=1, kinds=frozenset(("deleted Lease",)))

WITHOUT: Final[Models] = {
    "fence": _without("fence", 1, "stop"),
    "settle": _without("settle", 3, "stop"),
    "decision_in_post": _without("decision_in_post", 1, "kill"),
    "freed_late": _without("freed_late", 1, "kill"),
    "roll_forward": _without("roll_forward", 3, "kill"),
    "live_get": _without("live_get", 1, "blind"),
    "versioned": _without("versioned", 1, "stop"),
    "only_forward": _without("only_forward", 1, "deleted Lease", faults=2),
    "raise_again": _without("raise_again", 1, "deleted Lease", faults=2),
    "look_after_silence": _without("look_after_silence", 2, "silence", forbid=True),
    "valid_from_sending": ElectionModel(faults=0).without("valid_from_sending"),
    "versioned_lease": ElectionModel(faults=0).without("versioned_lease"),
    "deleted_is_not_free": _LEASE.without("deleted_is_not_free"),
}
"""The smallest bounds in which it shows that a rule is missing."""
