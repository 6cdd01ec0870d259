"""Migrating, verifying and pruning a journal that no coordinator runs on."""

import os
import sqlite3
from pathlib import Path
from typing import Any

import psycopg
import pytest
from trypact_coordinator.core.errors import (
    InvalidArgument,
    JournalLocked,
    JournalUnavailable,
    SchemaMismatch,
)
from trypact_coordinator.core.outcome import Record
from trypact_coordinator.core.transaction import State
from trypact_coordinator.journal import open_journal
from trypact_coordinator.journal.administration import migrate, prune, verify
from trypact_coordinator.journal.schema import Migration, migrations
from trypact_coordinator.ports import Verdict

from tests.conformance.journal.stories import (
    begun,
    decided,
    everything,
    finished,
    frozen,
    paused,
    write,
)


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(database: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if database == "sqlite":
        return f"sqlite:///{tmp_path / 'journal.db'}"
    return str(request.getfixturevalue("postgres_url"))


def execute(url: str, statement: str) -> list[tuple[Any, ...]]:
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as file:
            return file.execute(statement).fetchall()
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


async def seed(url: str) -> None:
    """One transaction in each of several conditions."""
    journal = open_journal(url)
    await journal.open("me")
    a, b, c, d = (begun(xid, labels=(("order", xid),)) for xid in "abcd")
    await journal.append([write(record) for record in (a, b, c, d)])
    await journal.append([write(decided(a)), write(paused(b)), write(frozen(c))])
    await journal.append([write(finished(decided(a)))])
    await journal.append([write(Record(everything(), forced=True, admits=True))])
    await journal.close()


async def test_migrate_creates_the_schema_of_an_empty_database(url: str, database: str) -> None:
    newest = migrations(database)[-1].version
    migrated = await migrate(url)
    assert (migrated.found, migrated.now) == (0, newest)
    migrated = await migrate(url)
    assert (migrated.found, migrated.now) == (newest, newest)
    await seed(url)


async def test_migrate_brings_an_older_journal_to_this_version(
    url: str, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await seed(url)
    known = migrations(database)
    newer = Migration(known[-1].version + 1, "colours", "CREATE TABLE colours (name text);")
    room = "sqlite_file" if database == "sqlite" else "postgres_session"
    monkeypatch.setattr(
        f"trypact_coordinator.journal.{room}.migrations", lambda name: (*known, newer)
    )
    with pytest.raises(SchemaMismatch, match="Run `trypact journal migrate`"):
        await open_journal(url).open("me")
    with pytest.raises(SchemaMismatch, match="Run `trypact journal migrate`"):
        await verify(url)
    migrated = await migrate(url)
    assert (migrated.found, migrated.now) == (known[-1].version, newer.version)
    assert execute(url, "SELECT count(*) FROM colours") == [(0,)]
    assert (await verify(url)).transactions == 5


async def test_a_migration_that_fails_changes_nothing(
    url: str, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await seed(url)
    known = migrations(database)
    broken = Migration(
        known[-1].version + 1, "broken", "CREATE TABLE colours (name text);\nCREATE NONSENSE;\n"
    )
    room = "sqlite_file" if database == "sqlite" else "postgres_session"
    monkeypatch.setattr(
        f"trypact_coordinator.journal.{room}.migrations", lambda name: (*known, broken)
    )
    with pytest.raises(JournalUnavailable, match="syntax error"):
        await migrate(url)
    monkeypatch.undo()
    assert (await verify(url)).problems == ()
    with pytest.raises((sqlite3.OperationalError, psycopg.errors.UndefinedTable)):
        execute(url, "SELECT count(*) FROM colours")


async def test_migrate_and_prune_are_refused_while_a_coordinator_runs(url: str) -> None:
    journal = open_journal(url)
    await journal.open("the coordinator")
    for refused in (migrate(url), prune(url, "me", 0)):
        with pytest.raises(JournalLocked, match="the coordinator"):
            await refused
    await journal.close()


async def test_verify_counts_and_finds_nothing_wrong(url: str, database: str) -> None:
    await seed(url)
    verified = await verify(url)
    assert verified.problems == ()
    assert verified.problems_total == 0
    assert verified.schema_version == migrations(database)[-1].version
    assert verified.states == {State.TRYING: 3, State.CONFIRMED: 1, State.CANCELLED: 1}
    assert verified.transactions == 5
    assert (verified.unfinished, verified.stuck, verified.paused) == (4, 2, 2)


async def test_verify_reads_while_a_coordinator_runs(url: str) -> None:
    journal = open_journal(url)
    await journal.open("the coordinator")
    await journal.append([write(begun("x"))])
    assert (await verify(url)).transactions == 1
    assert (await journal.append([write(begun("y"))])).verdicts == (Verdict.APPLIED,)
    await journal.close()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("state = 2", "column state is 2, by its content it is 1"),
        ("version = 9", "column version is 9"),
        ("epoch = 9", "column epoch is 9"),
        ("due_at = 5", "column due_at is 5"),
        ("name = 'x'", "column name is 'x'"),
        ("stuck = 'x'", "column stuck is 'x'"),
        ("participants = {}", "column participants is ()"),
        ("state = 4, finished_at = 1, due_at = NULL", "column due_at is None"),
        ("spec = progress", "the row of transaction d is damaged"),
    ],
)
async def test_verify_finds_what_contradicts_itself(
    url: str, database: str, change: str, complaint: str
) -> None:
    await seed(url)
    empty = "''" if database == "sqlite" else "'{}'"
    execute(url, f"UPDATE transactions SET {change.replace('{}', empty)} WHERE xid = 'd'")
    verified = await verify(url)
    assert {xid for xid, _ in verified.problems} == {"d"}
    assert complaint in " ".join(what for _, what in verified.problems)
    assert verified.transactions == 5


async def test_the_schema_refuses_what_must_never_be(url: str) -> None:
    await seed(url)
    for never in (
        "due_at = NULL",
        "due_at = -1",
        "state = 0",
        "state = 6",
        "state = 4",
        "version = 0",
        "epoch = 0",
        "finished_at = 5",
        "spec = NULL",
        "xid = ''",
        f"xid = '{'x' * 129}'",
    ):
        with pytest.raises((sqlite3.IntegrityError, psycopg.IntegrityError)):
            execute(url, f"UPDATE transactions SET {never} WHERE xid = 'd'")


async def test_prune_goes_by_age_and_counts(url: str) -> None:
    await seed(url)
    century_us = 100 * 365 * 24 * 3600 * 1_000_000
    assert await prune(url, "me", century_us) == 0
    assert await prune(url, "me", -century_us) == 1
    verified = await verify(url)
    assert verified.states == {State.TRYING: 3, State.CANCELLED: 1}
    assert verified.problems == ()


async def test_nothing_is_made_where_there_is_nothing_to_prune(tmp_path: Path) -> None:
    with pytest.raises(JournalUnavailable, match="there is no journal"):
        await prune(f"sqlite:///{tmp_path}/typo.db", "me", 0)
    assert os.listdir(tmp_path) == []


async def test_there_is_nothing_to_verify_where_nothing_is(url: str, tmp_path: Path) -> None:
    with pytest.raises((JournalUnavailable, SchemaMismatch)):
        await verify(url)
    for refused in (migrate("memory:"), verify("memory:"), migrate("nonsense")):
        with pytest.raises(InvalidArgument):
            await refused
