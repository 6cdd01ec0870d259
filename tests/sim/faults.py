"""What goes wrong, and how often: drawn once for each seed, and switched off by `heal`."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

from trypact.testing.mortal import MortalJournal
from trypact_coordinator.core.errors import JournalUnavailable
from trypact_coordinator.core.events import Answer, Ok, Pending, Refused, Retry, Unknown
from trypact_coordinator.core.outcome import Call
from trypact_coordinator.core.transaction import Decision, Operation, Transaction
from trypact_coordinator.journal.row import check_batch
from trypact_coordinator.ports import Appended, Due, Verdict, Write

from tests.sim.oracle import Oracle
from tests.sim.participants import Site

Reporter = Callable[[str, str, Ok | Refused], Awaitable[None]]


class Faults:
    """How often each thing goes wrong in this run.

    Some runs are gentle, some are wild; with `wild=0.0` all calls and commits go well.
    """

    def __init__(self, rng: random.Random, wild: float | None = None) -> None:
        self.rng = rng
        self.on = True
        if wild is None:
            wild = rng.choice((0.0, 0.03, 0.1, 0.25))

        def chance() -> float:
            return wild * rng.choice((0, 0, 1, 1, 2))

        self.request_lost = chance()
        self.request_late = chance()
        self.request_twice = chance()
        self.reply_lost = chance()
        self.garbage = chance()
        self.asked_to_retry = chance()
        self.confirm_refused = chance() / 2
        self.append_fails = chance()
        self.append_reply_lost = chance()
        self.load_fails = chance() / 4
        self.crashes = rng.choice((0, 0, 1, 2, 3))
        self.stops = rng.choice((0, 0, 0, 1))
        self.takeovers = rng.choice((0, 0, 0, 1, 2))
        self.site_crashes = rng.choice((0, 0, 1, 2))
        self.clock_jumps = rng.choice((0, 0, 0, 1, 3))
        self.latency_us = rng.choice((200, 2_000, 20_000))

    def happens(self, chance: float) -> bool:
        """Draw; nothing happens after `heal`."""
        return self.on and self.rng.random() < chance

    def heal(self) -> None:
        """Nothing goes wrong from now on."""
        self.on = False

    async def pause(self, most_us: int = 0) -> None:
        """Let some time pass."""
        await asyncio.sleep(self.rng.randint(1, most_us or self.latency_us) / 1e6)


class Network:
    """The way to one participant.

    Args:
        site: who is called.
        faults: what goes wrong on the way.
        report: how the site completes what it answered with PENDING.
        call_timeout_ms: after which an answer is late.
    """

    def __init__(self, site: Site, faults: Faults, report: Reporter, call_timeout_ms: int) -> None:
        self.site = site
        self.faults = faults
        self.report = report
        self.late_us = 3_000 * call_timeout_ms
        self.tasks: set[asyncio.Task[None]] = set()
        # Never answers what follows a decision, healed or not.
        self.poisoned = False

    async def __call__(self, call: Call) -> Answer:
        faults = self.faults
        if faults.happens(faults.request_twice):
            self._later(call)
        if faults.happens(faults.request_lost):
            await faults.pause(self.late_us)
            return Unknown("connection reset")
        if faults.happens(faults.request_late):
            self._later(call)
            await faults.pause(self.late_us)
            return Unknown("connection reset")
        await faults.pause()
        answer = self.arrive(call)
        await faults.pause()
        if faults.happens(faults.reply_lost):
            await faults.pause(self.late_us)
            return Unknown("connection reset")
        return answer

    def arrive(self, call: Call) -> Answer:
        """The request has arrived: what the participant makes of it."""
        faults = self.faults
        if not self.site.up:
            return Unknown("connection refused")
        if self.poisoned and call.decision is not Decision.UNDECIDED:
            return Unknown("poison")
        if faults.happens(faults.garbage):
            return Unknown("garbage")
        if faults.happens(faults.asked_to_retry):
            return Retry(faults.rng.choice((0, 5, 300)))
        after_decision = call.decision is not Decision.UNDECIDED
        if (
            after_decision
            and call.operation is not Operation.DELIVER
            and faults.happens(faults.confirm_refused)
        ):
            return Refused("not today")
        answer = self.site.handle(call, call.branch)
        if type(answer) is Pending:
            self._spawn(self._complete(call))
        return answer

    def _later(self, call: Call) -> None:
        async def straggle() -> None:
            await self.faults.pause(self.late_us)
            self.arrive(call)

        self._spawn(straggle())

    async def _complete(self, call: Call) -> None:
        await self.faults.pause(400_000)
        key = (call.xid, call.branch_id)
        answer = self.site.complete(key, call.branch.kind)
        if isinstance(answer, Ok | Refused) and not self.faults.happens(0.3):
            await self.report(*key, answer)

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled():
            task.exception()


class FaultyJournal(MortalJournal):
    """A memory journal whose commits fail, or whose replies are lost; and which the dead can't use.

    `crash_at` is called before and after each commit: the two places where a crash matters most.
    """

    def __init__(
        self, oracle: Oracle, faults: Faults, crash_at: Callable[["FaultyJournal", str], None]
    ) -> None:
        super().__init__(oracle.store)
        self.oracle = oracle
        self.faults = faults
        self.crash_at = crash_at

    async def append(self, batch: Sequence[Write]) -> Appended:
        """See Journal."""
        check_batch(batch)
        await self.alive()
        await self.faults.pause()
        if self.faults.happens(self.faults.append_fails):
            raise JournalUnavailable("the disk is elsewhere")
        self.crash_at(self, "before a commit")
        await self.alive()
        held = {
            w.record.transaction.xid: self.oracle.durable(w.record.transaction.xid) for w in batch
        }
        self._check_owned()
        verdicts = tuple(map(self._apply, batch))
        for write, verdict in zip(batch, verdicts, strict=True):
            before = held[write.record.transaction.xid]
            again = before is not None and before.version == write.record.transaction.version
            if verdict is Verdict.APPLIED and not again:
                self.oracle.recorded(write, before)
        at = self.store.now_us()
        self.crash_at(self, "after a commit")
        await self.alive()
        await self.faults.pause()
        if self.faults.happens(self.faults.append_reply_lost):
            raise JournalUnavailable("the reply was lost")
        await self.alive()
        return Appended(verdicts, at)

    async def load(self, xid: str) -> Transaction | None:
        """See Journal."""
        await self._read()
        return await super().load(xid)

    async def known(self, xids: Sequence[str]) -> frozenset[str]:
        """See Journal."""
        await self._read()
        return await super().known(xids)

    async def in_flight(self, epoch: int, after: str, limit: int) -> Sequence[Transaction]:
        """See Journal."""
        await self._read()
        return await super().in_flight(epoch, after, limit)

    async def due(self, now: int, after: tuple[int, str], limit: int) -> Sequence[Due]:
        """See Journal."""
        await self._read()
        return await super().due(now, after, limit)

    async def _read(self) -> None:
        await self.alive()
        await self.faults.pause()
        await self.alive()
        if self.faults.happens(self.faults.load_fails):
            raise JournalUnavailable("cannot read")
