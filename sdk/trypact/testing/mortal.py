"""A coordinator that can die at any moment, in the middle of another process.

It is the real runtime between a journal and a transport that stop working when it dies: whatever
still runs in there afterwards reaches nobody, as if it had never run. What was durable by then
stays in the store, for the next one.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from trypact_coordinator.core.errors import JournalError
from trypact_coordinator.core.events import Answer
from trypact_coordinator.core.outcome import Call
from trypact_coordinator.core.policy import Policy
from trypact_coordinator.core.transaction import Transaction
from trypact_coordinator.journal.memory import MemoryJournal, MemoryStore
from trypact_coordinator.ports import Appended, Done, Due, Write
from trypact_coordinator.runtime.clock import JournalClock
from trypact_coordinator.runtime.coordinator import Coordinator
from trypact_coordinator.runtime.failpoints import Failpoints
from trypact_coordinator.runtime.settings import RuntimeSettings
from trypact_coordinator.transport.loopback import LoopbackTransport, Served

from trypact.testing.virtual_loop import VirtualLoop

ResultT = TypeVar("ResultT")


class Died(Exception):
    """The coordinator died before it answered."""


class CountedIds:
    """Ids that are the same in every run."""

    def __init__(self) -> None:
        self._count = 0

    def new(self) -> str:
        """Return the next id."""
        self._count += 1
        return f"id-{self._count}"


async def never() -> NoReturn:
    """Wait as a dead process waits."""
    await asyncio.get_running_loop().create_future()
    raise RuntimeError("a future that nobody completes was completed")


class MortalJournal(MemoryJournal):
    """A journal in memory that answers no more once its coordinator is dead.

    A commit gives way to the loop before and after it, so that its coordinator can die there.
    """

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.dead = False

    async def append(self, batch: Sequence[Write]) -> Appended:
        """See Journal."""
        await self.alive()
        return await self._heard(await super().append(batch))

    async def load(self, xid: str) -> Transaction | None:
        """See Journal."""
        return await self._heard(await super().load(xid))

    async def known(self, xids: Sequence[str]) -> frozenset[str]:
        """See Journal."""
        return await self._heard(await super().known(xids))

    async def in_flight(self, epoch: int, after: str, limit: int) -> Sequence[Transaction]:
        """See Journal."""
        return await self._heard(await super().in_flight(epoch, after, limit))

    async def due(self, now: int, after: tuple[int, str], limit: int) -> Sequence[Due]:
        """See Journal."""
        return await self._heard(await super().due(now, after, limit))

    async def alive(self) -> None:
        """Return, unless the coordinator is dead: then never."""
        if self.dead:
            await never()

    async def _heard(self, answer: ResultT) -> ResultT:
        await self.alive()
        return answer


class MortalCoordinator:
    """A coordinator from its start to its death. What is dead has no effect on anything.

    Args:
        name: of this process, for the trace.
        loop: on whose time it lives.
        journal: its hold on the store.
        endpoints: who is called, by endpoint.
        policy: the core's durations and budgets.
        settings: the runtime's limits and intervals.
        note: writes a line into the trace.
        sent: told after each call that has left.
        origin_us: where its local clock begins.
    """

    def __init__(
        self,
        name: str,
        loop: VirtualLoop,
        journal: MortalJournal,
        endpoints: Mapping[str, Served],
        policy: Policy,
        settings: RuntimeSettings,
        note: Callable[[str], None],
        sent: "Callable[[MortalCoordinator], None]" = lambda process: None,
        origin_us: int = 0,
    ) -> None:
        self.name = name
        self.sent = sent
        self.loop = loop
        self.journal = journal
        self.note = note
        self.died: asyncio.Future[None] = loop.create_future()
        self.failpoints = Failpoints(die=lambda: self.kill("at its failpoint"))
        self.coordinator = Coordinator(
            journal,
            _MortalTransport(self, endpoints),
            CountedIds(),
            JournalClock(lambda: (loop.us + origin_us) * 1000),
            policy,
            settings,
            self.failpoints,
        )
        self.coordinator.fatal.add_done_callback(self._fatal)

    @property
    def alive(self) -> bool:
        """Whether it has not died yet."""
        return not self.died.done()

    async def start(self) -> bool:
        """Start it; False when it died or failed on the way."""
        try:
            term = await self.call(self.coordinator.start(self.name))
        except (Died, JournalError):
            self.kill("failed to start")
            return False
        self.note(f"{self.name}: started, epoch {term.epoch}")
        return True

    def kill(self, why: str) -> None:
        """Die here and now: no clean-up, no further effect."""
        if not self.alive:
            return
        self.note(f"{self.name}: dies ({why})")
        self.journal.dead = True
        self.died.set_result(None)

    def _fatal(self, fatal: "asyncio.Future[Any]") -> None:
        if not fatal.cancelled():
            self.kill(f"stops itself: {type(fatal.result()).__name__}")

    async def call(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Ask the coordinator; raises Died when it dies before its answer is here."""
        if not self.alive:
            work.close()
            raise Died
        task = self.loop.create_task(work)
        try:
            await asyncio.wait((task, self.died), return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not task.done():
                task.cancel()
        if not self.alive:
            if task.done() and not task.cancelled():
                task.exception()
            raise Died
        return task.result()


class _MortalTransport(LoopbackTransport):
    """A transport that neither sends nor hears once its coordinator is dead."""

    def __init__(self, process: MortalCoordinator, endpoints: Mapping[str, Served]) -> None:
        super().__init__(endpoints)
        self._process = process

    def send(self, call: Call, endpoint: str, done: Done) -> None:
        """See Transport."""
        process = self._process
        if not process.alive:
            return
        what = f"{call.operation.name} {call.xid}/{call.branch_id} #{call.attempt}"
        process.note(f"{process.name}: sends {what} to {endpoint}")

        def heard(call: Call, answer: Answer) -> None:
            if process.alive:
                process.note(f"{process.name}: hears of {what}: {answer}")
                done(call, answer)

        super().send(call, endpoint, heard)
        process.sent(process)
