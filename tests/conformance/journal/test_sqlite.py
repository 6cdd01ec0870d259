"""What only the SQLite journal can meet: files, permissions, other programs, full disks."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from trypact_coordinator.core.errors import (
    JournalLocked,
    JournalUnavailable,
    OwnershipLost,
    SchemaMismatch,
)
from trypact_coordinator.core.transaction import BranchSpec, Kind
from trypact_coordinator.journal.schema import migrations
from trypact_coordinator.journal.sqlite import SqliteJournal
from trypact_coordinator.journal.sqlite_statement import ROWS_MAX
from trypact_coordinator.ports import Query, Verdict

from tests.conformance.journal.stories import begun, decided, finished, write

NEEDED = migrations("sqlite")[-1].version


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def save(path: Path, text: str) -> None:
    path.write_text(text)


def saved(path: Path) -> str:
    return path.read_text()


def saved_bytes(path: Path) -> bytes:
    return path.read_bytes()


def started(program: str) -> "subprocess.Popen[str]":
    """Start a Python program as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )


def printed_by(program: str) -> dict[str, Any]:
    """Run a Python program to its end; return the JSON it printed."""
    process = started(program)
    printed, _ = process.communicate()
    assert process.returncode == 0
    outcome: dict[str, Any] = json.loads(printed)
    return outcome


async def refusal(path: Path, error: type[Exception]) -> str:
    journal = SqliteJournal(path)
    with pytest.raises(error) as caught:
        await journal.open("me")
    await journal.close()
    return str(caught.value)


async def test_commits_are_forced_to_disk(path: Path) -> None:
    journal = SqliteJournal(path)
    await journal.open("me")
    writer = journal._writer
    assert writer is not None
    assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert writer.execute("PRAGMA synchronous").fetchone() == (2,)
    await journal.close()


async def test_a_batch_is_one_statement_and_its_own_commit(path: Path) -> None:
    journal = SqliteJournal(path)
    await journal.open("me")
    writer = journal._writer
    assert writer is not None
    # Each once: a statement is told again for each trigger that it runs.
    statements: dict[str, None] = {}
    writer.set_trace_callback(lambda text: statements.update({text: None}))
    await journal.append([write(begun(f"x{number}")) for number in range(ROWS_MAX)])
    assert [text.split()[0] for text in statements] == ["INSERT"]
    await journal.append([write(begun(f"y{number}")) for number in range(ROWS_MAX + 1)])
    several = ["BEGIN", "INSERT", "INSERT", "COMMIT"]
    assert [text.split()[0] for text in statements][1:] == several
    await journal.close()


async def test_what_is_pruned_leaves_no_labels(path: Path) -> None:
    journal = SqliteJournal(path)
    await journal.open("me")
    kept = begun("kept", labels=(("order", "1"),))
    await journal.append([write(kept)])
    for xid in ("old1", "old2"):
        old = begun(xid, labels=(("order", "1"), ("shop", "2")))
        for record in (old, decided(old), finished(decided(old))):
            await journal.append([write(record)])
    before = (finished(decided(kept)).transaction.finished_at or 0) + 1
    labels = "SELECT xid FROM labels ORDER BY xid"
    with sqlite3.connect(path) as connection:
        assert await journal.prune(before, 1) == 1
        assert connection.execute(labels).fetchall() == [("kept",), ("old2",), ("old2",)]
        assert await journal.prune(before, 1) == 1
        assert connection.execute(labels).fetchall() == [("kept",)]
    await journal.close()


async def test_a_transaction_that_was_there_before_keeps_its_labels(path: Path) -> None:
    journal = SqliteJournal(path)
    await journal.open("me")
    await journal.append([write(begun("x", labels=(("order", "1"),)))])
    again = [write(begun("x", labels=(("order", "2"),))), write(begun("y"))]
    assert (await journal.append(again)).verdicts == (Verdict.CONFLICT, Verdict.APPLIED)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT label FROM labels").fetchall() == [("order 1",)]
    await journal.close()


async def test_what_a_statement_puts_aside_stays_in_memory(path: Path) -> None:
    """A folder for temporary files may be read-only, or full, and is no place for payloads."""
    journal = SqliteJournal(path)
    await journal.open("me")
    writer = journal._writer
    assert writer is not None
    assert writer.execute("PRAGMA temp_store").fetchone() == (2,)
    await journal.close()


async def test_the_reading_connection_cannot_write(path: Path) -> None:
    journal = SqliteJournal(path)
    await journal.open("me")
    with pytest.raises(JournalUnavailable, match="read-only"):
        await journal._read("DELETE FROM transactions", {})
    await journal.close()


async def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    message = await refusal(tmp_path / "nowhere" / "journal.db", JournalUnavailable)
    assert f"there is no folder {tmp_path / 'nowhere'}" in message


async def test_a_folder_in_the_place_of_the_file_is_refused(path: Path) -> None:
    os.mkdir(path)
    assert "cannot be opened" in await refusal(path, JournalUnavailable)


async def test_a_file_that_is_no_database_is_refused_and_kept(path: Path) -> None:
    notes = "these are my notes, not a journal\n" * 200
    save(path, notes)
    assert "not an SQLite database" in await refusal(path, JournalUnavailable)
    assert saved(path) == notes


async def test_a_database_of_something_else_is_refused_and_kept(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")
    connection.close()
    found = saved_bytes(path)
    assert "no journal's" in await refusal(path, SchemaMismatch)
    assert saved_bytes(path) == found
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize(
    ("version", "advice"), [(NEEDED + 1, "newer trypact"), (NEEDED - 1, "trypact journal migrate")]
)
async def test_another_schema_version_is_refused(path: Path, version: int, advice: str) -> None:
    journal = SqliteJournal(path)
    await journal.open("me")
    await journal.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE migrations SET version = ?", (version,))
    message = await refusal(path, SchemaMismatch)
    assert f"schema version {version}" in message
    assert f"needs version {NEEDED}" in message
    assert advice in message


async def test_a_read_only_file_says_so(path: Path) -> None:
    """Root may write everything, so this is asked of a process that is not root."""
    journal = SqliteJournal(path)
    await journal.open("me")
    await journal.close()
    os.chmod(f"{path}.lock", 0o666)
    os.chmod(path, 0o444)
    outcome = run_as_nobody(path)
    assert outcome["error"] == "JournalUnavailable"
    assert "read-only" in outcome["message"]


async def test_a_read_only_folder_says_so(path: Path) -> None:
    outcome = run_as_nobody(path)
    assert outcome["error"] == "JournalUnavailable"
    assert "read-only for this user" in outcome["message"]


def run_as_nobody(path: Path) -> dict[str, Any]:
    for folder in [path.parent, *path.parent.parents][:-2]:
        folder.chmod(folder.stat().st_mode | 0o055)
    program = f"""
import asyncio, json, os, pathlib
import trypact_coordinator.journal.sqlite as module
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
async def main():
    journal = module.SqliteJournal(pathlib.Path({str(path)!r}))
    try:
        await journal.open("nobody")
        print(json.dumps({{"error": "", "message": ""}}))
    except Exception as error:
        print(json.dumps({{"error": type(error).__name__, "message": str(error)}}))
    await journal.close()
asyncio.run(main())
"""
    return printed_by(program)


async def test_the_lock_names_who_holds_it_and_dies_with_them(path: Path) -> None:
    program = f"""
import asyncio, pathlib, sys
from trypact_coordinator.journal.sqlite import SqliteJournal
async def main():
    await SqliteJournal(pathlib.Path({str(path)!r})).open("the other one")
    print("open", flush=True)
    sys.stdin.read()
asyncio.run(main())
"""
    other = started(program)
    assert other.stdout is not None
    assert other.stdout.readline() == "open\n"
    message = await refusal(path, JournalLocked)
    assert f"the other one, process {other.pid}" in message
    other.kill()
    other.communicate()
    journal = SqliteJournal(path)
    assert (await journal.open("me")).epoch == 2
    await journal.close()


async def test_a_link_to_the_file_has_the_same_lock(path: Path) -> None:
    link = path.with_name("link.db")
    link.symlink_to(path)
    journal = SqliteJournal(path)
    await journal.open("the first")
    message = await refusal(link, JournalLocked)
    assert "the first" in message
    await journal.close()


async def test_a_program_that_locks_the_file_makes_it_unavailable(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trypact_coordinator.journal.sqlite_file._BUSY_SECONDS", 0.05)
    journal = SqliteJournal(path)
    await journal.open("me")
    with sqlite3.connect(path) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(JournalUnavailable, match="another program has locked it"):
            await journal.append([write(begun("x"))])
        other.rollback()
    other.close()
    assert (await journal.append([write(begun("x"))])).verdicts == (Verdict.APPLIED,)
    await journal.close()


@pytest.mark.parametrize("more", [0, ROWS_MAX], ids=["one statement", "several"])
async def test_a_full_disk_takes_nothing_half_and_goes_on_when_there_is_room(
    path: Path, more: int
) -> None:
    journal = SqliteJournal(path)
    await journal.open("me")
    writer = journal._writer
    assert writer is not None
    known = begun("known")
    await journal.append([write(known)])
    (pages,) = writer.execute("PRAGMA page_count").fetchone()
    writer.execute(f"PRAGMA max_page_count = {pages + 5}")
    large = begun(
        "large", branches=(BranchSpec("b", Kind.TCC, "inventory.reserve", b"x" * 100_000),)
    )
    batch = [write(begun("a")), write(decided(known)), write(large), write(begun("z"))]
    batch += [write(begun(f"b{number}")) for number in range(more)]
    with pytest.raises(JournalUnavailable, match="full; make room"):
        await journal.append(batch)
    page = await journal.find(Query(), "", 10)
    assert page.transactions == (known.transaction,)
    writer.execute("PRAGMA max_page_count = 1000000")
    assert set((await journal.append(batch)).verdicts) == {Verdict.APPLIED}
    assert (await journal.load("large")) == large.transaction
    await journal.close()


async def test_a_disk_that_is_full_for_the_operating_system_is_survived(path: Path) -> None:
    """RLIMIT_FSIZE makes the write itself fail half way through a commit."""
    program = f"""
import asyncio, json, pathlib, resource, signal
from tests.conformance.journal.stories import begun, write
from trypact_coordinator.core.errors import JournalUnavailable
from trypact_coordinator.journal.sqlite import SqliteJournal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
async def main():
    journal = SqliteJournal(pathlib.Path({str(path)!r}))
    await journal.open("me")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    applied, waiting = [], []
    resource.setrlimit(resource.RLIMIT_FSIZE, (160_000, hard))
    for n in range(200):
        batch = [write(begun(f"x{{n}}-{{k}}")) for k in range(4)]
        try:
            await journal.append(batch)
            applied += [w.record.transaction.xid for w in batch]
        except JournalUnavailable as error:
            waiting.append((batch, str(error)))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    for batch, _ in waiting:
        await journal.append(batch)
        applied += [w.record.transaction.xid for w in batch]
    missing = [xid for xid in applied if await journal.load(xid) is None]
    print(json.dumps({{"failed": len(waiting), "missing": missing, "why": waiting[0][1]}}))
    await journal.close()
asyncio.run(main())
"""
    outcome = printed_by(program)
    assert outcome["failed"] > 0
    assert outcome["missing"] == []
    assert "disk" in outcome["why"]
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*) FROM transactions").fetchone() == (800,)


async def test_a_newer_epoch_stops_the_old_owner(path: Path) -> None:
    journal = SqliteJournal(path)
    await journal.open("me")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE term SET epoch = epoch + 1")
    for refused in (
        journal.append([write(begun("x"))]),
        journal.prune(1, 1),
        journal.delete_instance("a", "b"),
    ):
        with pytest.raises(OwnershipLost):
            await refused
    assert await journal.load("x") is None
    await journal.close()


async def test_one_damaged_row_hides_no_other(path: Path) -> None:
    journal = SqliteJournal(path)
    await journal.open("me")
    await journal.append([write(begun(xid)) for xid in "abcde"])
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE transactions SET progress = x'01FF' WHERE xid = 'b'")
        connection.execute("UPDATE transactions SET spec = x'63' WHERE xid = 'c'")
        connection.execute("UPDATE transactions SET due_at = 5")
    assert [due.transaction.xid for due in await journal.due(9, (0, ""), 2)] == ["a", "d"]
    page = await journal.find(Query(), "", 10)
    assert [tx.xid for tx in page.transactions] == ["e", "d", "a"]
    with pytest.raises(Exception, match="transaction b is damaged"):
        await journal.load("b")
    with pytest.raises(Exception, match="written in format 99"):
        await journal.load("c")
    await journal.close()
