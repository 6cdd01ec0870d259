"""The journal in memory: for tests, and for the simulator.

`MemoryStore` is what survives a crash; `MemoryJournal` is one process's hold on it. It keeps the
same contract as the databases and passes the same conformance suite, so what the simulator proves
over it holds over them. It must never be a place to keep anything that matters.
"""

import asyncio
import bisect
from collections.abc import Callable, Sequence

from trypact_coordinator.core.errors import JournalLocked, JournalUnavailable, OwnershipLost
from trypact_coordinator.core.transaction import State, Transaction
from trypact_coordinator.journal.row import Row, check_batch, row_of
from trypact_coordinator.journal.search import matches, read_cursor, write_cursor
from trypact_coordinator.journal.wall_clock import wall_clock_us
from trypact_coordinator.ports import (
    Appended,
    Backlog,
    Due,
    Instance,
    Page,
    Query,
    Term,
    Unfinished,
    Verdict,
    Write,
)


class MemoryStore:
    """What outlives a coordinator.

    Args:
        now_us: this database's clock.
        incarnation: the name of this history.
    """

    def __init__(
        self, now_us: Callable[[], int] = wall_clock_us, incarnation: str = "memory"
    ) -> None:
        self.now_us = now_us
        self.incarnation = incarnation
        self.epoch = 0
        self.batch = 0
        # xid -> (transaction, write id)
        self.transactions: dict[str, tuple[Transaction, int]] = {}
        self.registry: dict[tuple[str, str], Instance] = {}
        self._owner: MemoryJournal | None = None

    def take(self, journal: "MemoryJournal", owner: str) -> None:
        """Make a journal the owner. Raises JournalLocked while another one is."""
        if self._owner is not None and self._owner is not journal:
            raise JournalLocked(f"another coordinator owns this journal; {owner} must wait")
        self._owner = journal
        self.epoch += 1

    def release(self, journal: "MemoryJournal") -> None:
        """Let the next one own it, if this one does."""
        if self._owner is journal:
            self._owner = None

    def crash(self) -> None:
        """Lose the owner as if its process had died; what it had made durable stays."""
        self._owner = None


class MemoryJournal:
    """A Journal over a store in this process.

    Args:
        store: shared by those who open the same journal, one after another; a new one if None.
    """

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.store = store or MemoryStore()
        self._epoch = 0
        self._open = False

    async def open(self, owner: str) -> Term:
        """See Journal."""
        store = self.store
        store.take(self, owner)
        self._open = True
        self._epoch = store.epoch
        return Term(owner, store.epoch, store.incarnation, store.now_us())

    async def close(self) -> None:
        """See Journal."""
        self._open = False
        self.store.release(self)

    async def append(self, batch: Sequence[Write]) -> Appended:
        """See Journal. Gives way once before and once after it is durable, as a database would."""
        check_batch(batch)
        await asyncio.sleep(0)
        self._check_owned()
        verdicts = tuple(map(self._apply, batch))
        self.store.batch += 1
        at = self.store.now_us()
        await asyncio.sleep(0)
        return Appended(verdicts, at)

    def _apply(self, write: Write) -> Verdict:
        tx = write.record.transaction
        try:
            row = row_of(write)
        except (ValueError, OverflowError):
            return Verdict.REJECTED
        there, write_id = self.store.transactions.get(tx.xid, (None, 0))
        if row.begins and not _storable(row):
            return Verdict.REJECTED
        if there is not None:
            own = (there.version, there.epoch, write_id) == (row.version, row.epoch, row.write_id)
            if own:
                return Verdict.APPLIED
        if row.begins:
            fits = there is None
        else:
            fits = there is not None and (
                there.version == row.version - 1 and there.epoch <= row.epoch
            )
        if not fits:
            return Verdict.CONFLICT
        if not _storable(row):
            return Verdict.REJECTED
        self.store.transactions[tx.xid] = (tx, write.write_id)
        return Verdict.APPLIED

    async def load(self, xid: str) -> Transaction | None:
        """See Journal."""
        self._check_open()
        held = self.store.transactions.get(xid)
        return held[0] if held else None

    async def known(self, xids: Sequence[str]) -> frozenset[str]:
        """See Journal."""
        self._check_open()
        return frozenset(xid for xid in xids if xid in self.store.transactions)

    async def flushed(self, xid: str) -> bool:
        """See Journal."""
        return True

    async def in_flight(self, epoch: int, after: str, limit: int) -> Sequence[Transaction]:
        """See Journal."""
        found = [tx for tx in self._all() if tx.due_at == 0 and tx.epoch < epoch and tx.xid > after]
        return sorted(found, key=lambda tx: tx.xid)[:limit]

    async def due(self, now: int, after: tuple[int, str], limit: int) -> Sequence[Due]:
        """See Journal."""
        found: list[tuple[int, str, Transaction]] = []
        for tx in self._all():
            if tx.due_at and tx.due_at <= now and (tx.due_at, tx.xid) > after:
                bisect.insort(found, (tx.due_at, tx.xid, tx), key=lambda item: item[:2])
        return [Due(due_at, tx) for due_at, _, tx in found[:limit]]

    async def find(self, query: Query, cursor: str, limit: int) -> Page:
        """See Journal."""
        before = read_cursor(cursor) if cursor else None
        found = [
            tx
            for tx in self._all()
            if matches(tx, query) and (before is None or (tx.created_at, tx.xid) < before)
        ]
        found.sort(key=lambda tx: (tx.created_at, tx.xid), reverse=True)
        page = found[:limit]
        more = len(found) > limit
        return Page(tuple(page), write_cursor(page[-1].created_at, page[-1].xid) if more else "")

    async def backlog(self) -> Backlog:
        """See Journal."""
        begun: dict[State, list[int]] = {}
        for tx in self._all():
            if tx.due_at is not None:
                begun.setdefault(tx.state, []).append(tx.created_at)
        return Backlog(
            tuple(Unfinished(state, len(at), min(at)) for state, at in sorted(begun.items())),
            sum(bool(tx.stuck_reason) for tx in self._all()),
        )

    async def prune(self, finished_before: int, limit: int) -> int:
        """See Journal."""
        self._check_owned()
        old = [
            tx
            for tx in self._all()
            if tx.due_at is None and tx.settled and tx.finished_at < finished_before
        ]
        old.sort(key=lambda tx: (tx.created_at, tx.xid))
        for tx in old[:limit]:
            del self.store.transactions[tx.xid]
        return len(old[:limit])

    async def save_instance(self, instance: Instance) -> None:
        """See Journal."""
        self._check_owned()
        self.store.registry[instance.participant, instance.instance] = instance

    async def delete_instance(self, participant: str, instance: str) -> None:
        """See Journal."""
        self._check_owned()
        self.store.registry.pop((participant, instance), None)

    async def instances(self) -> Sequence[Instance]:
        """See Journal."""
        self._check_open()
        return [row for _, row in sorted(self.store.registry.items())]

    def _all(self) -> list[Transaction]:
        self._check_open()
        return [tx for tx, _ in self.store.transactions.values()]

    def _check_open(self) -> None:
        if not self._open:
            raise JournalUnavailable("the journal is closed")

    def _check_owned(self) -> None:
        self._check_open()
        if self.store.epoch != self._epoch:
            raise OwnershipLost


def _storable(row: Row) -> bool:
    """Whether a database would take it: the CHECK constraints of the schemas."""
    return (
        1 <= len(row.xid.encode()) <= 128
        and row.epoch >= 1
        and row.version >= 1
        and (row.due_at is not None or row.state >= State.CONFIRMED)
        and (row.due_at is None or 0 <= row.due_at < 1 << 63)
    )
