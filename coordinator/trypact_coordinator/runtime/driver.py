"""The driver keeps the four duties of the Outcome contract for every transaction in memory.

Records before messages: nothing a step asks for leaves before the record that allows it is
durable. While a record of a transaction is being written, its later events wait in its inbox, so
one transaction never has two records on the way. There is no task for a transaction: answers,
written records and timers are callbacks that step it.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

import structlog

from trypact_coordinator.alarms import Alarms
from trypact_coordinator.core.errors import (
    CallerError,
    CoordinatorError,
    InvariantViolated,
    JournalError,
    JournalUnavailable,
    OwnershipLost,
    RecordRejected,
    UnknownTransaction,
)
from trypact_coordinator.core.events import Answered, Event, LeftIdle, Resumed, TimePassed
from trypact_coordinator.core.outcome import Outcome, Record
from trypact_coordinator.core.policy import MILLISECOND, SECOND, Policy
from trypact_coordinator.core.step import freeze, step_together
from trypact_coordinator.core.transaction import Transaction
from trypact_coordinator.ports import Clock, Journal, Verdict
from trypact_coordinator.runtime.dispatcher import Dispatcher
from trypact_coordinator.runtime.failpoints import Failpoints
from trypact_coordinator.runtime.meters import Meters
from trypact_coordinator.runtime.slot import Asker, Slot, Until, Watcher, settle

log = structlog.get_logger(__name__)

_RELOAD_SECONDS_FIRST = 0.05
_RELOAD_SECONDS_MAX = 2.0


class Writer(Protocol):
    """What the driver needs of the group commit."""

    def submit(self, record: Record, done: Callable[[Verdict | JournalError], None]) -> None:
        """Write a record with whatever else is ready; `done` is called once, later."""
        ...


class Driver:
    """Steps transactions and does what their outcomes ask.

    Args:
        journal: to reload from.
        writer: the group commit.
        dispatcher: carries calls.
        clock: the journal's time.
        policy: the core's durations and budgets.
        evict_after_ms: a transaction that waits longer for time alone leaves memory.
        failpoints: where crash tests kill the process.
        meters: counts what begins and what finishes.
        on_fatal: told once when this coordinator must stop.
    """

    def __init__(
        self,
        journal: Journal,
        writer: Writer,
        dispatcher: Dispatcher,
        clock: Clock,
        policy: Policy,
        evict_after_ms: int,
        failpoints: Failpoints,
        meters: Meters,
        on_fatal: Callable[[CoordinatorError], None],
    ) -> None:
        self._journal = journal
        self._writer = writer
        self._dispatcher = dispatcher
        dispatcher.take = self._answered
        self._clock = clock
        self._policy = policy
        self._evict_after_us = evict_after_ms * MILLISECOND
        self._failpoints = failpoints
        self._meters = meters
        self._on_fatal = on_fatal
        self._slots: dict[str, Slot] = {}
        self._reloads: set[asyncio.Task[None]] = set()
        self._alarms: Alarms[Slot] = Alarms(self._alarm)
        # Those with answers that came at this turn of the loop.
        self._answered_slots: dict[str, Slot] = {}
        self._loop = asyncio.get_running_loop()
        self.epoch = 0
        # Why nothing is taken into memory any more.
        self._abandoned: CoordinatorError | None = None
        # Set whenever a slot was freed, for those who wait for room or for the end.
        self.freed = asyncio.Event()

    # ------------------------------------------------------------ what callers use

    def __len__(self) -> int:
        """Return how many transactions are in memory: under way, or waited for."""
        return len(self._slots)

    def __contains__(self, xid: str) -> bool:
        return xid in self._slots

    def peek(self, xid: str) -> Transaction | None:
        """Return a transaction that is in memory, as it stands."""
        slot = self._slots.get(xid)
        return slot.tx if slot is not None else None

    def open(self, xid: str, outcome: Outcome) -> None:
        """Start a transaction from the outcome of `begin`; its xid must not be in memory.

        If the journal has the xid already, that transaction takes its place: callers compare.
        """
        slot = self._add_slot(xid)
        self._obey(slot, outcome, None)

    def adopt(self, transaction: Transaction) -> None:
        """Take up a transaction that was read from the journal, unless it is in memory."""
        if transaction.xid not in self._slots and self._abandoned is None:
            self._take_up(self._add_slot(transaction.xid), transaction)

    async def ask(self, xid: str, event: Event) -> Transaction:
        """Step a transaction with a request; return it once the step is durable.

        Raises UnknownTransaction, what `step` raises, or JournalError.
        """
        loaded = None if xid in self._slots else await self._journal.load(xid)
        future: asyncio.Future[Transaction] = self._loop.create_future()
        slot = self._slots.get(xid)
        if slot is not None:
            self._feed(slot, event, future)
        elif loaded is None:
            raise UnknownTransaction(f"no transaction {xid} is known")
        else:
            # In its inbox first, so that it is not evicted as idle before the event is fed.
            slot = self._add_slot(xid)
            slot.inbox.append((event, future))
            self._take_up(slot, loaded)
        return await future

    def watch(self, xid: str, until: Until, tell: Watcher) -> None:
        """Tell once, maybe at once, when a condition holds on a transaction that is in memory."""
        self._slots[xid].watch(until, tell)

    def unwatch(self, xid: str, tell: Watcher) -> None:
        """Do not tell any more, and let go of what was kept in memory for that alone."""
        slot = self._slots.get(xid)
        if slot is not None:
            slot.unwatch(tell)
            self._evict_if_idle(slot)

    async def wait(self, xid: str, until: Until) -> Transaction:
        """Return the transaction once a condition holds on its durable state.

        Raises UnknownTransaction or JournalError.
        """
        loaded = None if xid in self._slots else await self._journal.load(xid)
        future: asyncio.Future[Transaction] = self._loop.create_future()
        tell = partial(settle, future)
        slot = self._slots.get(xid)
        if slot is not None:
            slot.watch(until, tell)
        elif loaded is None:
            raise UnknownTransaction(f"no transaction {xid} is known")
        elif until(loaded):
            return loaded
        else:
            # Watched first, so that it is not evicted as idle before.
            slot = self._add_slot(xid)
            slot.watch(until, tell)
            self._take_up(slot, loaded)
        try:
            return await future
        finally:
            if future.cancelled():
                self.unwatch(xid, tell)

    async def drained(self) -> None:
        """Return once no transaction is in memory."""
        while self._slots:
            self.freed.clear()
            await self.freed.wait()

    def abandon(self, error: CoordinatorError) -> None:
        """Forget everything in memory, for good; whoever waits or asks later gets the error.

        Records that are on their way may still be written, so nothing is taken up again here.
        """
        self._abandoned = error
        for slot in list(self._slots.values()):
            self._fail(slot, error)
        for task in self._reloads:
            task.cancel()

    def _add_slot(self, xid: str) -> Slot:
        if self._abandoned is not None:
            raise self._abandoned
        slot = self._slots[xid] = Slot(xid)
        return slot

    # ------------------------------------------------------------ stepping

    def _feed(self, slot: Slot, event: Event, asked: Asker) -> None:
        """Step with an event, after those that wait already."""
        slot.inbox.append((event, asked))
        self._drain(slot)

    def _drain(self, slot: Slot) -> None:
        """Step with the events that wait, until one of them has to be written.

        Those that nobody asked for, answers above all, are one step as long as no request is
        between them.
        """
        inbox = slot.inbox
        while inbox and not slot.writing and slot.tx is not None:
            event, asked = inbox.popleft()
            events = [event]
            while asked is None and inbox and inbox[0][1] is None:
                events.append(inbox.popleft()[0])
            self._step(slot, slot.tx, events, asked)

    def _step(
        self,
        slot: Slot,
        tx: Transaction,
        events: list[Event],
        asked: Asker,
    ) -> None:
        try:
            outcome = step_together(tx, events, self._clock.now(), self._policy)
        except Exception as error:
            # Only who asked can be refused; what refuses an answer or the time is a bug.
            if isinstance(error, CallerError) and asked is not None:
                if not asked.done():
                    asked.set_exception(error)
                self._evict_if_idle(slot)
                return
            outcome = self._frozen(tx, events, error)
        self._obey(slot, outcome, asked)

    def _frozen(self, tx: Transaction, events: list[Event], error: Exception) -> Outcome:
        """Stop a transaction that met a bug of ours, rather than guess."""
        violated = isinstance(error, InvariantViolated)
        why = str(error) if violated else f"{type(error).__name__}: {error}"
        log.error(
            "transaction frozen",
            xid=tx.xid,
            event_types=[type(event).__name__ for event in events],
            why=why,
            exc_info=error,
        )
        return freeze(tx, why, self._clock.now(), self._policy)

    def _obey(self, slot: Slot, outcome: Outcome, asked: Asker) -> None:
        """Carry an outcome out, in the order its contract asks."""
        record = outcome.record
        if record is None:
            self._release(slot, outcome, asked)
            self._evict_if_idle(slot)
            return
        self._failpoints.before_record(record)
        slot.writing = True
        if record.forced:
            self._writer.submit(record, partial(self._written, slot, record, outcome, asked))
            return
        self._writer.submit(record, partial(self._written, slot, record, None, None))
        self._release(slot, outcome, asked)

    def _written(
        self,
        slot: Slot,
        record: Record,
        outcome: Outcome | None,
        asked: Asker,
        verdict: Verdict | JournalError,
    ) -> None:
        """Go on after a record's fate is known; `outcome` is what waited for it, if anything."""
        if self._slots.get(slot.xid) is not slot:
            return
        slot.writing = False
        if verdict is not Verdict.APPLIED:
            self._not_written(slot, record, verdict, asked)
            return
        self._meters.recorded(slot.recorded, record.transaction)
        slot.recorded = record.transaction
        self._failpoints.after_record(record)
        if outcome is not None:
            self._release(slot, outcome, asked)
        self._drain(slot)
        self._evict_if_idle(slot)

    def _release(self, slot: Slot, outcome: Outcome, asked: Asker) -> None:
        """Let go what the (durable) outcome allows: calls, replies, the next alarm."""
        tx = slot.tx = outcome.transaction
        if outcome.calls:
            self._dispatcher.dispatch(outcome.calls)
        if asked is not None and not asked.done():
            asked.set_result(tx)
        if slot.watchers:
            slot.tell(tx)
        self._arm(slot, outcome.wake_at)

    def _answered(self, xid: str, event: Answered) -> None:
        """Take an answer; those that come at the same turn of the loop are one step."""
        slot = self._slots.get(xid)
        if slot is None:
            return
        slot.inbox.append((event, None))
        if not self._answered_slots:
            self._loop.call_soon(self._step_answered)
        self._answered_slots[xid] = slot

    def _step_answered(self) -> None:
        slots, self._answered_slots = self._answered_slots, {}
        left = deque(slots.values())
        try:
            while left:
                slot = left.popleft()
                if self._slots.get(slot.xid) is slot:
                    self._drain(slot)
        finally:
            # Only after a bug of ours, which is no other transaction's concern.
            for slot in left:
                self._loop.call_soon(self._drain, slot)

    # ------------------------------------------------------------ time

    def _arm(self, slot: Slot, wake_at: int | None) -> None:
        if wake_at == slot.wake_at:
            return
        slot.wake_at = wake_at
        if wake_at is None:
            self._alarms.cancel(slot)
        else:
            self._alarms.set(slot, max(0, wake_at - self._clock.now()) / SECOND)

    def _alarm(self, slot: Slot) -> None:
        wake_at, slot.wake_at = slot.wake_at, None
        if wake_at is not None and self._clock.now() < wake_at:
            # The journal's clock was set back meanwhile; its time is the one that counts.
            self._arm(slot, wake_at)
        else:
            self._feed(slot, TimePassed(), None)

    def _evict_if_idle(self, slot: Slot) -> None:
        """Drop a transaction that only time can move, and not soon; the sweeper brings it back.

        Results of Try ride on the decision's record, so an interactive transaction that waits for
        its initiator may know more than the journal. It is written first, once it stays idle.
        """
        tx = slot.tx
        if tx is None or slot.writing or slot.inbox or slot.watchers:
            return
        if slot.wake_at is not None and slot.wake_at - self._clock.now() < self._evict_after_us:
            return
        if any(branch.in_flight for branch in tx.branches):
            return
        if tx is slot.recorded or tx.due_at is None or tx == slot.recorded:
            self._drop(slot)
        elif slot.idle_timer is None:
            slot.idle_timer = self._loop.call_later(
                self._evict_after_us / SECOND, self._left_idle, slot, tx
            )

    def _left_idle(self, slot: Slot, tx: Transaction) -> None:
        slot.idle_timer = None
        if self._slots.get(slot.xid) is not slot:
            return
        if slot.tx is tx:
            self._feed(slot, LeftIdle(), None)
        else:
            self._evict_if_idle(slot)

    def _drop(self, slot: Slot) -> None:
        self._alarms.cancel(slot)
        if slot.idle_timer is not None:
            slot.idle_timer.cancel()
        if self._slots.get(slot.xid) is slot:
            del self._slots[slot.xid]
        self.freed.set()

    # ------------------------------------------------------------ reloading

    def _take_up(self, slot: Slot, transaction: Transaction) -> None:
        if transaction.epoch > self.epoch:
            # A newer term has it, and will not know of a Try that leaves here: none may.
            error = OwnershipLost()
            self._fail(slot, error)
            self._on_fatal(error)
            return
        slot.tx = slot.recorded = transaction
        # What it did without a record since (a Try sent, a report taken) is not in the journal, so
        # an undecided one is doubted as a new term would.
        calls_out = any(branch.in_flight for branch in transaction.branches)
        doubted = transaction.epoch != self.epoch or calls_out or not transaction.decided
        # Before whatever waits for it.
        slot.inbox.appendleft((Resumed(self.epoch) if doubted else TimePassed(), None))
        self._drain(slot)
        if slot.tx is not None and slot.watchers:
            slot.tell(slot.tx)

    def _not_written(
        self,
        slot: Slot,
        record: Record,
        verdict: Verdict | JournalError,
        asked: Asker,
    ) -> None:
        """Forget the step; go on from what the journal holds."""
        if isinstance(verdict, JournalError):
            # The writer gives up only for good: what is durable is for the next term to find out.
            self._fail(slot, verdict, asked)
            self._on_fatal(verdict)
        elif verdict is Verdict.REJECTED:
            log.error("record rejected", xid=slot.xid, version=record.transaction.version)
            self._fail(slot, RecordRejected(), asked)
        else:
            slot.tx = None
            task = self._loop.create_task(self._reload(slot, asked))
            self._reloads.add(task)
            task.add_done_callback(self._reloads.discard)

    async def _reload(self, slot: Slot, asked: Asker) -> None:
        try:
            loaded = await self._load_patiently(slot.xid)
        except JournalError as error:
            self._fail(slot, error, asked)
            return
        if loaded is None:
            self._fail(slot, RecordRejected("the journal lost this transaction"), asked)
            return
        self._take_up(slot, loaded)
        if asked is not None and not asked.done():
            asked.set_exception(JournalError("the transaction changed meanwhile; ask again"))

    async def _load_patiently(self, xid: str) -> Transaction | None:
        """Read a transaction for as long as it takes; nothing else would find it soon."""
        delay = _RELOAD_SECONDS_FIRST
        while True:
            try:
                return await self._journal.load(xid)
            except JournalUnavailable:
                await asyncio.sleep(delay)
                delay = min(delay * 2, _RELOAD_SECONDS_MAX)

    def _fail(
        self,
        slot: Slot,
        error: CoordinatorError,
        asked: Asker = None,
    ) -> None:
        """Drop a transaction from memory and tell everyone who waits for it."""
        if asked is not None:
            settle(asked, error)
        slot.fail(error)
        self._drop(slot)
