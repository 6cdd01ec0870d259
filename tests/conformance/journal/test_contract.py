"""The contract of `ports.Journal`: the same tests over memory, SQLite and PostgreSQL."""

from collections.abc import Callable

import pytest
from msgspec.structs import fields
from msgspec.structs import replace as with_fields
from trypact_coordinator.core.errors import (
    InvariantViolated,
    JournalLocked,
    JournalUnavailable,
)
from trypact_coordinator.core.outcome import Record
from trypact_coordinator.core.transaction import (
    IN_FLIGHT,
    NEVER,
    PARKED,
    Branch,
    BranchSpec,
    Kind,
    Role,
)
from trypact_coordinator.ports import Instance, Journal, Verdict, Write

from tests.conformance.journal.stories import (
    SECOND,
    T0,
    begun,
    decided,
    everything,
    finished,
    paused,
    touched,
    waiting,
    write,
)

Opener = Callable[[], Journal]
APPLIED, CONFLICT, REJECTED = Verdict.APPLIED, Verdict.CONFLICT, Verdict.REJECTED


async def put(journal: Journal, *records: Record) -> tuple[Verdict, ...]:
    return (await journal.append([write(record) for record in records])).verdicts


async def keep(journal: Journal, *records: Record) -> None:
    assert set(await put(journal, *records)) == {APPLIED}


# ---------------------------------------------------------------- round trips


async def test_every_field_of_a_transaction_comes_back(journal: Journal) -> None:
    tx = everything()
    for part in (tx, tx.spec, tx.branches[0], tx.branches[1].spec):
        for field in fields(part):
            if field.name != "payload" and not field.required:
                assert getattr(part, field.name) != field.default, f"{field.name} proves nothing"
    assert await put(journal, Record(tx, forced=True, admits=True)) == (APPLIED,)
    assert await journal.load(tx.xid) == tx


async def test_a_transaction_comes_back_as_its_last_record(journal: Journal) -> None:
    first = begun("x")
    second = decided(first)
    third = finished(second)
    for record in (first, second, third):
        assert await put(journal, record) == (APPLIED,)
        assert await journal.load("x") == record.transaction


async def test_a_deadline_that_moves_comes_back_without_new_branches(journal: Journal) -> None:
    first = begun("x")
    await keep(journal, first)
    for deadline_at in (T0 + 5, NEVER):
        first = touched(first, deadline_at=deadline_at)
        assert await put(journal, first) == (APPLIED,)
        assert await journal.load("x") == first.transaction


async def test_branches_that_join_later_come_back(journal: Journal) -> None:
    first = begun("x", branches=(), interactive=True)
    await keep(journal, first)
    joined = Branch(BranchSpec("late", Kind.TCC, "coupon.use", b"late payload"), Role.TCC)
    second = with_fields(touched(first, branches=(joined,)), admits=True)
    assert await put(journal, second) == (APPLIED,)
    assert await journal.load("x") == second.transaction


async def test_an_unknown_xid_is_nothing(journal: Journal) -> None:
    await keep(journal, begun("x1"))
    assert await journal.load("x") is None
    assert await journal.load("x11") is None


async def test_xids_that_look_alike_are_strangers(journal: Journal) -> None:
    xids = ["a", "A", "a'b", 'a"b', "a\\b", "a%", "a_", "{a}", "NULL", "a,b", "~" * 128]
    assert set(await put(journal, *map(begun, xids))) == {APPLIED}
    for xid in xids:
        found = await journal.load(xid)
        assert found is not None
        assert found.xid == xid


async def test_of_many_xids_those_that_are_known_are_told(journal: Journal) -> None:
    xids = ["a", "a'b", 'a"b', "a\\b", "{a}", "[1]", "NULL", "~" * 128]
    await keep(journal, *map(begun, xids))
    strangers = ["A", "a'", "1", "", "~" * 127]
    assert await journal.known([*strangers, *xids]) == frozenset(xids)
    assert await journal.known(strangers) == frozenset()
    assert await journal.known([]) == frozenset()


async def test_large_payloads_and_many_branches_come_back(journal: Journal) -> None:
    branches = tuple(
        BranchSpec(f"b{n}", Kind.TCC, "inventory.reserve", bytes([n]) * 8_000) for n in range(256)
    )
    record = begun("large", branches=branches)
    assert await put(journal, record, begun("small")) == (APPLIED, APPLIED)
    assert await journal.load("large") == record.transaction
    assert await put(journal, decided(record)) == (APPLIED,)
    assert await journal.load("large") == decided(record).transaction


# ---------------------------------------------------------------- compare-and-set


async def test_each_record_gets_its_own_verdict_in_the_order_given(journal: Journal) -> None:
    known = begun("m")
    await keep(journal, known)
    batch = [begun("z"), begun("m"), decided(known), begun("a")]
    assert await put(journal, *batch[:2], batch[3]) == (APPLIED, CONFLICT, APPLIED)
    assert await put(journal, batch[2], begun("zz")) == (APPLIED, APPLIED)


async def test_of_two_begins_of_one_xid_the_first_wins(journal: Journal) -> None:
    first, second = begun("x", name="first"), begun("x", name="second")
    assert await put(journal, first) == (APPLIED,)
    assert await put(journal, second) == (CONFLICT,)
    assert await journal.load("x") == first.transaction


async def test_of_two_updates_of_one_version_the_first_wins(journal: Journal) -> None:
    first = begun("x")
    await keep(journal, first)
    assert await put(journal, decided(first)) == (APPLIED,)
    assert await put(journal, paused(first)) == (CONFLICT,)
    assert await journal.load("x") == decided(first).transaction


async def test_a_record_that_skips_a_version_is_a_conflict(journal: Journal) -> None:
    first = begun("x")
    await keep(journal, first)
    assert await put(journal, finished(decided(first))) == (CONFLICT,)
    assert await journal.load("x") == first.transaction


async def test_an_update_of_nothing_is_a_conflict(journal: Journal) -> None:
    assert await put(journal, decided(begun("x"))) == (CONFLICT,)
    assert await journal.load("x") is None


async def test_a_record_of_an_older_epoch_than_the_row_is_a_conflict(journal: Journal) -> None:
    first = begun("x", epoch=2)
    await keep(journal, first)
    assert await put(journal, touched(first, epoch=1)) == (CONFLICT,)
    assert await put(journal, touched(first, epoch=2)) == (APPLIED,)


async def test_a_write_that_is_repeated_recognises_itself(journal: Journal) -> None:
    begin, decision = begun("x"), decided(begun("x"))
    first, second = Write(begin, 1), Write(decision, 2)
    assert (await journal.append([first])).verdicts == (APPLIED,)
    assert (await journal.append([first])).verdicts == (APPLIED,)
    assert (await journal.append([second])).verdicts == (APPLIED,)
    assert (await journal.append([second])).verdicts == (APPLIED,)
    assert (await journal.append([Write(decision, 3)])).verdicts == (CONFLICT,)
    assert await journal.load("x") == decision.transaction


async def test_a_repeated_batch_completes_what_was_missing(journal: Journal) -> None:
    batch = [write(begun(xid)) for xid in "abc"]
    await journal.append(batch[1:2])
    assert (await journal.append(batch)).verdicts == (APPLIED, APPLIED, APPLIED)


async def test_an_xid_twice_in_a_batch_is_a_bug_of_ours(journal: Journal) -> None:
    with pytest.raises(InvariantViolated, match="twice"):
        await put(journal, begun("x"), begun("x"))
    assert await journal.load("x") is None


async def test_one_bad_record_fails_alone(journal: Journal) -> None:
    known = begun("known")
    await keep(journal, known)
    unfinished_for_ever = touched(begun("bad"), version=1, due_at=None)
    batch = [begun("a"), unfinished_for_ever, decided(known), begun("z")]
    assert await put(journal, *batch) == (APPLIED, REJECTED, APPLIED, APPLIED)
    assert await journal.load("bad") is None
    assert await journal.load("known") == decided(known).transaction


async def test_a_bad_update_leaves_the_row_as_it_was(journal: Journal) -> None:
    first = begun("x")
    await keep(journal, first)
    assert await put(journal, begun("y"), touched(first, due_at=None)) == (APPLIED, REJECTED)
    assert await journal.load("x") == first.transaction


async def test_text_that_no_encoding_can_hold_is_rejected(journal: Journal) -> None:
    good = begun("bad")
    bad = touched(good, version=1, reason="\ud800")
    assert await put(journal, begun("a"), bad, begun("z")) == (APPLIED, REJECTED, APPLIED)


async def test_a_number_that_no_column_can_hold_is_rejected(journal: Journal) -> None:
    bad = touched(begun("bad"), version=1, due_at=1 << 63)
    assert await put(journal, begun("a"), bad, begun("z")) == (APPLIED, REJECTED, APPLIED)


async def test_many_bad_records_in_one_batch_are_all_found(journal: Journal) -> None:
    records = [
        touched(begun(f"x{n:02}"), version=1, due_at=None) if n % 5 == 0 else begun(f"x{n:02}")
        for n in range(32)
    ]
    verdicts = await put(journal, *records)
    assert verdicts == tuple(REJECTED if n % 5 == 0 else APPLIED for n in range(32))


async def test_bad_records_of_a_batch_of_several_statements_fail_alone(journal: Journal) -> None:
    """In SQLite 64 records are one statement, and 65 are two."""
    bad = {0, 63, 64, 129}
    records = [
        touched(begun(f"x{n:03}"), version=1, due_at=None) if n in bad else begun(f"x{n:03}")
        for n in range(130)
    ]
    verdicts = await put(journal, *records)
    assert verdicts == tuple(REJECTED if n in bad else APPLIED for n in range(130))
    assert await put(journal, *records[1:63]) == (CONFLICT,) * 62


async def test_an_empty_batch_still_tells_the_time(journal: Journal) -> None:
    appended = await journal.append([])
    assert appended.verdicts == ()
    assert appended.at > 0


async def test_every_reply_carries_the_database_s_time(journal: Journal) -> None:
    times = [(await journal.append([write(begun(f"x{n}"))])).at for n in range(3)]
    assert times == sorted(times)
    # Microseconds: between the years 2020 and 2100.
    assert 1_577_836_800_000_000 < times[0] < 4_102_444_800_000_000


# ---------------------------------------------------------------- ownership


async def test_each_term_has_a_higher_epoch_and_the_same_incarnation(another: Opener) -> None:
    terms = []
    for owner in ("first", "second", "third"):
        journal = another()
        terms.append(await journal.open(owner))
        await journal.close()
    assert [term.epoch for term in terms] == [1, 2, 3]
    assert [term.owner for term in terms] == ["first", "second", "third"]
    assert len({term.incarnation for term in terms}) == 1


async def test_a_second_owner_is_refused_until_the_first_has_closed(another: Opener) -> None:
    first, second = another(), another()
    await first.open("first")
    with pytest.raises(JournalLocked, match="another coordinator"):
        await second.open("second")
    assert await put(first, begun("x")) == (APPLIED,)
    await first.close()
    assert (await second.open("second")).epoch == 2
    await second.close()


async def test_what_was_written_survives_close_and_open(another: Opener) -> None:
    record = begun("x", labels=(("order", "1"),))
    first = another()
    await first.open("first")
    await keep(first, record)
    await first.save_instance(instance("inventory", "i1"))
    await first.close()
    second = another()
    await second.open("second")
    assert await second.load("x") == record.transaction
    assert await second.instances() == [instance("inventory", "i1")]
    await second.close()


async def test_a_journal_opens_again_after_its_close(another: Opener) -> None:
    journal = another()
    await journal.open("first")
    await keep(journal, begun("x"))
    await journal.close()
    assert (await journal.open("again")).epoch == 2
    assert await journal.load("x") is not None
    await journal.close()


async def test_a_closed_journal_says_so_and_closes_again(another: Opener) -> None:
    journal = another()
    await journal.open("first")
    await journal.close()
    await journal.close()
    with pytest.raises(JournalUnavailable, match="closed"):
        await put(journal, begun("x"))
    with pytest.raises(JournalUnavailable, match="closed"):
        await journal.load("x")


# ---------------------------------------------------------------- recovery


async def test_what_an_earlier_term_left_in_flight_is_paged_by_xid(journal: Journal) -> None:
    await keep(journal, *(begun(f"old{n}", epoch=1) for n in (2, 0, 1)), begun("now", epoch=2))
    timer = waiting(begun("timer"), T0)
    await keep(journal, begun("timer"))
    assert timer.due_at not in (IN_FLIGHT, None)
    await keep(journal, timer)
    done = begun("done")
    for record in (done, decided(done), finished(decided(done))):
        await keep(journal, record)
    first = await journal.in_flight(2, "", 2)
    assert [tx.xid for tx in first] == ["old0", "old1"]
    rest = await journal.in_flight(2, "old1", 2)
    assert [tx.xid for tx in rest] == ["old2"]
    assert rest[0] == begun("old2").transaction
    assert await journal.in_flight(1, "", 10) == []


async def test_timers_that_are_due_are_paged_by_time_and_xid(journal: Journal) -> None:
    for xid, at in (("c", 1), ("b", 2), ("a", 2), ("later", 9)):
        first = begun(xid, at=T0)
        await keep(journal, first)
        await keep(journal, touched(first, due_at=T0 + at))
    await keep(journal, begun("in-flight"))
    parked = begun("parked")
    await keep(journal, parked)
    await keep(journal, touched(parked, due_at=PARKED))
    page = await journal.due(T0 + 2, (0, ""), 2)
    assert [(due.due_at - T0, due.transaction.xid) for due in page] == [(1, "c"), (2, "a")]
    page = await journal.due(T0 + 2, (T0 + 2, "a"), 2)
    assert [(due.due_at - T0, due.transaction.xid) for due in page] == [(2, "b")]
    assert await journal.due(T0 + 2, (T0 + 2, "b"), 2) == []
    assert await journal.due(T0, (0, ""), 10) == []


# ---------------------------------------------------------------- retention


async def test_prune_keeps_the_unfinished_and_the_recent(journal: Journal) -> None:
    for xid, at in (("old1", T0), ("old2", T0 + 1), ("recent", T0 + 60 * SECOND)):
        first = begun(xid, at=at, labels=(("order", xid),))
        second = decided(first)
        for record in (first, second, finished(second)):
            assert await put(journal, record) == (APPLIED,)
    await keep(journal, begun("unfinished"))
    undelivered = begun("undelivered")
    await keep(journal, undelivered)
    await keep(journal, decided(undelivered))
    # Final, and a delivery of it is still to come.
    final = touched(finished(decided(undelivered)), version=3, due_at=T0 + 5)
    assert await put(journal, final) == (APPLIED,)
    before = T0 + 30 * SECOND
    assert await journal.prune(before, 1) == 1
    assert await journal.prune(before, 10) == 1
    assert await journal.prune(before, 10) == 0
    for xid, kept in (
        ("old1", False),
        ("old2", False),
        ("recent", True),
        ("unfinished", True),
        ("undelivered", True),
    ):
        assert (await journal.load(xid) is not None) == kept, xid


async def test_a_purged_xid_may_be_used_again(journal: Journal) -> None:
    first = begun("x", labels=(("order", "1"),))
    for record in (first, decided(first), finished(decided(first))):
        await keep(journal, record)
    assert await journal.prune(T0 + SECOND, 10) == 1
    assert await put(journal, first) == (APPLIED,)
    assert await journal.load("x") == first.transaction


# ---------------------------------------------------------------- the registry


def instance(participant: str, name: str, renewed_at: int = T0, draining: bool = False) -> Instance:
    return Instance(
        participant,
        name,
        f"dns:///{name}:7010",
        (("reserve", (Kind.TCC, Kind.SAGA)), ("send", (Kind.NOTICE,))),
        renewed_at,
        draining,
    )


async def test_registry_rows_are_replaced_by_participant_and_instance(journal: Journal) -> None:
    assert await journal.instances() == []
    await journal.save_instance(instance("inventory", "i2"))
    await journal.save_instance(instance("inventory", "i1"))
    await journal.save_instance(instance("balance", "i1"))
    newer = instance("inventory", "i1", renewed_at=T0 + 1, draining=True)
    await journal.save_instance(newer)
    await journal.delete_instance("inventory", "i2")
    await journal.delete_instance("nobody", "i2")
    assert await journal.instances() == [instance("balance", "i1"), newer]
