"""The coordinator without a face: what the gRPC services, the simulator and the tests call.

It opens the journal, checks requests at the door, turns them into events for the driver, and
answers once what was asked for is durable.
"""

import asyncio
import contextlib
from functools import partial

import msgspec
import structlog

from trypact_coordinator.core.admission import check_deliveries, check_size, check_xid
from trypact_coordinator.core.errors import (
    AlreadyCancelled,
    CoordinatorError,
    InvalidArgument,
    Overloaded,
    ShuttingDown,
    UnknownBranch,
    UnknownParticipant,
    UnknownTransaction,
)
from trypact_coordinator.core.events import (
    CommitAsked,
    DecideAct,
    Ok,
    PauseAct,
    Refused,
    Registered,
    Reported,
    ResumeAct,
    RetryAct,
    RollbackAsked,
    SkipAct,
)
from trypact_coordinator.core.limits import (
    ACTOR_BYTES_MAX,
    PAGE_SIZE_MAX,
    REASON_BYTES_MAX,
    RESULT_BYTES_MAX,
)
from trypact_coordinator.core.machine import OPERATION_OF
from trypact_coordinator.core.outcome import Outcome, Reply
from trypact_coordinator.core.policy import Policy
from trypact_coordinator.core.step import begin, tombstone
from trypact_coordinator.core.topics import unknown
from trypact_coordinator.core.transaction import (
    Branch,
    BranchSpec,
    BranchState,
    Decision,
    Operation,
    Spec,
    Transaction,
)
from trypact_coordinator.ports import Backlog, Ids, Instance, Journal, Page, Query, Term, Transport
from trypact_coordinator.runtime.awaited import (
    REACHED,
    begun,
    reached,
    require_same,
    tell_same,
    tried,
)
from trypact_coordinator.runtime.clock import JournalClock
from trypact_coordinator.runtime.decided import Decided, decided
from trypact_coordinator.runtime.dispatcher import Dispatcher, LaneView
from trypact_coordinator.runtime.door import Door, DoorShut
from trypact_coordinator.runtime.driver import Driver
from trypact_coordinator.runtime.failpoints import Failpoints
from trypact_coordinator.runtime.group_commit import GroupCommit
from trypact_coordinator.runtime.meters import Meters
from trypact_coordinator.runtime.registry import Registry
from trypact_coordinator.runtime.returning import Returning
from trypact_coordinator.runtime.settings import RuntimeSettings
from trypact_coordinator.runtime.slot import Watcher
from trypact_coordinator.runtime.sweeper import Sweeper

log = structlog.get_logger(__name__)

OperatorAct = RetryAct | PauseAct | ResumeAct | DecideAct | SkipAct


class PingView(msgspec.Struct, frozen=True):
    """What one instance's health service said."""

    instance: str
    endpoint: str
    status: str
    round_trip_us: int


class Coordinator:
    """Drives transactions over a journal and a transport.

    Create it inside a running event loop, `start` it once, and `stop` it once.

    Args:
        journal: closed; `start` opens it.
        transport: reaches participants.
        ids: for whoever needs a fresh id.
        clock: set by the journal's replies.
        policy: the core's durations and budgets.
        settings: the runtime's limits and intervals.
        failpoints: where crash tests kill the process.
    """

    def __init__(
        self,
        journal: Journal,
        transport: Transport,
        ids: Ids,
        clock: JournalClock,
        policy: Policy,
        settings: RuntimeSettings,
        failpoints: Failpoints | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.policy = policy
        self.ids = ids
        self.clock = clock
        self.meters = Meters()
        self.registry = Registry(journal, clock, settings.renew_every_ms, settings.lapse_after_ms)
        # Set to the reason when this coordinator must stop by itself.
        self.fatal: asyncio.Future[CoordinatorError] = loop.create_future()
        self._journal = journal
        self._transport = transport
        self._settings = settings
        self.door = Door(journal, settings, self.meters, clock.elapsed, self.lane)
        self.writer = self.door.records = GroupCommit(
            journal,
            clock.observe,
            settings.records_in_batch_max,
            settings.bytes_in_batch_max,
            self.meters,
            self.door.written,
            clock.elapsed,
        )
        self._returning = Returning(self.find, self.act)
        came_back = self.registry.came_back = self._returning.came_back
        self._dispatcher = Dispatcher(
            transport, self.registry, clock, settings, self.meters, loop.call_soon, came_back
        )
        self._driver = self.door.transactions = Driver(
            journal,
            self.writer,
            self._dispatcher,
            clock,
            policy,
            settings.evict_after_ms,
            failpoints or Failpoints(),
            self.meters,
            self._on_fatal,
        )
        self._sweeper = Sweeper(journal, self._driver, clock, settings, self._on_fatal)
        self._sweeping: asyncio.Task[None] | None = None
        self._stopping = False
        self.term: Term | None = None

    # ------------------------------------------------------------ life

    async def start(self, owner: str) -> Term:
        """Take ownership of the journal and begin to serve; recovery goes on beside.

        Args:
            owner: names this process to operators, such as `host:pid`.

        Raises JournalError when the journal cannot be owned.
        """
        self.term = term = await self._journal.open(owner)
        self.clock.observe(term.at)
        self._driver.epoch = term.epoch
        await self.registry.load()
        self.writer.start()
        self._sweeping = asyncio.create_task(self._sweeper.run(), name="sweeper")
        log.info("term started", owner=owner, epoch=term.epoch, incarnation=term.incarnation)
        return term

    async def stop(self, grace_ms: int) -> None:
        """Refuse new work, let what is in memory settle for a while, then close everything.

        What has not settled by then is in the journal, and resumes with the next start.
        """
        self._stopping = True
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)
        if not self.fatal.done():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_ms / 1000):
                    await self._driver.drained()
        self._driver.abandon(ShuttingDown())
        await self._returning.close()
        await self.door.recall.close()
        await self._transport.close()
        await self.writer.close()
        await self._journal.close()
        if self.term is not None:
            # What a benchmark and an operator ask first: how well did group commit share?
            batches, records = self.meters.batch_records.count, self.meters.batch_records.total
            log.info("term ended", batches=batches, records=int(records))

    async def recovered(self) -> None:
        """Return once everything that earlier terms left in flight has been taken up."""
        await self._sweeper.recovered.wait()

    def _on_fatal(self, error: CoordinatorError) -> None:
        if not self.fatal.done():
            log.critical("this coordinator must stop", error=str(error))
            self.fatal.set_result(error)

    # ------------------------------------------------------------ initiators

    async def execute(
        self, spec: Spec, branches: tuple[BranchSpec, ...], until: Reply
    ) -> Transaction:
        """Run a one-shot transaction, or join the one that has this xid and content.

        Returns it once it is decided or settled, as `until` says. Raises CallerError, Overloaded,
        ShuttingDown or JournalError.
        """
        if spec.xid not in self._driver:
            await self._open(spec, branches)
        tx = await self._driver.wait(spec.xid, reached(spec, until))
        require_same(tx, spec, branches)
        return tx

    def execute_at_once(
        self, spec: Spec, branches: tuple[BranchSpec, ...], until: Reply, tell: Watcher
    ) -> Watcher | None:
        """Do what `execute` does, and tell what it would return or raise, without a task.

        Returns what `unwatch` takes; or None, with nothing done, where it takes more than a step
        (the transaction is known already, or refused), and `execute` is to be asked.
        """
        if spec.xid in self._driver:
            return None
        try:
            outcome = self._admit(spec, branches)
        except CoordinatorError:
            return None
        self._driver.open(spec.xid, outcome)
        watcher = partial(tell_same, spec, branches, tell)
        self._driver.watch(spec.xid, reached(spec, until), watcher)
        return watcher

    def unwatch(self, xid: str, watcher: Watcher) -> None:
        """Let a transaction go on without telling; so it need not stay in memory."""
        self._driver.unwatch(xid, watcher)

    def has(self, xid: str) -> bool:
        """Whether the transaction is in memory."""
        return xid in self._driver

    def turn_away(self, xid: str, count: int = 1) -> Overloaded:
        """Count requests that found the door shut, and are not known; return what to say.

        `xid` is of one of them.
        """
        self.meters.turned_away(Overloaded.reason, count)
        return self.door.turn_away(xid, count)

    async def begin(self, spec: Spec) -> Transaction:
        """Open an interactive transaction, or join it when its nonce is the same."""
        if spec.xid not in self._driver:
            await self._open(spec, ())
        tx = await self._driver.wait(spec.xid, begun)
        require_same(tx, spec)
        return tx

    async def try_branch(
        self,
        xid: str,
        spec: Spec | None,
        branch: BranchSpec,
        deliveries: tuple[BranchSpec, ...] = (),
    ) -> Branch:
        """Register a branch durably, have it tried, and return it TRIED or REFUSED.

        Args:
            xid: of an interactive transaction.
            spec: opens it if it is not open yet, in the same write as the registration.
            branch: tcc or saga.
            deliveries: admitted with it, for a decision that comes before Commit or Rollback.

        Raises AlreadyCancelled when the transaction was cancelled before the answer was known.
        """
        if spec is not None and spec.xid != xid:
            raise InvalidArgument("begin.xid", f"is {spec.xid!r}, but xid is {xid!r}")
        if branch.is_delivery:
            raise InvalidArgument("branch.kind", "has no Try", "tcc or saga; commit takes others")
        if spec is not None and xid not in self._driver:
            check_deliveries(deliveries)
            await self._open(spec, (branch, *deliveries))
        tx = await self.get(xid)
        if spec is not None:
            require_same(tx, spec)
        if tx.branch(branch.id) is None:
            self._require_running()
            self.registry.check((branch,))
        await self._driver.ask(xid, Registered(branch, await self._new(xid, deliveries)))
        tx = await self._driver.wait(xid, lambda tx: tx.decided or tried(tx, branch.id))
        known = tx.branch(branch.id)
        if known is None:
            raise UnknownBranch(f"transaction {xid} has no branch {branch.id!r}")
        if known.state is not BranchState.REFUSED and tx.decision is Decision.CANCEL:
            raise AlreadyCancelled(f"transaction {xid} is cancelled: {tx.reason}")
        return known

    async def commit(
        self, xid: str, deliveries: tuple[BranchSpec, ...], until: Reply
    ) -> Transaction:
        """Decide Confirm. Raises AlreadyCancelled, or TryUnsettled while a Try has no OK."""
        await self._driver.ask(xid, CommitAsked(await self._new(xid, deliveries)))
        return await self._driver.wait(xid, REACHED[until])

    async def rollback(
        self, xid: str, reason: str, deliveries: tuple[BranchSpec, ...], until: Reply
    ) -> Transaction:
        """Decide Cancel. Raises AlreadyConfirmed."""
        check_size("reason", reason, REASON_BYTES_MAX)
        await self._driver.ask(xid, RollbackAsked(reason, await self._new(xid, deliveries)))
        return await self._driver.wait(xid, REACHED[until])

    async def get(self, xid: str) -> Transaction:
        """Return the transaction as it stands, durably. Raises UnknownTransaction."""
        check_xid(xid)
        tx = self._driver.peek(xid)
        if tx is not None:
            return tx
        if xid in self._driver:
            return await self._driver.wait(xid, begun)
        loaded = await self._journal.load(xid)
        if loaded is None:
            raise UnknownTransaction(f"no transaction {xid} is known")
        return loaded

    async def wait(self, xid: str, until: Reply) -> Transaction:
        """Return the transaction once it is decided or settled."""
        check_xid(xid)
        return await self._driver.wait(xid, REACHED[until])

    async def decision(self, xid: str, settle: bool) -> Decided:
        """Return the decision, and from durable rows only how much is over.

        With `settle`, an xid nobody has begun is durably CANCELLED first; without it, it is
        UNKNOWN, which is not Cancel.
        """
        check_xid(xid)
        if xid not in self._driver and await self._journal.load(xid) is None:
            if not settle:
                return Decided(Decision.UNKNOWN)
            if xid not in self._driver:
                now, epoch = self.clock.now(), self._driver.epoch
                self._driver.open(xid, tombstone(xid, now, epoch, self.policy))
        tx = await self._driver.wait(xid, begun)
        durable = await self._journal.load(xid) if tx.settled else None
        flushed = durable is not None and await self._journal.flushed(xid)
        return decided(tx, durable if flushed else None)

    async def report(
        self, xid: str, branch_id: str, operation: Operation, answer: Ok | Refused
    ) -> tuple[Decision, bool]:
        """Take a participant's report on a PENDING operation.

        Returns the decision as it stands, and whether the report changed anything.
        """
        if isinstance(answer, Ok):
            check_size("answer.ok.result", answer.result, RESULT_BYTES_MAX)
        else:
            check_size("answer.refused.reason", answer.reason, REASON_BYTES_MAX)
        branch = (await self.get(xid)).branch(branch_id)
        if branch is None:
            raise UnknownBranch(f"transaction {xid} has no branch {branch_id!r}")
        awaited = OPERATION_OF.get(branch.state) is operation
        tx = await self._driver.ask(xid, Reported(branch_id, operation, answer))
        return tx.decision, awaited

    # ------------------------------------------------------------ operators

    async def act(self, xid: str, act: OperatorAct) -> Transaction:
        """Carry out an operator's act; its reason goes into the timeline."""
        check_xid(xid)
        if not act.reason.strip():
            raise InvalidArgument("reason", "is missing", "why you do this, for the timeline")
        check_size("reason", act.reason, REASON_BYTES_MAX)
        check_size("actor", act.actor, ACTOR_BYTES_MAX)
        return await self._driver.ask(xid, act)

    async def find(self, query: Query, cursor: str, limit: int) -> Page:
        """Search the journal; what is in memory is shown as it stands there."""
        if not 1 <= limit <= PAGE_SIZE_MAX:
            raise InvalidArgument("page_size", f"is {limit}", f"1 to {PAGE_SIZE_MAX}")
        page = await self._journal.find(query, cursor, limit)
        live = tuple(self._driver.peek(tx.xid) or tx for tx in page.transactions)
        return Page(live, page.next_cursor)

    async def backlog(self) -> Backlog:
        """Count what the journal holds that is unfinished or stuck."""
        return await self._journal.backlog()

    def __len__(self) -> int:
        """Return how many transactions are in memory, which a stop waits for."""
        return len(self._driver)

    def lane(self, participant: str) -> LaneView:
        """Return how a participant's lane stands."""
        return self._dispatcher.view(participant)

    async def ping(self, participant: str, timeout_ms: int = 2_000) -> list[PingView]:
        """Ask all instances of a participant for their health. Raises UnknownParticipant."""
        for view in self.registry.overview():
            if view.name == participant:
                break
        else:
            raise UnknownParticipant(f"no participant {participant!r} is registered")
        return await asyncio.gather(*(self._ping(one, timeout_ms) for one in view.instances))

    async def _ping(self, instance: Instance, timeout_ms: int) -> PingView:
        sent_at = self.clock.elapsed()
        status = await self._transport.ping(instance.endpoint, timeout_ms)
        took_us = round((self.clock.elapsed() - sent_at) * 1e6)
        return PingView(instance.instance, instance.endpoint, status, took_us)

    # ------------------------------------------------------------ the door

    async def _open(self, spec: Spec, branches: tuple[BranchSpec, ...]) -> None:
        """Begin a transaction unless its xid is known already."""
        try:
            outcome = self._admit(spec, branches)
        except CoordinatorError as error:
            # Whoever asks again for what was admitted once, or meanwhile, is never refused.
            if await self.door.recall.knows(spec.xid) or spec.xid in self._driver:
                return
            if isinstance(error, DoorShut):
                raise self.turn_away(spec.xid) from None
            self.meters.turned_away(error.reason)
            raise
        self._driver.open(spec.xid, outcome)

    def _admit(self, spec: Spec, branches: tuple[BranchSpec, ...]) -> Outcome:
        """Return the first step of a new transaction, unless it is to be refused."""
        self._require_running()
        self.door.check(branches)
        branches = self.registry.addressed(branches)
        outcome = begin(spec, branches, self.clock.now(), self._driver.epoch, self.policy)
        self.registry.check(branches)
        self.door.let_in()
        return outcome

    async def _new(self, xid: str, deliveries: tuple[BranchSpec, ...]) -> tuple[BranchSpec, ...]:
        """Return those it has not yet, one for each subscriber; the others are admitted already."""
        if not deliveries:
            return ()
        check_deliveries(deliveries)
        new = unknown((await self.get(xid)).branches, deliveries)
        new = self.registry.addressed(new, "deliveries")
        self.registry.check(new)
        return new

    def _require_running(self) -> None:
        if self._stopping:
            raise ShuttingDown
