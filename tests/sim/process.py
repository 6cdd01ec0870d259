"""One coordinator process: the real runtime between a journal and a transport that can die."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from trypact.testing.virtual_loop import VirtualLoop
from trypact_coordinator.core.errors import JournalError
from trypact_coordinator.core.events import Answer
from trypact_coordinator.core.outcome import Call
from trypact_coordinator.core.policy import Policy
from trypact_coordinator.runtime.clock import JournalClock
from trypact_coordinator.runtime.coordinator import Coordinator
from trypact_coordinator.runtime.settings import RuntimeSettings
from trypact_coordinator.transport.loopback import LoopbackTransport

from tests.sim.faults import FaultyJournal, Network

T = TypeVar("T")

POLICY = Policy(
    call_timeout_ms=200,
    default_timeout_ms=2_000,
    backoff_base_ms=20,
    backoff_cap_ms=500,
    slow_retry_ms=1_000,
    attempts_until_stuck=4,
    notice_attempts=3,
    pending_poll_ms=150,
)
SETTINGS = RuntimeSettings(
    transactions_in_memory_max=8,
    evict_after_ms=100,
    sweep_every_ms=50,
    sweep_page_size=2,
    audit_every_ms=500,
    lane_calls_max=3,
    lane_reserved=1,
    lane_queue_max=64,
    breaker_failures=4,
    breaker_open_ms=200,
    lapse_after_ms=1 << 40,
    records_in_batch_max=3,
)


class Died(Exception):
    """The coordinator died before it answered."""


class Ids:
    """Ids that are the same for the same seed."""

    def __init__(self) -> None:
        self._count = 0

    def new(self) -> str:
        self._count += 1
        return f"id-{self._count}"


class Process:
    """A coordinator from its start to its death. What is dead has no effect on anything."""

    def __init__(
        self,
        name: str,
        loop: VirtualLoop,
        journal: FaultyJournal,
        networks: dict[str, Network],
        rng: random.Random,
        note: Callable[[str], None],
        sent: "Callable[[Process], None]",
    ) -> None:
        self.name = name
        self.sent = sent
        self.loop = loop
        self.journal = journal
        self.note = note
        self.died: asyncio.Future[None] = loop.create_future()
        origin = rng.randint(0, 1 << 40)
        self.transport = MortalTransport(self, networks)
        self.coordinator = Coordinator(
            journal,
            self.transport,
            Ids(),
            JournalClock(lambda: (loop.us + origin) * 1000),
            POLICY,
            SETTINGS,
        )
        self.coordinator.fatal.add_done_callback(self._fatal)

    @property
    def alive(self) -> bool:
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

    async def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Ask the coordinator; raises Died when it dies before its answer is here."""
        if not self.alive:
            work.close()
            raise Died
        task = self.loop.create_task(work)
        await asyncio.wait((task, self.died), return_when=asyncio.FIRST_COMPLETED)
        if not self.alive:
            task.cancel()
            if task.done() and not task.cancelled():
                task.exception()
            raise Died
        return task.result()


class MortalTransport(LoopbackTransport):
    """A transport that neither sends nor hears once its process is dead."""

    def __init__(self, process: Process, networks: dict[str, Network]) -> None:
        super().__init__(networks)
        self.process = process

    def send(self, call: Call, endpoint: str, done: Callable[[Answer], None]) -> None:
        if not self.process.alive:
            return
        what = f"{call.operation.name} {call.xid}/{call.branch_id} #{call.attempt}"
        name = self.process.name
        self.process.note(f"{name}: sends {what} to {endpoint}")

        def heard(answer: Answer) -> None:
            if self.process.alive:
                self.process.note(f"{name}: hears of {what}: {answer}")
                done(answer)

        super().send(call, endpoint, heard)
        self.process.sent(self.process)
