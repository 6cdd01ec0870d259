"""Counting what is not done yet: by state, with the oldest of each, and what needs a human."""

from msgspec.structs import replace as with_fields
from trypact_coordinator.core.outcome import Record
from trypact_coordinator.core.transaction import State
from trypact_coordinator.ports import Backlog, Journal, Unfinished

from tests.conformance.journal.stories import (
    T0,
    begun,
    decided,
    everything,
    finished,
    frozen,
    paused,
    stuck,
    write,
)


async def keep(journal: Journal, *records: Record) -> None:
    for record in records:
        await journal.append([write(record)])


async def test_an_empty_journal_has_nothing_to_count(journal: Journal) -> None:
    assert await journal.backlog() == Backlog((), 0)


async def test_what_is_unfinished_is_counted_by_state_with_the_oldest_of_each(
    journal: Journal,
) -> None:
    confirming, done = begun("confirming", at=T0 + 2), begun("done", at=T0 - 9)
    await keep(journal, begun("trying", at=T0 + 1), begun("older", at=T0))
    await keep(journal, confirming, decided(confirming))
    await keep(journal, done, decided(done), finished(decided(done)))
    assert await journal.backlog() == Backlog(
        (Unfinished(State.TRYING, 2, T0), Unfinished(State.CONFIRMING, 1, T0 + 2)), 0
    )


async def test_what_is_stuck_or_paused_is_counted_until_it_is_done(journal: Journal) -> None:
    held, broken, needy = (begun(xid, at=T0) for xid in ("held", "broken", "needy"))
    await keep(journal, held, paused(held), broken, frozen(broken))
    await keep(journal, needy, decided(needy), stuck(decided(needy)))
    assert await journal.backlog() == Backlog(
        (Unfinished(State.TRYING, 2, T0), Unfinished(State.CONFIRMING, 1, T0)), 2
    )
    mended = with_fields(finished(decided(needy)).transaction, version=4)
    await keep(journal, Record(mended, forced=False))
    assert await journal.backlog() == Backlog((Unfinished(State.TRYING, 2, T0),), 1)


async def test_a_decided_one_counts_while_deliveries_remain(journal: Journal) -> None:
    await keep(journal, Record(everything(), forced=True, admits=True))
    assert await journal.backlog() == Backlog((Unfinished(State.CANCELLED, 1, T0),), 1)
