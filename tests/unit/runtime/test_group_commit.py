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
from trypact_coordinator.runtime.group_commit import IN_STEP_MAX, IN_STEP_MIN, GroupCommit
from trypact_coordinator.runtime.meters import Meters


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


def next_record(before: Record) -> Record:
    transaction = before.transaction
    return Record(replace(transaction, version=transaction.version + 1), forced=True)


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


async def turns(writer: GroupCommit, records: list[Record]) -> list[int]:
    """Return how many were told in each turn of the loop."""
    loop, told = asyncio.get_running_loop(), [0]

    def done(fate: object) -> None:
        if told[-1] == 0:
            # After whatever this turn does.
            loop.call_soon(told.append, 0)
        told[-1] += 1

    for each in records:
        writer.submit(each, done)
    await writer.flush()
    return told[:-1] if told[-1] == 0 else told


async def test_transactions_that_move_in_step_are_told_in_two_turns() -> None:
    journal = Counting()
    writer = await started(journal, records_max=1000, bytes_max=10_000)
    begun = [record(f"x{number}") for number in range(IN_STEP_MIN + 1)]
    second = [next_record(each) for each in begun]
    third = [next_record(each) for each in second[2:]]

    assert await turns(writer, begun) == [13]
    assert await turns(writer, second) == [7, 6]
    # Too few of the batch before, whoever else comes with them.
    assert await turns(writer, [*third, *(record(f"y{number}") for number in range(20))]) == [31]
    # So many that they fill several messages.
    many = [record(f"z{number}") for number in range(IN_STEP_MAX + 1)]
    assert await turns(writer, many) == [129]
    assert await turns(writer, [next_record(each) for each in many]) == [129]
    assert journal.sizes == [13, 13, 31, 129, 129]
    await writer.close()


async def test_no_half_is_kept_back_when_others_are_on_their_way() -> None:
    journal = Counting()
    writer = await started(journal, records_max=IN_STEP_MIN)
    begun = [record(f"x{number}") for number in range(IN_STEP_MIN)]
    await turns(writer, begun)

    assert await turns(writer, [*map(next_record, begun), record("y")]) == [12, 1]
    await writer.close()
