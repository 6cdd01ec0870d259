"""The group commit where no real journal gets to: its bounds, and an adapter that fails."""

import asyncio
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace
from trypact_coordinator.core.errors import InvariantViolated, JournalError, JournalUnavailable
from trypact_coordinator.core.outcome import Record
from trypact_coordinator.core.policy import Policy
from trypact_coordinator.core.step import begin
from trypact_coordinator.core.transaction import BranchSpec, Kind, Spec
from trypact_coordinator.journal.memory import MemoryJournal
from trypact_coordinator.ports import Appended, Verdict, Write
from trypact_coordinator.runtime.group_commit import (
    IN_STEP_MAX,
    IN_STEP_MIN,
    STALL_SECONDS,
    GroupCommit,
)
from trypact_coordinator.runtime.meters import Meters

XIDS = [f"x{number:02}" for number in range(IN_STEP_MIN)]


class Counting(MemoryJournal):
    """A memory journal that keeps the size of each batch and can be made to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.failure: Exception | None = None
        self.knocked = asyncio.Event()

    async def append(self, batch: Sequence[Write]) -> Appended:
        self.sizes.append(len(batch))
        self.knocked.set()
        if self.failure is not None:
            raise self.failure
        return await super().append(batch)


class Slow(Counting):
    """Takes so many seconds for each batch, on a clock of its own."""

    def __init__(self, seconds: list[float]) -> None:
        super().__init__()
        self._seconds = seconds
        self.now = 0.0

    async def append(self, batch: Sequence[Write]) -> Appended:
        self.now += self._seconds.pop(0)
        return await super().append(batch)


def record(xid: str, payload: bytes = b"") -> Record:
    spec = Spec(xid, "test", 1_000, b"f")
    branch = BranchSpec("b", Kind.TCC, "inventory.reserve", payload)
    written = begin(spec, (branch,), 1_000_000, 1, Policy()).record
    assert written is not None
    return written


def next_record(before: Record, *, forced: bool = True) -> Record:
    transaction = before.transaction
    return Record(replace(transaction, version=transaction.version + 1), forced)


async def fates(writer: GroupCommit, *records: Record) -> list[Any]:
    loop = asyncio.get_running_loop()
    futures = []
    for each in records:
        future = loop.create_future()
        writer.submit(each, future.set_result)
        futures.append(future)
    return await asyncio.gather(*futures)


async def started(
    journal: Counting, records_max: int = 3, bytes_max: int = 100, meters: Meters | None = None
) -> GroupCommit:
    await journal.open("test")
    writer = GroupCommit(journal, lambda at: None, records_max, bytes_max, meters or Meters())
    writer.start()
    return writer


async def test_a_batch_is_bounded_by_records() -> None:
    journal = Counting()
    writer = await started(journal)
    await fates(writer, *(record(f"x{number}") for number in range(7)))
    assert journal.sizes == [3, 3, 1]
    await writer.close()


async def test_a_batch_is_bounded_by_bytes_but_no_record_is_too_large() -> None:
    journal = Counting()
    meters = Meters()
    writer = await started(journal, meters=meters)
    sizes = [60, 40, 1, 500, 10]
    told = await fates(writer, *(record(f"x{s}", b"p" * s) for s in sizes))
    assert told == [Verdict.APPLIED] * 5
    assert journal.sizes == [2, 1, 1, 1]
    assert (meters.batch_records.count, meters.batch_records.total) == (4, 5)
    await writer.close()


async def test_an_adapter_that_fails_for_a_bug_stops_the_writing_and_everyone_is_told() -> None:
    journal = Counting()
    writer = await started(journal)
    journal.failure = InvariantViolated("planted")
    told = await fates(writer, *(record(f"x{number}") for number in range(5)))
    assert all(isinstance(fate, JournalError) and "planted" in str(fate) for fate in told)
    assert len(journal.sizes) == 1
    assert isinstance((await fates(writer, record("late")))[0], JournalError)
    await writer.close()


async def test_closing_gives_up_on_a_journal_that_does_not_answer() -> None:
    journal = Counting()
    writer = await started(journal)
    journal.failure = JournalUnavailable()
    asked = asyncio.create_task(fates(writer, record("x")))
    await journal.knocked.wait()
    await writer.close()
    assert isinstance((await asked)[0], JournalUnavailable)


async def test_a_journal_that_takes_nothing_is_told_with_the_reason() -> None:
    journal, now = Counting(), [5.0]
    writer = await started(journal)
    writer._elapsed = lambda: now[0]
    assert writer.stall() is None
    journal.failure = JournalUnavailable("it is locked")
    asked = asyncio.create_task(fates(writer, record("x")))
    await journal.knocked.wait()
    assert writer.stall() is None
    now[0] += STALL_SECONDS
    assert writer.stall() == (STALL_SECONDS, "it is locked")
    journal.failure = None
    assert await asked == [Verdict.APPLIED]
    assert writer.stall() is None
    await writer.close()


async def test_what_is_on_its_way_is_counted_and_each_batch_tells_how_long_it_took() -> None:
    journal, told = Slow([5.0, 70.0]), list[tuple[float, float]]()
    await journal.open("test")
    writer = GroupCommit(
        *(journal, lambda at: None, 3, 100, Meters()),
        waited=lambda *each: told.append(each),
        elapsed=lambda: journal.now,
    )
    for number in range(4):
        writer.submit(record(f"x{number}"), lambda fate: None)
    assert len(writer) == 4
    assert told == []
    writer.start()
    assert await fates(writer, record("x4")) == [Verdict.APPLIED]
    assert len(writer) == 0
    assert journal.sizes == [3, 2]
    # The second batch waited for the first, and whoever it is told to for nothing else.
    assert told == [(75.0, 5.0), (75.0, 70.0)]
    await writer.close()


async def test_a_failure_around_the_journal_is_told_to_all_who_wait_or_come_later() -> None:
    journal = Counting()
    await journal.open("test")

    def observe(at: int) -> None:
        raise ValueError("a bug")

    writer = GroupCommit(journal, observe, 1, 100, Meters())
    writer.start()
    told = await fates(writer, record("x"), record("y"))
    late = await fates(writer, record("z"))

    assert [str(fate) for fate in (*told, *late)] == ["ValueError: a bug"] * 3
    assert len(writer) == 0
    await writer.close()


async def test_results_fill_a_batch_as_payloads_do() -> None:
    journal = Counting()
    writer = await started(journal, bytes_max=100)
    begun = record("x").transaction
    branches = tuple(replace(branch, result=b"r" * 60) for branch in begun.branches)
    records = [
        Record(replace(begun, spec=replace(begun.spec, xid=f"x{n}"), branches=branches), True)
        for n in range(3)
    ]
    await fates(writer, *records)

    assert journal.sizes == [1, 1, 1]
    await writer.close()


async def turns(writer: GroupCommit, records: list[Record]) -> list[list[str]]:
    """Return the xids that were told in each turn of the loop."""
    loop, told = asyncio.get_running_loop(), list[list[str]]([[]])

    def done(xid: str) -> None:
        if not told[-1]:
            # After whatever else is told in this turn.
            loop.call_soon(told.append, [])
        told[-1].append(xid)

    for each in records:
        xid = each.transaction.xid
        writer.submit(each, lambda _, xid=xid: done(xid))
    await writer.flush()
    return [turn for turn in told if turn]


def sizes(told: list[list[str]]) -> list[int]:
    return [len(turn) for turn in told]


async def test_transactions_that_move_in_step_are_told_in_two_turns() -> None:
    journal = Counting()
    writer = await started(journal, records_max=1000, bytes_max=10_000)
    begun = [record(f"x{number}") for number in range(IN_STEP_MIN + 1)]
    decided = [next_record(each) for each in begun]

    assert sizes(await turns(writer, begun)) == [13]
    # A batch that hardly anybody waits for comes between.
    assert sizes(await turns(writer, [record("stray")])) == [1]
    assert sizes(await turns(writer, decided)) == [7, 6]
    # Too few of those before, whoever else comes with them.
    strangers = [record(f"y{number}") for number in range(20)]
    assert sizes(await turns(writer, [*map(next_record, decided[2:]), *strangers])) == [31]
    assert journal.sizes == [13, 1, 13, 31]
    await writer.close()


async def test_so_many_as_fill_several_messages_are_told_at_once() -> None:
    writer = await started(Counting(), records_max=1000, bytes_max=10_000)
    many = [record(f"x{number}") for number in range(IN_STEP_MAX + 1)]

    assert sizes(await turns(writer, many)) == [129]
    assert sizes(await turns(writer, [next_record(each) for each in many])) == [129]
    await writer.close()


async def test_no_half_is_kept_back_when_others_are_on_their_way() -> None:
    writer = await started(Counting(), records_max=IN_STEP_MIN)
    begun = [record(f"x{number}") for number in range(IN_STEP_MIN)]
    await turns(writer, begun)

    assert sizes(await turns(writer, [*map(next_record, begun), record("y")])) == [12, 1]
    await writer.close()


async def test_lazy_records_are_in_step_with_nobody_and_in_no_half() -> None:
    writer = await started(Counting(), records_max=1000, bytes_max=10_000)
    begun = [record(f"x{number:02}") for number in range(2 * IN_STEP_MIN)]
    await turns(writer, begun)

    finished = [next_record(each, forced=False) for each in begun[IN_STEP_MIN:]]
    first, second = await turns(writer, [*finished, *map(next_record, begun[:IN_STEP_MIN])])
    assert first == [*(f"x{number}" for number in range(12, 24)), *XIDS[::2]]
    assert second == XIDS[1::2]

    strangers = [record(f"y{number}") for number in range(IN_STEP_MIN)]
    again = [next_record(next_record(each), forced=False) for each in begun[:IN_STEP_MIN]]
    assert sizes(await turns(writer, [*again, *strangers])) == [24]
    await writer.close()


async def test_flushing_waits_for_both_halves_but_not_for_what_comes_later() -> None:
    writer = await started(Counting(), records_max=1000, bytes_max=10_000)
    begun = [record(f"x{number}") for number in range(IN_STEP_MIN)]
    await turns(writer, begun)
    told, moving = list[str](), True

    def submit(each: Record) -> None:
        writer.submit(each, lambda _: tell(each))

    def tell(each: Record) -> None:
        told.append(each.transaction.xid)
        if moving:
            submit(next_record(each))

    for each in map(next_record, begun):
        submit(each)
    await writer.flush()

    assert sorted(told) == sorted(each.transaction.xid for each in begun)
    moving = False
    await writer.close()
