"""Single histories of the real coordinator in virtual time: what random seeds rarely draw."""

import asyncio
import random
from typing import Any

from msgspec.structs import replace
from trypact.testing.mortal import CountedIds
from trypact.testing.virtual_loop import VirtualLoop
from trypact_coordinator.core.admission import fingerprint
from trypact_coordinator.core.errors import ShuttingDown
from trypact_coordinator.core.events import Answer, Ok, Pending, Unknown
from trypact_coordinator.core.outcome import Call, Reply
from trypact_coordinator.core.transaction import (
    BranchSpec,
    BranchState,
    Kind,
    Operation,
    Spec,
    State,
)
from trypact_coordinator.journal.memory import MemoryJournal, MemoryStore
from trypact_coordinator.ports import Instance
from trypact_coordinator.runtime.clock import JournalClock
from trypact_coordinator.runtime.coordinator import Coordinator
from trypact_coordinator.transport.loopback import LoopbackTransport

from tests.sim.process import POLICY, SETTINGS


class Stage:
    """One coordinator, one participant whose answers the test chooses."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.store = MemoryStore(lambda: 1_000_000_000 + loop.us)
        self.store.registry["shop", "i"] = Instance("shop", "i", "shop", (("do", tuple(Kind)),), 0)
        self.answers: dict[tuple[Operation, str], Answer] = {}
        self.heard: list[tuple[Operation, str]] = []
        # When each was heard first.
        self.heard_at: dict[tuple[Operation, str], int] = {}
        self.loop = loop
        self.coordinator = self._coordinator()

    def _coordinator(self) -> Coordinator:
        return Coordinator(
            MemoryJournal(self.store),
            LoopbackTransport({"shop": self.serve}),
            CountedIds(),
            JournalClock(lambda: self.loop.us * 1000),
            replace(POLICY, pending_poll_ms=5_000),
            SETTINGS,
        )

    async def restart(self) -> None:
        """Another coordinator takes the journal from one that has died."""
        self.coordinator._driver.abandon(ShuttingDown())
        await self.coordinator.stop(0)
        self.store.crash()
        self.coordinator = self._coordinator()
        await self.coordinator.start("the next one")

    async def serve(self, call: Call) -> Answer:
        key = (call.operation, call.branch_id)
        self.heard.append(key)
        self.heard_at.setdefault(key, self.coordinator.clock.now())
        return self.answers.get(key, Ok(b"done"))


def play(scene: Any) -> None:
    loop = VirtualLoop(random.Random(1), lambda: None)

    async def main() -> None:
        stage = Stage(loop)
        await stage.coordinator.start("test")
        await scene(stage)
        await stage.coordinator.stop(0)

    async def end() -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    try:
        loop.run_until_complete(main())
    finally:
        loop.run_until_complete(end())
        loop.close()


def tcc(branch_id: str, *after: str) -> BranchSpec:
    return BranchSpec(branch_id, Kind.TCC, "shop.do", after=after)


INTERACTIVE = Spec("x", "order", 60_000, fingerprint("order", 60_000, ()), True, "n")


def test_a_try_that_left_without_a_record_is_cancelled_though_memory_forgot_it():
    """`b` was tried because `a` was reported; no record says so."""

    async def scene(stage: Stage) -> None:
        coordinator = stage.coordinator
        stage.answers[Operation.TRY, "a"] = Pending()
        await coordinator.begin(INTERACTIVE)
        tries = []
        for branch in (tcc("a"), tcc("b", "a")):
            call = coordinator.try_branch("x", INTERACTIVE, branch)
            tries.append(asyncio.ensure_future(call))
            await asyncio.sleep(0.1)
        await coordinator.report("x", "a", Operation.TRY, Ok(b"late"))
        for tried in await asyncio.gather(*tries):
            assert tried.state is BranchState.TRIED
        coordinator._driver._drop(coordinator._driver._slots["x"])
        tx = await coordinator.rollback("x", "changed my mind", (), Reply.SETTLED)
        assert tx.state is State.CANCELLED
        assert (Operation.CANCEL, "a") in stage.heard
        assert (Operation.CANCEL, "b") in stage.heard

    play(scene)


def test_a_registration_asked_again_finds_its_transaction_in_the_journal():
    async def scene(stage: Stage) -> None:
        coordinator = stage.coordinator
        await coordinator.begin(INTERACTIVE)
        for branch in (tcc("a"), tcc("b", "a")):
            await coordinator.try_branch("x", INTERACTIVE, branch)
        coordinator._driver._drop(coordinator._driver._slots["x"])
        again = await coordinator.try_branch("x", INTERACTIVE, tcc("b", "a"))
        assert again.state is BranchState.TRIED

    play(scene)


def test_a_coordinator_with_nothing_to_write_learns_that_it_was_replaced():
    async def scene(stage: Stage) -> None:
        stage.store.crash()
        await MemoryJournal(stage.store).open("another")
        error = await asyncio.wait_for(stage.coordinator.fatal, 2)
        assert error.reason == "OWNERSHIP_LOST"

    play(scene)


def test_a_reservation_that_ends_frees_what_a_vanished_initiator_left():
    """Half an hour after the Try, though the deadline is a day away and the coordinator died."""

    async def scene(stage: Stage) -> None:
        day_ms, minutes_us = 86_400_000, 60_000_000
        spec = replace(INTERACTIVE, timeout_ms=day_ms, fingerprint=fingerprint("order", day_ms, ()))
        ends_at = stage.coordinator.clock.now() + 30 * minutes_us
        stage.answers[Operation.TRY, "a"] = Ok(b"seat 17", ends_at)
        await stage.coordinator.try_branch("x", spec, tcc("a"))
        await asyncio.sleep(60)
        await stage.restart()
        await asyncio.sleep(28 * 60)
        assert (Operation.CANCEL, "a") not in stage.heard
        tx = await stage.coordinator.wait("x", Reply.SETTLED)
        assert tx.state is State.CANCELLED
        late_us = stage.coordinator.clock.now() - ends_at
        assert 0 <= late_us < minutes_us

    play(scene)


def test_a_delayed_message_closes_the_order_that_nobody_paid_though_the_coordinator_dies():
    """The message is the timer: it is in the journal, and leaves once its time has come."""

    async def scene(stage: Stage) -> None:
        close = BranchSpec("close", Kind.MESSAGE, "shop.do", delay_ms=30 * 60_000)
        branches = (tcc("a"), close)
        spec = Spec("y", "order", 1000, fingerprint("order", 1000, branches))
        await stage.coordinator.execute(spec, branches, Reply.SETTLED)
        decided_at = stage.coordinator.clock.now()
        for _ in range(3):
            await asyncio.sleep(9 * 60)
            await stage.restart()
        assert (Operation.DELIVER, "close") not in stage.heard
        stage.answers[Operation.DELIVER, "close"] = Unknown("still closing")
        await asyncio.sleep(4 * 60)
        await stage.restart()
        assert stage.heard_at[Operation.DELIVER, "close"] >= decided_at + 30 * 60_000_000
        del stage.answers[Operation.DELIVER, "close"]
        await asyncio.sleep(2 * 60)
        durable = stage.store.transactions["y"][0].branch("close")
        assert durable.state is BranchState.DELIVERED

    play(scene)


def test_a_delivery_far_away_is_in_the_journal_and_not_in_memory():
    async def scene(stage: Stage) -> None:
        notice = BranchSpec("n", Kind.NOTICE, "shop.do", delay_ms=3_600_000)
        branches = (tcc("a"), notice)
        spec = Spec("y", "order", 1000, fingerprint("order", 1000, branches))
        tx = await stage.coordinator.execute(spec, branches, Reply.SETTLED)
        assert tx.state is State.CONFIRMED
        await asyncio.sleep(1)
        assert "y" not in stage.coordinator._driver
        await asyncio.sleep(3_600)
        assert (Operation.DELIVER, "n") in stage.heard

    play(scene)
