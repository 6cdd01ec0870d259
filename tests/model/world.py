"""One state of everything: the coordinator, its journal, the network, the participants, time.

Instants are kept relative to now, in ticks, and everything that never matters again (timeline,
versions, reasons) is dropped, so that equal situations are one state and there are finitely many.
"""

from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

from msgspec.structs import replace
from trypact_coordinator.core.policy import Policy
from trypact_coordinator.core.transaction import (
    IN_FLIGHT,
    NEVER,
    PARKED,
    Branch,
    BranchSpec,
    BranchState,
    Decision,
    Operation,
    Transaction,
)

TICK = 1_000
NOW = 1_000_000_000
CALL_TICKS = 2
DEADLINE_TICKS = 3
POLICY = Policy(
    call_timeout_ms=CALL_TICKS,
    backoff_base_ms=1,
    backoff_cap_ms=1,
    slow_retry_ms=1,
    # Attempts are not counted in the model, so budgets of them are out of reach.
    attempts_until_stuck=1000,
    notice_attempts=1000,
    pending_poll_ms=1,
)


class Fence(IntEnum):
    """What the participant of one branch has durably done."""

    NONE = 0
    PENDING = 1
    TRIED = 2
    REFUSED = 3
    CONFIRMED = 4
    CANCELLED = 5
    DELIVERED = 6


class Config(NamedTuple):
    """What is explored."""

    branches: tuple[BranchSpec, ...]
    faults: int
    interactive: bool = False
    operator: bool = False
    pending: bool = False
    # Reservations may say how long they last.
    expires: bool = False
    # Deliveries that join with Commit or Rollback.
    deliveries: tuple[BranchSpec, ...] = ()


class World(NamedTuple):
    """One state of everything."""

    # In memory; None while the coordinator is down.
    tx: Transaction | None
    wake_at: int | None
    durable: Transaction
    fences: tuple[Fence, ...]
    # Requests that may still arrive, again and again, for each branch.
    astray: tuple[frozenset[Operation], ...]
    # Whether the call in flight of a branch will not be answered by its participant.
    lost: tuple[bool, ...]
    # Until when a Try of unknown outcome may be running.
    running_until: tuple[int, ...]
    faults: int
    # The verdict that was durable or told first.
    verdict: Decision
    # Somebody asked for Cancel.
    cancel_asked: bool


class Violation(Exception):
    """An invariant does not hold; the message tells how it came to that."""


def rel(at: int) -> int:
    """Round an instant up to a tick, and forget how long ago it was when it has passed."""
    if at == NEVER:
        return at
    return 0 if at <= NOW else NOW + -(-(at - NOW) // TICK) * TICK


def earlier(at: int) -> int:
    """Let one tick pass."""
    return rel(at - TICK) if 0 < at < NEVER else at


def kept(at: int) -> int:
    """Round an instant that is told from 0, which is none, also when it has passed."""
    return at and (rel(at) or 1)


@lru_cache(maxsize=200_000)
def plain_branch(branch: Branch) -> Branch:
    return replace(
        branch,
        attempt=min(branch.attempt, 1),
        failures=0,
        due_at=rel(branch.due_at),
        quiet_at=rel(branch.quiet_at) if branch.state is BranchState.TRYING else 0,
        result=b"",
        reason="",
        give_up_at=kept(branch.give_up_at) if branch.state is BranchState.TRYING else 0,
    )


def plain(tx: Transaction) -> Transaction:
    """Drop what never matters again."""
    due_at = tx.due_at
    if due_at not in (None, IN_FLIGHT, PARKED):
        due_at = rel(due_at) or 1
    return replace(
        tx,
        branches=tuple(map(plain_branch, tx.branches)),
        deadline_at=0 if tx.decided else rel(tx.deadline_at),
        version=0,
        epoch=1,
        due_at=due_at,
        decided_at=0,
        finished_at=0,
        reason="",
        refused_branch_id="",
        timeline=(),
    )


def aged(tx: Transaction) -> Transaction:
    """Let one tick pass for a transaction."""
    due_at = tx.due_at
    if due_at not in (None, IN_FLIGHT, PARKED, 1):
        due_at = earlier(due_at) or 1
    return replace(
        tx,
        branches=tuple(
            replace(
                b,
                due_at=earlier(b.due_at),
                quiet_at=earlier(b.quiet_at),
                give_up_at=b.give_up_at and (earlier(b.give_up_at) or 1),
            )
            if b.due_at or b.quiet_at or b.give_up_at
            else b
            for b in tx.branches
        ),
        deadline_at=earlier(tx.deadline_at),
        due_at=due_at,
    )
