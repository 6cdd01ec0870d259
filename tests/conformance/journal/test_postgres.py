"""What only the PostgreSQL journal can meet: lost replies and servers, other owners, full disks."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from psycopg import AsyncConnection
from trypact_coordinator.core.errors import (
    InvalidArgument,
    JournalLocked,
    JournalUnavailable,
    OwnershipLost,
    SchemaMismatch,
)
from trypact_coordinator.core.outcome import Record
from trypact_coordinator.core.transaction import BranchSpec, Kind
from trypact_coordinator.journal.postgres import PostgresJournal
from trypact_coordinator.journal.postgres_session import OwningSession
from trypact_coordinator.journal.postgres_statement import PreparedStatement
from trypact_coordinator.journal.row import row_of
from trypact_coordinator.journal.schema import migrations
from trypact_coordinator.ports import Query, Verdict

from tests.conformance.journal.stories import begun, decided, finished, frozen, write
from tests.servers.postgres import PostgresServer
from tests.servers.proxy import Cut, Proxy

NEEDED = migrations("postgres")[-1].version
Database = AsyncConnection[tuple[Any, ...]]


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    """A connection beside the journal's."""
    async with await AsyncConnection.connect(postgres_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
async def proxy(postgres_server: PostgresServer) -> AsyncIterator[Proxy]:
    async with Proxy(postgres_server.port) as running:
        yield running


@pytest.fixture
async def journal(postgres_url: str, proxy: Proxy) -> AsyncIterator[PostgresJournal]:
    """An open journal whose connections can be cut."""
    opened = PostgresJournal(proxy.url(postgres_url))
    await opened.open("me")
    yield opened
    await opened.close()


async def one(database: Database, query: str) -> Any:
    row = await (await database.execute(query.encode())).fetchone()
    assert row is not None
    return row[0]


async def refusal(url: str, error: type[Exception]) -> str:
    journal = PostgresJournal(url)
    with pytest.raises(error) as caught:
        await journal.open("me")
    await journal.close()
    return str(caught.value)


# ---------------------------------------------------------------- unknown commits


async def test_a_commit_whose_reply_was_lost_is_recognised(
    journal: PostgresJournal, database: Database, proxy: Proxy
) -> None:
    known = begun("known")
    await journal.append([write(known)])
    proxy.cut = Cut.REPLY
    appended = await journal.append([write(begun("new")), write(decided(known))])
    assert proxy.cuts == 1
    assert appended.verdicts == (Verdict.APPLIED, Verdict.APPLIED)
    assert await journal.load("known") == decided(known).transaction
    # The batch went in once, and was counted each time it was tried.
    assert await one(database, "SELECT count(*) FROM transactions") == 2


async def test_a_batch_that_never_arrived_is_sent_again(
    journal: PostgresJournal, proxy: Proxy
) -> None:
    proxy.cut = Cut.REQUEST
    assert (await journal.append([write(begun("x"))])).verdicts == (Verdict.APPLIED,)
    assert proxy.cuts == 1
    assert await journal.load("x") == begun("x").transaction


async def test_a_lost_reply_does_not_turn_a_loser_into_a_winner(
    journal: PostgresJournal, proxy: Proxy
) -> None:
    first = begun("x", name="first")
    await journal.append([write(first)])
    proxy.cut = Cut.REPLY
    appended = await journal.append([write(begun("x", name="second")), write(begun("y"))])
    assert proxy.cuts == 1
    assert appended.verdicts == (Verdict.CONFLICT, Verdict.APPLIED)
    assert await journal.load("x") == first.transaction


async def test_a_lost_commit_that_is_still_pending_is_waited_for(
    journal: PostgresJournal, postgres_url: str, database: Database, proxy: Proxy
) -> None:
    """Its session is ended first, so that what comes next cannot overtake it."""
    async with await AsyncConnection.connect(postgres_url) as other:
        await other.execute("SELECT 1 FROM term FOR UPDATE")
        proxy.cut = Cut.REPLY
        appending = asyncio.create_task(journal.append([write(begun("x"))]))
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        while not await one(database, waiting):
            assert not appending.done()
        await other.rollback()
    assert (await appending).verdicts == (Verdict.APPLIED,)
    assert proxy.cuts == 1
    assert await one(database, "SELECT count(*) FROM transactions") == 1


async def test_a_backend_that_is_terminated_is_replaced(
    journal: PostgresJournal, database: Database
) -> None:
    await journal.append([write(begun("a"))])
    assert await journal.load("a") is not None
    for xid in ("b", "c"):
        await database.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        assert (await journal.append([write(begun(xid))])).verdicts == (Verdict.APPLIED,)
        assert await journal.load(xid) is not None
    locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database ="
    held = await one(
        database, f"{locks} (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    assert held == 1


async def test_the_lock_comes_back_with_the_connection(
    journal: PostgresJournal, postgres_url: str, proxy: Proxy
) -> None:
    proxy.cut = Cut.REPLY
    await journal.append([write(begun("x"))])
    assert "trypact me" in await refusal(postgres_url, JournalLocked)


async def test_a_server_that_crashes_and_returns_loses_nothing() -> None:
    server = PostgresServer()
    try:
        journal = PostgresJournal(server.create_database())
        await journal.open("me")
        first = begun("x")
        await journal.append([write(first)])
        await journal.append([write(decided(first))])
        done = write(finished(decided(first)))
        assert not done.record.forced
        # Lazy: the server may forget it when it crashes, so the journal does not.
        assert (await journal.append([done])).verdicts == (Verdict.APPLIED,)
        server.kill()
        again = write(begun("y"))
        with pytest.raises(JournalUnavailable):
            await journal.append([again])
        with pytest.raises(JournalUnavailable):
            await journal.load("x")
        server.start()
        assert (await journal.append([again])).verdicts == (Verdict.APPLIED,)
        assert await journal.load("x") == done.record.transaction
        await journal.close()
    finally:
        server.remove()


async def test_lazy_records_that_a_crashed_server_forgot_are_written_again(
    journal: PostgresJournal, database: Database, proxy: Proxy
) -> None:
    first = begun("x")
    second = decided(first)
    third = finished(second)
    await journal.append([write(first)])
    await journal.append([write(second)])
    await database.execute("CREATE TABLE flushed AS SELECT * FROM transactions")
    assert not third.forced
    assert (await journal.append([write(third)])).verdicts == (Verdict.APPLIED,)
    # As a server comes back that had not flushed the last commit.
    await database.execute("DELETE FROM transactions")
    await database.execute("INSERT INTO transactions SELECT * FROM flushed")
    assert await journal.load("x") == second.transaction
    proxy.cut = Cut.REQUEST
    await journal.append([write(begun("y"))])
    assert await journal.load("x") == third.transaction


async def test_lazy_records_whose_second_writing_fails_are_written_a_third_time(
    journal: PostgresJournal, database: Database, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = begun("x")
    second = decided(first)
    third = finished(second)
    for record in (first, second):
        await journal.append([write(record)])
    await database.execute("CREATE TABLE flushed AS SELECT * FROM transactions")
    await journal.append([write(third)])
    await database.execute("DELETE FROM transactions")
    await database.execute("INSERT INTO transactions SELECT * FROM flushed")
    run, calls = OwningSession.append, 0

    async def fails_at_the_second(self: OwningSession, statement: Any, values: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise JournalUnavailable("a lock was waited for too long")
        return await run(self, statement, values)

    proxy.cut = Cut.REQUEST
    monkeypatch.setattr(OwningSession, "append", fails_at_the_second)
    with pytest.raises(JournalUnavailable):
        await journal.append([write(begun("y"))])
    await journal.append([write(begun("y"))])

    assert await journal.load("x") == third.transaction


async def test_only_batches_that_nobody_waits_for_are_not_flushed_at_once(
    journal: PostgresJournal,
) -> None:
    first = begun("x")
    second = decided(first)
    await journal.append([write(first)])
    await journal.append([write(second)])
    assert journal._unflushed == []
    await journal.append([write(finished(second))])
    assert [row.xid for rows in journal._unflushed for row in rows] == ["x"]
    assert not await journal.flushed("x")
    assert await journal.flushed("y")
    other = begun("z")
    lazy = Record(decided(other).transaction, forced=False)
    await journal.append([write(other)])
    assert journal._unflushed == []
    await journal.append([write(lazy), write(begun("y"))])
    assert journal._unflushed == []


# ---------------------------------------------------------------- other owners, lost history


async def test_a_newer_epoch_stops_the_old_owner(
    journal: PostgresJournal, database: Database
) -> None:
    await database.execute("UPDATE term SET epoch = epoch + 1")
    for refused in (
        journal.append([write(begun("x"))]),
        journal.prune(1, 1),
        journal.delete_instance("a", "b"),
    ):
        with pytest.raises(OwnershipLost):
            await refused
    assert await journal.load("x") is None


async def test_who_took_over_meanwhile_is_named(
    journal: PostgresJournal, database: Database, proxy: Proxy
) -> None:
    await database.execute("UPDATE term SET epoch = epoch + 1, owner = 'the next one'")
    proxy.cut = Cut.REQUEST
    with pytest.raises(OwnershipLost, match=r"the next one owns .* epoch 2 \(ours was 1\)"):
        await journal.append([write(begun("x"))])
    assert await journal.load("x") is None


async def test_a_database_that_was_rolled_back_is_noticed(
    journal: PostgresJournal, database: Database, proxy: Proxy
) -> None:
    await journal.append([write(begun("x"))])
    await journal.append([write(begun("y"))])
    await database.execute("DELETE FROM transactions WHERE xid = 'y'")
    await database.execute("UPDATE term SET batch = batch - 1")
    proxy.cut = Cut.REQUEST
    with pytest.raises(OwnershipLost, match="lost history"):
        await journal.append([write(begun("z"))])


# ---------------------------------------------------------------- what the host must mend


async def test_a_server_that_is_not_there_is_named_without_the_password(
    postgres_server: PostgresServer,
) -> None:
    message = await refusal("postgresql://ann:secret@127.0.0.1:1/journal", JournalUnavailable)
    assert "postgresql://ann@127.0.0.1:1/journal cannot be reached" in message
    assert "nothing listens on 127.0.0.1:1. Is PostgreSQL running there?" in message
    assert "secret" not in message


async def test_a_wrong_password_says_so(postgres_server: PostgresServer) -> None:
    postgres_server.execute("DROP ROLE IF EXISTS locked")
    postgres_server.execute("CREATE ROLE locked LOGIN PASSWORD 'right'")
    url = postgres_server.url("postgres", "locked", "wrong")
    message = await refusal(url, JournalUnavailable)
    assert "password authentication failed" in message
    assert "wrong" not in message
    postgres_server.execute("DROP ROLE locked")


async def test_an_unknown_database_says_so(postgres_server: PostgresServer) -> None:
    message = await refusal(postgres_server.url("nothing"), JournalUnavailable)
    assert 'database "nothing" does not exist. Create it' in message


async def test_a_database_of_something_else_is_refused_and_kept(
    postgres_url: str, database: Database
) -> None:
    await database.execute("CREATE TABLE songs (title text)")
    assert "no journal's" in await refusal(postgres_url, SchemaMismatch)
    tables = "SELECT string_agg(tablename, ' ') FROM pg_tables WHERE schemaname = 'public'"
    assert await one(database, tables) == "songs"


async def test_another_schema_version_is_refused(postgres_url: str, database: Database) -> None:
    journal = PostgresJournal(postgres_url)
    await journal.open("me")
    await journal.close()
    await database.execute("UPDATE migrations SET version = version + 1")
    message = await refusal(postgres_url, SchemaMismatch)
    assert f"schema version {NEEDED + 1}" in message
    assert "newer trypact" in message
    await database.execute("DELETE FROM migrations")
    message = await refusal(postgres_url, SchemaMismatch)
    assert "trypact journal migrate" in message


async def test_a_database_that_became_read_only_takes_nothing(
    journal: PostgresJournal, postgres_url: str, database: Database, proxy: Proxy
) -> None:
    name = postgres_url.rpartition("/")[2]
    await database.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on".encode())
    proxy.cut = Cut.REQUEST
    batch = [write(begun("x"))]
    with pytest.raises(JournalUnavailable, match="read-only"):
        await journal.append(batch)
    await database.execute(f"ALTER DATABASE {name} RESET ALL".encode())
    proxy.cut = Cut.REQUEST
    assert (await journal.append(batch)).verdicts == (Verdict.APPLIED,)


async def test_a_full_disk_takes_nothing_half_and_goes_on_when_there_is_room(
    journal: PostgresJournal, database: Database
) -> None:
    """The server's own error for a full disk, raised at the last row of the batch."""
    await database.execute(
        """
        CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN RAISE 'could not extend file: No space left on device' USING ERRCODE = '53100';
        END $$;
        CREATE TRIGGER full_disk BEFORE INSERT ON transactions
            FOR EACH ROW WHEN (new.xid = 'z') EXECUTE FUNCTION full_disk()
        """
    )
    batch = [write(begun(xid)) for xid in "abz"]
    with pytest.raises(JournalUnavailable, match="No space left"):
        await journal.append(batch)
    assert (await journal.find(Query(), "", 10)).transactions == ()
    await database.execute("DROP TRIGGER full_disk ON transactions")
    assert set((await journal.append(batch)).verdicts) == {Verdict.APPLIED}


# ---------------------------------------------------------------- columns


async def test_columns_hold_what_was_sent_whatever_it_is_made_of(
    journal: PostgresJournal, database: Database
) -> None:
    """Quotes and backslashes in texts; NULL beside values; neighbours that are not alike."""
    odd = 'a"b\\c{d},e \N{SNOWMAN}'
    strange = begun("x1", name=odd, labels=(("k", odd), ("empty", "")))
    plain = begun("x2", branches=(BranchSpec("b", Kind.TCC, "billing.charge"),))
    halted, done = begun("x3"), begun("x4")
    for batch in (
        [strange, plain, halted, done],
        [decided(done)],
        [frozen(halted), finished(decided(done))],
    ):
        await journal.append([write(record) for record in batch])
    rows = await database.execute(
        "SELECT name, labels, participants, stuck, due_at IS NULL, finished_at IS NULL"
        " FROM transactions ORDER BY xid"
    )
    both = ["inventory", "balance"]
    assert await rows.fetchall() == [
        (odd, [f"k {odd}", "empty "], both, None, False, True),
        ("order.submit", [], ["billing"], None, False, True),
        ("order.submit", [], both, "two and two are five", False, True),
        ("order.submit", [], both, None, True, False),
    ]


# ---------------------------------------------------------------- plans


@pytest.mark.parametrize("with_begun", [False, True])
async def test_a_batch_is_planned_by_index_on_a_table_without_statistics(
    journal: PostgresJournal, database: Database, with_begun: bool
) -> None:
    session = journal._session._connection
    assert session is not None
    first = begun("x")
    await journal.append([write(first)])
    await database.execute(
        "INSERT INTO transactions (xid, name, state, version, epoch, write_id, due_at, created_at,"
        " paused, labels, participants, spec, progress)"
        " SELECT 'x' || n, name, state, version, epoch, write_id, due_at, created_at, paused,"
        " labels, participants, spec, progress FROM transactions, generate_series(1, 2000) n"
    )
    rows = [row_of(write(decided(begun(f"x{n}")))) for n in range(512)]
    if with_begun:
        rows.append(row_of(write(begun("new"))))
    statement, values = journal._batch(rows, lazy=False)
    explained = PreparedStatement("explained", b"EXPLAIN (FORMAT JSON) " + statement.query)
    explained.names = statement.names
    await explained.prepare(session)
    (plan,) = await explained.run(session, values)
    assert plan is not None
    assert b'"Index Name": "transactions_pkey"' in plan
    assert b"Seq Scan" not in plan
    assert b"Hash" not in plan


async def test_a_batch_larger_than_a_statement_goes_in_parts(
    journal: PostgresJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trypact_coordinator.journal.postgres._STATEMENT_BYTES_MAX", 20_000)
    branches = (BranchSpec("b", Kind.TCC, "inventory.reserve", b"x" * 7_000),)
    records = [begun(f"x{n}", branches=branches) for n in range(10)]
    appended = await journal.append([write(record) for record in records])
    assert set(appended.verdicts) == {Verdict.APPLIED}
    for record in records:
        assert await journal.load(record.transaction.xid) == record.transaction


async def test_an_address_psycopg_cannot_read_is_refused() -> None:
    with pytest.raises((InvalidArgument, JournalUnavailable), match="cannot be reached"):
        await PostgresJournal("postgresql://127.0.0.1:port/x").open("me")
