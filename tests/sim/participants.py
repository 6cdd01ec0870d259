"""The participants of the simulation: resources behind a fence, and strict oracles in every effect.

Each call is one local transaction, so it either happens wholly or not at all. The fence is that of
the protocol: first result kept, Cancel on empty leaves a row, a late Try is refused for ever.
"""

from enum import Enum
from typing import NamedTuple

from msgspec.structs import replace
from trypact_coordinator.core.events import Answer, Ok, Pending, Refused
from trypact_coordinator.core.outcome import Call
from trypact_coordinator.core.transaction import BranchSpec, Decision, Kind, Operation

from tests.sim.oracle import Oracle

Key = tuple[str, str]
# How long a brief reservation lasts, for each thing that is reserved.
BRIEF_US = 150_000


class Held(Enum):
    """What a fence row says."""

    PENDING = "pending"
    TRIED = "tried"
    REFUSED = "refused"
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"
    DELIVERED = "delivered"


class Row(NamedTuple):
    """One fence row."""

    held: Held
    amount: int
    result: bytes = b""
    # When what was reserved can be held no longer; 0 for never.
    ends_at: int = 0


class Account:
    """A resource: what is there, what is set aside, what is gone."""

    def __init__(self, total: int) -> None:
        self.total = self.available = total
        self.reserved = self.consumed = 0

    @property
    def conserved(self) -> bool:
        """I1."""
        parts = (self.available, self.reserved, self.consumed)
        return sum(parts) == self.total and min(parts) >= 0


def plan(amount: int, will: str = "ok") -> bytes:
    """The payload of a branch: how much, and what its Try will be.

    One of ok, refused, pending, or brief: ok, for the longer the more it is.
    """
    return f"{amount}:{will}".encode()


class Site:
    """One participant: an account, a fence, and the oracle that watches both."""

    def __init__(self, name: str, oracle: Oracle, total: int = 30) -> None:
        self.name = name
        self.oracle = oracle
        self.account = Account(total)
        self.fence: dict[Key, Row] = {}
        self.deliveries: dict[Key, Row] = {}
        self.results = 0
        self.said_no: set[Key] = set()
        self.up = True

    def handle(self, call: Call, branch: BranchSpec) -> Answer:
        """Carry out one call as one local transaction."""
        key = (call.xid, call.branch_id)
        if call.operation is Operation.TRY and call.decision is Decision.CONFIRM:
            return self.on_forward(key, branch)
        answer = getattr(self, f"on_{call.operation.name.lower()}")(key, branch)
        self.oracle.check(self.account.conserved, "I1", f"{self.name} lost or made something")
        return answer

    # ------------------------------------------------------------ operations

    def on_try(self, key: Key, branch: BranchSpec) -> Answer:
        row = self.fence.get(key)
        if row is None:
            return self.first_try(key, branch)
        if row.held is Held.REFUSED:
            return Refused("no")
        if row.held is Held.CANCELLED:
            return self.late_try(key, branch)
        if row.held is Held.PENDING:
            return Pending()
        return self.repeated_try(key, row)

    def on_forward(self, key: Key, branch: BranchSpec) -> Answer:
        """A step after the pivot; what says no here says it once, and keeps nothing of it."""
        row = self.fence.get(key)
        if row is None and branch.payload.endswith(b":refused") and key not in self.said_no:
            self.said_no.add(key)
            return Refused("no paper")
        return self.on_try(key, replace(branch, payload=branch.payload.replace(b"refused", b"ok")))

    def first_try(self, key: Key, branch: BranchSpec) -> Answer:
        amount_text, _, will = branch.payload.decode().partition(":")
        amount = int(amount_text)
        if will == "refused" or self.account.available < amount:
            self.fence[key] = Row(Held.REFUSED, 0)
            return Refused("no")
        if will == "pending":
            self.fence[key] = Row(Held.PENDING, amount)
            return Pending()
        held_us = amount * BRIEF_US if will == "brief" else 0
        return self.reserve(key, branch.kind, amount, held_us)

    def late_try(self, key: Key, branch: BranchSpec) -> Answer:
        self.oracle.note(f"{self.name}: TRY {key[0]}/{key[1]} comes after its Cancel")
        return Refused("already cancelled")

    def repeated_try(self, key: Key, row: Row) -> Answer:
        return Ok(row.result, row.ends_at)

    def reserve(self, key: Key, kind: Kind, amount: int, held_us: int = 0) -> Answer:
        self.oracle.effect(self.name, key, Operation.TRY)
        self.account.available -= amount
        if kind is Kind.TCC:
            self.account.reserved += amount
        else:
            self.account.consumed += amount
        self.results += 1
        result = f"{self.name}-{self.results}".encode()
        ends_at = self.oracle.store.now_us() + held_us if held_us else 0
        self.fence[key] = Row(Held.TRIED, amount, result, ends_at)
        self.oracle.result_of[key] = result
        if ends_at:
            self.oracle.note(f"{self.name}: holds {key[0]}/{key[1]} for {held_us / 1e6:g} s")
            self.oracle.ends_at[key] = ends_at
        return Ok(result, ends_at)

    def complete(self, key: Key, kind: Kind) -> Answer | None:
        """Finish what was pending, unless it was cancelled meanwhile."""
        row = self.fence.get(key)
        if row is None or row.held is not Held.PENDING:
            return None
        if self.account.available < row.amount:
            self.fence[key] = Row(Held.REFUSED, 0)
            return Refused("no")
        return self.reserve(key, kind, row.amount)

    def on_confirm(self, key: Key, branch: BranchSpec) -> Answer:
        row = self.fence.get(key)
        legal = row is not None and row.held in (Held.TRIED, Held.CONFIRMED)
        self.oracle.check(legal, "I4", f"Confirm of {key} met {row}")
        assert row is not None
        if row.held is Held.TRIED:
            self.oracle.effect(self.name, key, Operation.CONFIRM)
            self.account.reserved -= row.amount
            self.account.consumed += row.amount
            self.fence[key] = row._replace(held=Held.CONFIRMED)
        return Ok()

    def on_cancel(self, key: Key, branch: BranchSpec) -> Answer:
        row = self.fence.get(key)
        if row is None:
            self.empty_cancel(key)
            return Ok()
        self.oracle.check(row.held is not Held.CONFIRMED, "I4", f"Cancel of {key} after Confirm")
        if row.held is Held.TRIED:
            self.oracle.effect(self.name, key, Operation.CANCEL)
            if branch.kind is Kind.TCC:
                self.account.reserved -= row.amount
            else:
                self.account.consumed -= row.amount
            self.account.available += row.amount
        if row.held in (Held.TRIED, Held.PENDING):
            self.fence[key] = row._replace(held=Held.CANCELLED)
        return Ok()

    def empty_cancel(self, key: Key) -> None:
        self.oracle.note(f"{self.name}: CANCEL {key[0]}/{key[1]} comes before its Try")
        self.fence[key] = Row(Held.CANCELLED, 0)

    def on_deliver(self, key: Key, branch: BranchSpec) -> Answer:
        row = self.deliveries.get(key)
        if row is None:
            self.oracle.effect(self.name, key, Operation.DELIVER)
            row = self.deliveries[key] = Row(Held.DELIVERED, 0)
        return Ok(row.result)
