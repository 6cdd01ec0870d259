"""The four ports between the coordinator and the world: Journal, Transport, Clock, Ids.

Each has a real adapter, and one for tests that passes the same conformance suite. The simulator
plugs in its own and runs everything else unchanged.
"""

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Protocol

import msgspec

from trypact_coordinator.core.events import Answer
from trypact_coordinator.core.outcome import Call, Record
from trypact_coordinator.core.transaction import Kind, State, Transaction

# ---------------------------------------------------------------- time and identity


class Clock(Protocol):
    """The journal's time, in microseconds since 1970-01-01T00:00Z. Never runs backwards."""

    def now(self) -> int:
        """Return the present instant."""
        ...


class Ids(Protocol):
    """Fresh, unguessable identifiers."""

    def new(self) -> str:
        """Return an id that was never returned before, by anyone; sorts roughly by time."""
        ...


# ---------------------------------------------------------------- the journal


class Verdict(Enum):
    """What became of one record."""

    APPLIED = 1
    # The compare-and-set found another version, a newer epoch, or (version 1) a row.
    CONFLICT = 2
    # The database will never take this record (a constraint, a bad value); its neighbours went in.
    REJECTED = 3


class Write(msgspec.Struct, frozen=True, gc=False):
    """A record on its way into the journal, with the id by which a lost write knows itself."""

    record: Record
    # Unique among all writes of one term.
    write_id: int


class Appended(msgspec.Struct, frozen=True, gc=False):
    """The reply to a batch."""

    verdicts: tuple[Verdict, ...]
    # The database's time when the batch was written, or soon after.
    at: int


class Term(msgspec.Struct, frozen=True, gc=False):
    """One coordinator's ownership of a journal, from its start to its end."""

    owner: str
    # Raised by each start; a write under an older epoch is refused.
    epoch: int
    # Names this journal's history; a new one is drawn when the journal is created.
    incarnation: str
    at: int


class Due(msgspec.Struct, frozen=True, gc=False):
    """An unfinished transaction that the sweeper found, and where to go on from."""

    due_at: int
    transaction: Transaction


class Query(msgspec.Struct, frozen=True, gc=False):
    """Which transactions an operator wants to see; every given term must hold."""

    state: State | None = None
    name: str = ""
    label: tuple[str, str] | None = None
    participant: str = ""
    stuck: bool | None = None
    paused: bool | None = None
    # Anything left to do: undecided, unsettled, or with deliveries that are not done.
    unfinished: bool | None = None
    created_before: int | None = None
    created_after: int | None = None


class Page(msgspec.Struct, frozen=True, gc=False):
    """Transactions, newest first, and the cursor of the next page ("" on the last)."""

    transactions: tuple[Transaction, ...]
    next_cursor: str


class Unfinished(msgspec.Struct, frozen=True, gc=False):
    """How many transactions of one state have something left to do, and since when."""

    state: State
    count: int
    # When the oldest of them was begun.
    oldest_at: int


class Backlog(msgspec.Struct, frozen=True, gc=False):
    """What is not done yet, counted."""

    # A state with none is not there. CONFIRMED and CANCELLED: deliveries remain.
    unfinished: tuple[Unfinished, ...]
    # Those that need a human.
    stuck: int


class Instance(msgspec.Struct, frozen=True, gc=False):
    """One registered process of a participant: a row of the registry."""

    participant: str
    instance: str
    endpoint: str
    # (verb, kinds) of each action.
    actions: tuple[tuple[str, tuple[Kind, ...]], ...]
    renewed_at: int
    draining: bool = False
    # (topic, verb) of each subscription.
    topics: tuple[tuple[str, str], ...] = ()


class Journal(Protocol):
    """Durable memory: transactions with their timelines, and the registry.

    One conformance suite runs over every implementation. All errors are JournalError.
    """

    async def open(self, owner: str) -> Term:
        """Take ownership, raising the epoch; creates an empty journal's schema.

        Raises JournalLocked when another coordinator holds it, SchemaMismatch when its schema is
        of another version, JournalUnavailable when it cannot be reached, read or written.
        """
        ...

    async def close(self) -> None:
        """Give ownership up. Idempotent."""
        ...

    async def append(self, batch: Sequence[Write]) -> Appended:
        """Write a batch in one commit; a verdict for each record, in the order given.

        An xid occurs at most once in a batch and never in two batches in flight. When it returns,
        everything APPLIED survives a crash. A commit whose reply was lost is settled before it
        returns: the same compare-and-set is repeated and a write recognises itself by (xid,
        version, epoch, write id). Raises OwnershipLost under an old epoch, JournalUnavailable
        when nothing can be said: then each record may or may not be there.
        """
        ...

    async def load(self, xid: str) -> Transaction | None:
        """Return the durable transaction, or None."""
        ...

    async def known(self, xids: Sequence[str]) -> frozenset[str]:
        """Return those of the xids that `load` would find."""
        ...

    async def flushed(self, xid: str) -> bool:
        """Whether what `load` has just shown of an xid survives a crash of the database as well.

        Lazy records may be shown before they do. What is told to be final must be flushed.
        """
        ...

    async def in_flight(self, epoch: int, after: str, limit: int) -> Sequence[Transaction]:
        """Page over what an earlier term than `epoch` left with calls in flight, by xid."""
        ...

    async def due(self, now: int, after: tuple[int, str], limit: int) -> Sequence[Due]:
        """Page over timers that are due (0 < due_at <= now), by (due_at, xid), after a cursor."""
        ...

    async def find(self, query: Query, cursor: str, limit: int) -> Page:
        """Search, newest first. Raises InvalidArgument on a cursor it did not write."""
        ...

    async def backlog(self) -> Backlog:
        """Count what is unfinished and what is stuck, at the cost of those alone."""
        ...

    async def prune(self, finished_before: int, limit: int) -> int:
        """Delete finished transactions with nothing left to do; return how many went."""
        ...

    async def save_instance(self, instance: Instance) -> None:
        """Insert or replace the row of (participant, instance)."""
        ...

    async def delete_instance(self, participant: str, instance: str) -> None:
        """Remove a row; harmless if there is none."""
        ...

    async def instances(self) -> Sequence[Instance]:
        """Return the whole registry."""
        ...


# ---------------------------------------------------------------- the transport


# Takes the answer to a call.
Done = Callable[[Call, Answer], None]


class Transport(Protocol):
    """Carries calls to participants."""

    def send(self, call: Call, endpoint: str, done: Done) -> None:
        """Send one call to an endpoint.

        `done` is called with it exactly once, later, within the call's time-out.

        Whatever goes wrong (no connection, a time-out, an unreadable answer) is Unknown. Never
        raises, never blocks and never calls `done` before it returns.
        """
        ...

    async def ping(self, endpoint: str, timeout_ms: int) -> str:
        """Ask the gRPC health service of an endpoint; return "SERVING" or what went wrong."""
        ...

    async def close(self) -> None:
        """Drop all connections; calls in flight become Unknown."""
        ...
