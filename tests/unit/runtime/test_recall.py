"""Many questions about xids are few questions to the journal."""

import asyncio
from collections.abc import Sequence

import pytest
from trypact_coordinator.core.errors import JournalError, JournalUnavailable, ShuttingDown
from trypact_coordinator.journal.memory import MemoryJournal
from trypact_coordinator.runtime.recall import XIDS_IN_QUERY_MAX, Recall


class Knowing(MemoryJournal):
    """Knows some xids, keeps what it was asked, and can fail."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Sequence[str]] = []
        self.failure: Exception | None = None

    async def known(self, xids: Sequence[str]) -> frozenset[str]:
        self.asked.append(xids)
        if self.failure is not None:
            raise self.failure
        return frozenset(xid for xid in xids if xid.startswith("old"))


async def test_what_is_asked_together_is_one_query() -> None:
    journal = Knowing()
    recall = Recall(journal)
    answers = await asyncio.gather(*(recall.knows(xid) for xid in ("old1", "new1", "old2")))
    assert answers == [True, False, True]
    assert journal.asked == [["old1", "new1", "old2"]]
    await recall.close()


async def test_a_query_is_bounded_and_the_rest_is_the_next() -> None:
    journal = Knowing()
    recall = Recall(journal)
    xids = [f"new{number}" for number in range(XIDS_IN_QUERY_MAX + 1)]
    assert not any(await asyncio.gather(*map(recall.knows, xids)))
    assert [len(asked) for asked in journal.asked] == [XIDS_IN_QUERY_MAX, 1]
    await recall.close()


async def test_what_is_no_xid_spoils_nobody_s_question() -> None:
    journal = Knowing()
    recall = Recall(journal)
    answers = await asyncio.gather(*map(recall.knows, ("old", "a\0b")))
    assert answers == [True, False]
    assert journal.asked == [["old"]]
    await recall.close()


async def test_a_journal_that_fails_is_no_answer() -> None:
    journal = Knowing()
    recall = Recall(journal)
    journal.failure = JournalUnavailable()
    with pytest.raises(JournalUnavailable):
        await recall.knows("old")
    journal.failure = None
    assert await recall.knows("old")
    await recall.close()


async def test_one_who_fails_at_the_answer_costs_nobody_else_theirs() -> None:
    recall = Recall(Knowing())

    def fails(_: object) -> None:
        raise RuntimeError("a bug")

    recall.ask(("old",), fails)
    assert await recall.knows("old")
    assert await recall.knows("old2")
    await recall.close()


async def test_a_bug_in_the_journal_is_a_journal_error_once_and_the_next_is_asked() -> None:
    journal = Knowing()
    recall = Recall(journal)
    journal.failure = RuntimeError("a bug")
    with pytest.raises(JournalError, match="a bug"):
        await recall.knows("old")
    journal.failure = None
    assert await recall.knows("old")
    await recall.close()


async def test_whoever_waits_when_it_closes_or_asks_later_is_told() -> None:
    recall = Recall(Knowing())
    waiting = asyncio.ensure_future(recall.knows("old"))
    await asyncio.sleep(0)
    await recall.close()
    for asked in (waiting, recall.knows("old")):
        with pytest.raises(ShuttingDown):
            await asked
