"""Searching a journal: every filter, newest first, page by page."""

import pytest
from msgspec.structs import replace as with_fields
from trypact_coordinator.core.errors import InvalidArgument
from trypact_coordinator.core.outcome import Record
from trypact_coordinator.core.transaction import BranchSpec, Kind, State
from trypact_coordinator.ports import Journal, Query, Verdict

from tests.conformance.journal.stories import (
    T0,
    begun,
    decided,
    finished,
    frozen,
    paused,
    stuck,
    touched,
    write,
)

SHIP = (BranchSpec("s", Kind.SAGA, "warehouse.ship", b""),)


async def keep(journal: Journal, *records: Record) -> None:
    for record in records:
        appended = await journal.append([write(record)])
        assert appended.verdicts == (Verdict.APPLIED,), record.transaction.xid


@pytest.fixture
async def seeded(journal: Journal) -> Journal:
    """One transaction of each sort, each a second younger than the one before."""
    trying = begun("trying", at=T0, labels=(("order", "17"), ("region", "eu")))
    confirming = begun("confirming", at=T0 + 1, labels=(("order", "18"), ("region", "eu")))
    done = begun("done", at=T0 + 2, labels=(("order", "17 b"), ("region", "eu")))
    held = begun("held", at=T0 + 3, name="order.cancel")
    broken = begun("broken", at=T0 + 4, branches=SHIP)
    needy = begun("needy", at=T0 + 5, labels=(("order", 'q"\\{},\0'),))
    await keep(journal, trying)
    await keep(journal, confirming, decided(confirming))
    await keep(journal, done, decided(done), finished(decided(done)))
    await keep(journal, held, paused(held))
    await keep(journal, broken, frozen(broken))
    await keep(journal, needy, decided(needy), stuck(decided(needy)))
    return journal


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (Query(), "needy broken held done confirming trying"),
        (Query(state=State.TRYING), "broken held trying"),
        (Query(state=State.CONFIRMING), "needy confirming"),
        (Query(state=State.CONFIRMED), "done"),
        (Query(state=State.CANCELLED), ""),
        (Query(name="order.cancel"), "held"),
        (Query(name="order"), ""),
        (Query(label=("order", "17")), "trying"),
        (Query(label=("order", "17 b")), "done"),
        (Query(label=("order", "1")), ""),
        (Query(label=("order", 'q"\\{},\0')), "needy"),
        (Query(label=("region", "eu")), "done confirming trying"),
        (Query(label=("region", "eu"), unfinished=True), "confirming trying"),
        (Query(label=("region", "eu"), stuck=True), ""),
        (Query(label=("order", 'q"\\{},\0'), stuck=True), "needy"),
        (
            Query(label=("region", "eu"), participant="inventory", paused=False),
            "done confirming trying",
        ),
        (Query(participant="warehouse"), "broken"),
        (Query(participant="ware"), ""),
        (Query(participant="inventory", state=State.CONFIRMED), "done"),
        (Query(stuck=True), "needy broken"),
        (Query(stuck=False), "held done confirming trying"),
        (Query(stuck=True, state=State.TRYING), "broken"),
        (Query(paused=True), "held"),
        (Query(paused=False), "needy broken done confirming trying"),
        (Query(unfinished=True), "needy broken held confirming trying"),
        (Query(unfinished=False), "done"),
        (Query(created_after=T0 + 3), "needy broken"),
        (Query(created_before=T0 + 2), "confirming trying"),
        (Query(created_after=T0, created_before=T0 + 2), "confirming"),
        (Query(name="x'; DROP TABLE transactions --"), ""),
    ],
)
async def test_find_shows_what_every_term_holds_for(
    seeded: Journal, query: Query, expected: str
) -> None:
    page = await seeded.find(query, "", 10)
    assert [tx.xid for tx in page.transactions] == expected.split()
    assert page.next_cursor == ""
    for tx in page.transactions:
        assert tx == await seeded.load(tx.xid)


@pytest.mark.parametrize(
    "query",
    [
        Query(),
        Query(unfinished=True),
        Query(stuck=False),
        Query(label=("region", "eu")),
        Query(participant="inventory"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 6])
async def test_pages_together_are_the_whole(seeded: Journal, query: Query, size: int) -> None:
    whole = await seeded.find(query, "", 100)
    assert len(whole.transactions) > 1
    xids, cursor = [], ""
    while True:
        page = await seeded.find(query, cursor, size)
        assert 1 <= len(page.transactions) <= size
        xids += [tx.xid for tx in page.transactions]
        cursor = page.next_cursor
        if not cursor:
            break
    assert xids == [tx.xid for tx in whole.transactions]


async def test_transactions_of_one_instant_page_by_xid(journal: Journal) -> None:
    await keep(journal, *(begun(xid, at=T0) for xid in "bdac"))
    first = await journal.find(Query(), "", 3)
    second = await journal.find(Query(), first.next_cursor, 3)
    xids = [tx.xid for page in (first, second) for tx in page.transactions]
    assert xids == ["d", "c", "b", "a"]


async def test_rows_that_come_meanwhile_shift_no_page(journal: Journal) -> None:
    await keep(journal, *(begun(f"x{n}", at=T0 + n) for n in range(4)))
    first = await journal.find(Query(), "", 2)
    await keep(journal, begun("newer", at=T0 + 9))
    second = await journal.find(Query(), first.next_cursor, 2)
    assert [tx.xid for tx in second.transactions] == ["x1", "x0"]


async def test_what_joins_later_is_found_by_its_participant(journal: Journal) -> None:
    first = begun("x", branches=(), interactive=True)
    tx = begun("x", branches=SHIP, interactive=True).transaction
    await keep(journal, first)
    assert (await journal.find(Query(participant="warehouse"), "", 9)).transactions == ()
    second = touched(first, branches=tx.branches)
    await keep(journal, Record(second.transaction, forced=True, admits=True))
    assert len((await journal.find(Query(participant="warehouse"), "", 9)).transactions) == 1


async def test_what_is_mended_is_stuck_no_more(journal: Journal) -> None:
    first = begun("x")
    second = decided(first)
    third = stuck(second)
    await keep(journal, first, second, third)
    assert third.transaction.stuck_reason == "stock: no such reservation"
    assert len((await journal.find(Query(stuck=True), "", 9)).transactions) == 1
    mended = with_fields(finished(second).transaction, version=4)
    await keep(journal, Record(mended, forced=False))
    assert (await journal.find(Query(stuck=True), "", 9)).transactions == ()


@pytest.mark.parametrize("cursor", ["x", "1", "1:", ":x", "-1:x", "1:x y", "9" * 30 + ":x", "1:é"])
async def test_a_cursor_it_did_not_write_is_refused(journal: Journal, cursor: str) -> None:
    with pytest.raises(InvalidArgument, match="page_token"):
        await journal.find(Query(), cursor, 10)
