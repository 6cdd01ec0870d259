"""The driver's duties, seen through the facade: a memory journal, and answers given by hand."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from msgspec.structs import replace
from trypact_coordinator.core.admission import fingerprint
from trypact_coordinator.core.errors import (
    AlreadyCancelled,
    AlreadyConfirmed,
    BranchConflict,
    InvalidArgument,
    JournalUnavailable,
    Overloaded,
    OwnershipLost,
    RecordRejected,
    ShuttingDown,
    TryUnsettled,
    UnknownAction,
    UnknownParticipant,
    UnknownTransaction,
    XidConflict,
    XidInUse,
)
from trypact_coordinator.core.events import (
    DecideAct,
    Ok,
    PauseAct,
    Pending,
    Refused,
    ResumeAct,
    SkipAct,
    Unknown,
)
from trypact_coordinator.core.outcome import Reply
from trypact_coordinator.core.policy import Policy
from trypact_coordinator.core.transaction import (
    BranchSpec,
    BranchState,
    Decision,
    Kind,
    Operation,
    Spec,
    State,
    Transaction,
)
from trypact_coordinator.journal.memory import MemoryJournal, MemoryStore
from trypact_coordinator.ports import Appended, Instance, Verdict, Write
from trypact_coordinator.runtime.clock import JournalClock
from trypact_coordinator.runtime.coordinator import Coordinator
from trypact_coordinator.runtime.ids import Uuid7
from trypact_coordinator.runtime.settings import RuntimeSettings

from tests.unit.runtime.scripted import SECOND, HandTransport

STOCK = BranchSpec("stock", Kind.TCC, "inventory.reserve", b"{}")
COUPON = BranchSpec("coupon", Kind.TCC, "coupon.use", b"{}")
SMS = BranchSpec("sms", Kind.NOTICE, "notification.send", b"{}")
SETTINGS = RuntimeSettings(transactions_in_memory_max=3)


def spec_of(
    xid: str,
    *branches: BranchSpec,
    interactive: bool = False,
    nonce: str = "",
    timeout_ms: int = 60_000,
) -> Spec:
    content = fingerprint("order.submit", timeout_ms, branches)
    return Spec(xid, "order.submit", timeout_ms, content, interactive, nonce)


class GatedJournal(MemoryJournal):
    """A memory journal whose writes wait while the gate is shut."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.gate = asyncio.Event()
        self.gate.set()
        self.knocked = asyncio.Event()
        self.refuse_next = False

    async def append(self, batch: list[Write]) -> Appended:
        self.knocked.set()
        await self.gate.wait()
        if self.refuse_next:
            self.refuse_next = False
            return Appended(tuple(Verdict.REJECTED for _ in batch), self.store.now_us())
        return await super().append(batch)


class Shop:
    """A coordinator with three registered participants, whose answers the test gives."""

    def __init__(
        self,
        settings: RuntimeSettings = SETTINGS,
        policy: Policy | None = None,
        store: MemoryStore | None = None,
    ) -> None:
        # One hand moves the database's clock and the process's.
        self.now_us = store.now_us() if store else SECOND
        self.journal = GatedJournal(store or MemoryStore(lambda: self.now_us))
        self.transport = HandTransport()
        self.coordinator = Coordinator(
            self.journal,
            self.transport,
            Uuid7(),
            JournalClock(lambda: self.now_us * 1000),
            policy or Policy(),
            settings,
        )

    async def open(self) -> None:
        await self.coordinator.start("test")
        for participant, verb, kind in (
            ("inventory", "reserve", Kind.TCC),
            ("coupon", "use", Kind.TCC),
            ("notification", "send", Kind.NOTICE),
        ):
            await self.coordinator.registry.register(
                Instance(participant, "1", f"{participant}:1", ((verb, (kind,)),), 0)
            )

    async def answer(self, answer: Ok | Refused | Unknown | Pending, calls: int = 1) -> None:
        """Answer the next calls once they have been sent."""
        for _ in range(calls):
            await turns_until(lambda: self.transport.unanswered > 0)
            self.transport.answer(answer)

    def execute(
        self, xid: str, *branches: BranchSpec, until: Reply = Reply.SETTLED
    ) -> asyncio.Task[Transaction]:
        """Start a one-shot transaction."""
        spec = spec_of(xid, *branches)
        return asyncio.create_task(self.coordinator.execute(spec, branches, until))

    def sent(self) -> list[tuple[str, str]]:
        return [(call.branch_id, call.operation.name) for call in self.transport.sent]


async def turns_until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until a condition holds; a bounded number of turns, no waiting."""
    for _ in range(1_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to hold")


async def memory_is_empty(shop: Shop) -> None:
    """Let the loop turn until no transaction is in memory, with nothing lazy to wait for."""
    for _ in range(1000):
        if not len(shop.coordinator._driver):
            return
        await shop.coordinator.writer.flush()
        await asyncio.sleep(0)
    raise AssertionError("something stays in memory")


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    shop = Shop()
    await shop.open()
    yield shop
    await shop.coordinator.stop(grace_ms=0)


async def test_a_one_shot_is_answered_when_every_branch_is_settled(shop: Shop) -> None:
    run = shop.execute("x", STOCK, COUPON)
    await shop.answer(Ok(b"1"), calls=2)
    await shop.answer(Ok(), calls=2)
    tx = await run
    assert tx.state is State.CONFIRMED
    assert [b.result for b in tx.branches] == [b"1", b"1"]
    assert shop.sent() == [
        ("stock", "TRY"),
        ("coupon", "TRY"),
        ("stock", "CONFIRM"),
        ("coupon", "CONFIRM"),
    ]


async def test_nothing_leaves_before_the_begin_record_is_durable(shop: Shop) -> None:
    shop.journal.gate.clear()
    run = shop.execute("x", STOCK)
    await shop.journal.knocked.wait()
    assert shop.sent() == []
    assert (await shop.coordinator.decision("other", settle=False))[0] is Decision.UNKNOWN
    shop.journal.gate.set()
    await shop.answer(Ok(), calls=2)
    assert (await run).state is State.CONFIRMED


async def test_nobody_is_told_and_nothing_sent_before_the_decision_is_durable(shop: Shop) -> None:
    run = shop.execute("x", STOCK, until=Reply.DECIDED)
    await turns_until(lambda: shop.transport.unanswered == 1)
    shop.journal.gate.clear()
    shop.journal.knocked.clear()
    await shop.answer(Ok())
    await shop.journal.knocked.wait()
    assert shop.sent() == [("stock", "TRY")]
    assert not run.done()
    assert (await shop.coordinator.get("x")).decision is Decision.UNDECIDED
    shop.journal.gate.set()
    assert (await run).decision is Decision.CONFIRM
    await shop.answer(Ok())


async def test_a_refusal_cancels_and_names_the_branch(shop: Shop) -> None:
    run = shop.execute("x", STOCK, COUPON)
    await shop.answer(Ok())
    await shop.answer(Refused("used already"))
    await shop.answer(Ok())
    tx = await run
    assert tx.state is State.CANCELLED
    assert (tx.refused_branch_id, tx.reason) == ("coupon", "used already")
    assert shop.sent()[-1] == ("stock", "CANCEL")


async def test_asking_again_joins_the_same_transaction_running_or_finished(shop: Shop) -> None:
    async def ask() -> State:
        spec = spec_of("x", STOCK)
        return (await shop.coordinator.execute(spec, (STOCK,), Reply.SETTLED)).state

    first, second = asyncio.create_task(ask()), asyncio.create_task(ask())
    await shop.answer(Ok(), calls=2)
    assert await first is State.CONFIRMED
    assert await second is State.CONFIRMED
    assert await ask() is State.CONFIRMED
    assert len(shop.transport.sent) == 2


async def test_the_same_xid_with_other_content_is_a_conflict(shop: Shop) -> None:
    run = shop.execute("x", STOCK)
    await turns_until(lambda: shop.transport.unanswered == 1)
    with pytest.raises(XidConflict):
        await shop.coordinator.execute(spec_of("x", COUPON), (COUPON,), Reply.SETTLED)
    await shop.answer(Ok(), calls=2)
    await run
    with pytest.raises(XidConflict):
        await shop.coordinator.execute(spec_of("x", COUPON), (COUPON,), Reply.SETTLED)


async def test_an_xid_may_be_the_prefix_of_another(shop: Shop) -> None:
    runs = [shop.execute(xid, STOCK) for xid in ("x", "x1")]
    await shop.answer(Ok(), calls=4)
    assert [(await run).xid for run in runs] == ["x", "x1"]


@pytest.mark.parametrize(
    ("branch", "error"),
    [
        (BranchSpec("b", Kind.TCC, "ghost.act"), UnknownParticipant),
        (BranchSpec("b", Kind.TCC, "inventory.reserv"), UnknownAction),
    ],
)
async def test_what_is_not_registered_is_refused_at_the_door(
    shop: Shop, branch: BranchSpec, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await shop.coordinator.execute(spec_of("x", branch), (branch,), Reply.SETTLED)
    assert (await shop.coordinator.decision("x", settle=False))[0] is Decision.UNKNOWN


async def test_only_new_work_is_shed_above_the_limit(shop: Shop) -> None:
    runs = [shop.execute(f"x{n}", STOCK) for n in range(3)]
    await turns_until(lambda: shop.transport.unanswered == 3)
    with pytest.raises(Overloaded):
        await shop.coordinator.execute(spec_of("x3", STOCK), (STOCK,), Reply.SETTLED)
    again = shop.execute("x0", STOCK)
    await shop.answer(Ok(), calls=6)
    await asyncio.gather(*runs, again)
    await memory_is_empty(shop)
    last = shop.execute("x3", STOCK)
    await shop.answer(Ok(), calls=2)
    assert (await last).state is State.CONFIRMED


async def test_an_interactive_transaction_is_begun_by_its_first_try(shop: Shop) -> None:
    spec = spec_of("x", interactive=True, nonce="me")
    trying = asyncio.create_task(shop.coordinator.try_branch("x", spec, STOCK))
    await shop.answer(Ok(b"7"))
    assert (await trying).result == b"7"
    committing = asyncio.create_task(shop.coordinator.commit("x", (SMS,), Reply.SETTLED))
    await shop.answer(Ok(), calls=2)
    assert (await committing).state is State.CONFIRMED
    assert {id_ for id_, _ in shop.sent()} == {"stock", "sms"}
    with pytest.raises(AlreadyConfirmed):
        await shop.coordinator.rollback("x", "", (), Reply.SETTLED)
    with pytest.raises(AlreadyConfirmed):
        await shop.coordinator.try_branch("x", None, COUPON)


async def test_the_same_registration_again_has_the_first_result(shop: Shop) -> None:
    spec = spec_of("x", interactive=True, nonce="me")
    trying = asyncio.create_task(shop.coordinator.try_branch("x", spec, STOCK))
    await shop.answer(Ok(b"7"))
    await trying
    assert (await shop.coordinator.try_branch("x", spec, STOCK)).result == b"7"
    assert len(shop.transport.sent) == 1
    other = BranchSpec("stock", Kind.TCC, "coupon.use")
    with pytest.raises(BranchConflict):
        await shop.coordinator.try_branch("x", None, other)


async def test_another_process_cannot_begin_the_same_xid(shop: Shop) -> None:
    await shop.coordinator.begin(spec_of("x", interactive=True, nonce="me"))
    await shop.coordinator.begin(spec_of("x", interactive=True, nonce="me"))
    with pytest.raises(XidInUse):
        await shop.coordinator.begin(spec_of("x", interactive=True, nonce="other"))
    with pytest.raises(XidConflict):
        await shop.coordinator.execute(spec_of("x", STOCK), (STOCK,), Reply.SETTLED)
    await shop.coordinator.rollback("x", "done", (), Reply.SETTLED)


async def test_commit_with_an_unsettled_try_is_refused(shop: Shop) -> None:
    spec = spec_of("x", interactive=True, nonce="me")
    trying = asyncio.create_task(shop.coordinator.try_branch("x", spec, STOCK))
    await turns_until(lambda: shop.transport.unanswered == 1)
    with pytest.raises(TryUnsettled):
        await shop.coordinator.commit("x", (), Reply.DECIDED)
    rolling = asyncio.create_task(
        shop.coordinator.rollback("x", "changed my mind", (), Reply.SETTLED)
    )
    await shop.coordinator.wait("x", Reply.DECIDED)
    await shop.answer(Ok())
    with pytest.raises(AlreadyCancelled):
        await trying
    await shop.answer(Ok())
    assert (await rolling).state is State.CANCELLED
    with pytest.raises(AlreadyCancelled):
        await shop.coordinator.commit("x", (), Reply.DECIDED)


async def test_an_unknown_xid_settled_by_inquiry_refuses_a_late_execute(shop: Shop) -> None:
    assert await shop.coordinator.decision("x", settle=False) == (Decision.UNKNOWN, False, False)
    decided = await shop.coordinator.decision("x", settle=True)
    assert decided.decision is Decision.CANCEL
    with pytest.raises(AlreadyCancelled, match="before it was begun"):
        await shop.coordinator.execute(spec_of("x", STOCK), (STOCK,), Reply.SETTLED)
    assert await shop.coordinator.decision("x", settle=False) == (Decision.CANCEL, True, True)


async def test_a_report_completes_a_pending_try(shop: Shop) -> None:
    run = shop.execute("x", STOCK)
    await shop.answer(Pending())
    report = shop.coordinator.report
    _, accepted = await report("x", "stock", Operation.TRY, Ok(b"late"))
    assert accepted
    await shop.answer(Ok())
    assert (await run).branches[0].result == b"late"
    assert await report("x", "stock", Operation.TRY, Refused("no")) == (Decision.CONFIRM, False)


async def test_an_operator_can_decide_and_skip_but_never_reverse(shop: Shop) -> None:
    run = shop.execute("x", STOCK)
    await shop.answer(Pending())
    with pytest.raises(TryUnsettled):
        await shop.coordinator.act("x", DecideAct("ann", "why", Decision.CONFIRM))
    await shop.coordinator.act("x", DecideAct("ann", "stuck for hours", Decision.CANCEL))
    with pytest.raises(AlreadyCancelled):
        await shop.coordinator.act("x", DecideAct("ann", "why", Decision.CONFIRM))
    await shop.coordinator.act("x", SkipAct("ann", "done by hand", "stock"))
    tx = await run
    assert tx.state is State.CANCELLED
    assert tx.branches[0].state is BranchState.SKIPPED
    with pytest.raises(InvalidArgument):
        await shop.coordinator.act("x", SkipAct("ann", " ", "stock"))


async def test_a_stopping_coordinator_takes_no_new_work_and_tells_those_who_wait() -> None:
    shop = Shop()
    await shop.open()
    run = shop.execute("x", STOCK)
    await turns_until(lambda: shop.transport.unanswered == 1)
    await shop.coordinator.stop(grace_ms=0)
    with pytest.raises(ShuttingDown):
        await run
    with pytest.raises((ShuttingDown, JournalUnavailable)):
        await shop.coordinator.execute(spec_of("y", STOCK), (STOCK,), Reply.SETTLED)


async def test_nobody_knows_a_transaction_that_was_never_begun(shop: Shop) -> None:
    for asking in (
        shop.coordinator.get("x"),
        shop.coordinator.wait("x", Reply.DECIDED),
        shop.coordinator.commit("x", (), Reply.DECIDED),
        shop.coordinator.act("x", SkipAct("ann", "why", "b")),
    ):
        with pytest.raises(UnknownTransaction):
            await asking


async def test_what_waits_long_leaves_memory_and_the_sweeper_brings_it_back() -> None:
    policy = Policy(slow_retry_ms=30_000)
    shop = Shop(replace(SETTINGS, sweep_every_ms=1), policy)
    await shop.open()
    run = shop.execute("x", STOCK, until=Reply.DECIDED)
    await shop.answer(Ok())
    await run
    await shop.answer(Refused("cannot"))
    await memory_is_empty(shop)
    assert (await shop.coordinator.get("x")).branches[0].stuck
    sent = shop.transport.next_send()
    shop.now_us += 40 * SECOND
    await asyncio.wait_for(sent, 5)
    await shop.answer(Ok())
    assert (await shop.coordinator.wait("x", Reply.SETTLED)).state is State.CONFIRMED
    await shop.coordinator.stop(grace_ms=0)


async def test_an_idle_interactive_transaction_leaves_memory_with_its_results() -> None:
    shop = Shop(replace(SETTINGS, evict_after_ms=1))
    await shop.open()
    spec = spec_of("x", interactive=True, nonce="me")
    trying = asyncio.create_task(shop.coordinator.try_branch("x", spec, STOCK))
    await shop.answer(Ok(b"7"))
    await trying
    await asyncio.wait_for(shop.coordinator._driver.drained(), 5)
    assert (await shop.coordinator.get("x")).branches[0].result == b"7"
    committing = asyncio.create_task(shop.coordinator.commit("x", (), Reply.SETTLED))
    await shop.answer(Ok())
    assert (await committing).state is State.CONFIRMED
    assert shop.sent() == [("stock", "TRY"), ("stock", "CONFIRM")]
    await shop.coordinator.stop(grace_ms=0)


async def test_what_has_ended_can_be_neither_paused_nor_resumed(shop: Shop) -> None:
    run = shop.execute("x", STOCK)
    await shop.answer(Ok(), calls=2)
    await run
    for act in (PauseAct("ann", "why"), ResumeAct("ann", "why")):
        with pytest.raises(AlreadyConfirmed, match="nothing is left to do"):
            await shop.coordinator.act("x", act)


async def test_a_new_term_resumes_what_was_in_flight_and_cancels_nothing() -> None:
    shop = Shop()
    await shop.open()
    spec = spec_of("x", STOCK, COUPON)
    run = asyncio.create_task(shop.coordinator.execute(spec, (STOCK, COUPON), Reply.SETTLED))
    await shop.answer(Ok(b"1"))
    await turns_until(lambda: shop.transport.unanswered == 1)
    # The process dies: nothing it still does has any effect.
    shop.journal.gate.clear()
    shop.journal.store.crash()
    run.cancel()

    heir = Shop(store=shop.journal.store)
    await heir.coordinator.start("heir")
    await heir.coordinator.recovered()
    assert heir.sent() == [("stock", "TRY"), ("coupon", "TRY")]
    assert [call.attempt for call in heir.transport.sent] == [2, 2]
    await heir.answer(Ok(b"1"), calls=2)
    await heir.answer(Ok(), calls=2)
    tx = await heir.coordinator.execute(spec, (STOCK, COUPON), Reply.SETTLED)
    assert tx.state is State.CONFIRMED
    await heir.coordinator.stop(grace_ms=0)


async def test_what_the_journal_refused_once_is_found_by_the_next_audit() -> None:
    shop = Shop(replace(SETTINGS, sweep_every_ms=1, audit_every_ms=10_000))
    await shop.open()
    run = shop.execute("x", STOCK)
    await turns_until(lambda: shop.transport.unanswered == 1)
    shop.journal.refuse_next = True
    await shop.answer(Ok())
    with pytest.raises(RecordRejected):
        await run
    sent = shop.transport.next_send()
    shop.now_us += 11 * SECOND
    await asyncio.wait_for(sent, 5)
    await shop.answer(Ok(), calls=2)
    assert (await shop.coordinator.wait("x", Reply.SETTLED)).state is State.CONFIRMED
    await shop.coordinator.stop(grace_ms=0)


async def test_a_newer_term_stops_the_old_coordinator() -> None:
    shop = Shop()
    await shop.open()
    run = shop.execute("x", STOCK)
    await turns_until(lambda: shop.transport.unanswered == 1)
    shop.journal.store.crash()
    heir = Shop(store=shop.journal.store)
    await heir.coordinator.start("heir")
    await shop.answer(Ok())
    with pytest.raises(OwnershipLost):
        await run
    assert isinstance(await shop.coordinator.fatal, OwnershipLost)
    assert shop.sent() == [("stock", "TRY")]
    await heir.coordinator.stop(grace_ms=0)
    await shop.coordinator.stop(grace_ms=0)
