"""The writer over each journal: what is ready shares a commit, and nothing waits for company."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from trypact_coordinator.core.errors import JournalError, JournalUnavailable, OwnershipLost
from trypact_coordinator.core.outcome import Record
from trypact_coordinator.ports import Appended, Journal, Verdict, Write
from trypact_coordinator.runtime.group_commit import GroupCommit
from trypact_coordinator.runtime.meters import Meters

from tests.conformance.journal.stories import begun, decided, finished, touched

Fate = Verdict | JournalError


class Disturbed:
    """A journal with a wire in front: notes batches, and can lose what goes over it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.batches: list[list[Write]] = []
        # Raised instead of the next replies; `True` in front: after the batch was written.
        self.lose: list[tuple[bool, JournalError]] = []

    async def append(self, batch: Sequence[Write]) -> Appended:
        self.batches.append(list(batch))
        if self.lose:
            written, error = self.lose.pop(0)
            if written:
                await self._journal.append(batch)
            raise error
        return await self._journal.append(batch)


@pytest.fixture
def wire(journal: Journal) -> Disturbed:
    return Disturbed(journal)


@pytest.fixture
async def writer(wire: Disturbed) -> AsyncIterator[GroupCommit]:
    made = GroupCommit(wire, lambda at: None, 16, 1_000_000, Meters())  # type: ignore[arg-type]
    made.start()
    yield made
    await made.close()


def submit(writer: GroupCommit, record: Record) -> "asyncio.Future[Fate]":
    future: asyncio.Future[Fate] = asyncio.get_running_loop().create_future()
    writer.submit(record, future.set_result)
    return future


async def test_a_lazy_record_leaves_by_itself_when_the_writer_is_idle(
    writer: GroupCommit, journal: Journal
) -> None:
    first = begun("x")
    second = decided(first)
    last = finished(second)
    assert not last.forced
    for record in (first, second, last):
        assert await submit(writer, record) is Verdict.APPLIED
    assert await journal.load("x") == last.transaction


async def test_a_lazy_record_leaves_with_the_next_forced_one(
    writer: GroupCommit, wire: Disturbed
) -> None:
    first = begun("x")
    second = decided(first)
    for record in (first, second):
        assert await submit(writer, record) is Verdict.APPLIED
    lazy = submit(writer, finished(second))
    await submit(writer, begun("y"))
    assert lazy.done()
    assert [len(batch) for batch in wire.batches] == [1, 1, 2]


async def test_what_is_ready_in_one_moment_shares_a_commit(
    writer: GroupCommit, wire: Disturbed
) -> None:
    fates = await asyncio.gather(*(submit(writer, begun(f"x{n}")) for n in range(40)))
    assert set(fates) == {Verdict.APPLIED}
    assert [len(batch) for batch in wire.batches] == [16, 16, 8]


async def test_a_batch_whose_reply_was_lost_is_written_again_as_it_was(
    writer: GroupCommit, wire: Disturbed, journal: Journal
) -> None:
    wire.lose = [(True, JournalUnavailable("lost")), (False, JournalUnavailable("down"))]
    fates = [submit(writer, begun("x")), submit(writer, begun("y"))]
    await asyncio.sleep(0)
    late = submit(writer, begun("z"))
    assert await asyncio.gather(*fates, late) == [Verdict.APPLIED] * 3
    first, again, third, fourth = wire.batches
    assert first == again == third
    assert [write.record.transaction.xid for write in fourth] == ["z"]
    assert await journal.load("x") == begun("x").transaction


async def test_each_record_is_told_its_own_fate(writer: GroupCommit) -> None:
    known = begun("known")
    assert await submit(writer, known) is Verdict.APPLIED
    bad = touched(begun("bad"), version=1, due_at=None)
    fates = [submit(writer, record) for record in (begun("a"), bad, touched(known, version=9))]
    assert await asyncio.gather(*fates) == [Verdict.APPLIED, Verdict.REJECTED, Verdict.CONFLICT]


async def test_a_lost_ownership_ends_everything_for_good(
    writer: GroupCommit, wire: Disturbed, journal: Journal
) -> None:
    wire.lose = [(False, OwnershipLost())]
    assert isinstance(await submit(writer, begun("x")), OwnershipLost)
    assert isinstance(await submit(writer, begun("y")), OwnershipLost)
    assert len(wire.batches) == 1
    assert await journal.load("y") is None


async def test_flush_returns_when_everything_is_durable(
    writer: GroupCommit, journal: Journal
) -> None:
    fates = [submit(writer, begun(f"x{n}")) for n in range(20)]
    await writer.flush()
    assert all([await fate is Verdict.APPLIED for fate in fates])
    for n in range(20):
        assert await journal.load(f"x{n}") is not None
