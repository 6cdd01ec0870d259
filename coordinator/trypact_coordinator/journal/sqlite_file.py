"""The SQLite file itself: who owns it, how it is opened, what its errors mean, its schema."""

import asyncio
import errno
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

from trypact_coordinator.core.errors import JournalLocked, JournalUnavailable
from trypact_coordinator.journal.schema import check_version, foreign, migrations, queries

SQL = queries("sqlite")
# How long to wait for another program that has the file locked, such as a backup.
_BUSY_SECONDS = 5.0
_PLAIN = {
    sqlite3.SQLITE_FULL: "the disk (or the file's size limit) is full; make room",
    sqlite3.SQLITE_READONLY: "it is read-only; make the file and its folder writable",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; look at its folder and the permissions",
    sqlite3.SQLITE_NOTADB: "it is not an SQLite database; name another file",
    sqlite3.SQLITE_BUSY: "another program has locked it; end that program",
    sqlite3.SQLITE_CORRUPT: "it is damaged; restore it from a backup",
    sqlite3.SQLITE_IOERR: "reading or writing it failed; look at the disk",
    sqlite3.SQLITE_PERM: "access is denied; look at the permissions",
}

_P = ParamSpec("_P")
_T = TypeVar("_T")


class DatabaseThread:
    """One thread that does one thing at a time, for a connection that must stay in it."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._ended = False

    async def run(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Do it there; return what it returns, raise what it raises.

        Raises JournalUnavailable once the thread was told to end.
        """
        if self._ended:
            raise JournalUnavailable("the journal is closed")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, lambda: work(*args, **kwargs))

    def end(self) -> None:
        """Let the thread end when it has nothing left to do."""
        self._ended = True
        self._executor.shutdown(wait=False)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into JournalUnavailable with a sentence that says what to mend."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        why = _PLAIN.get(code, str(error))
        raise JournalUnavailable(f"the journal {path} is not available: {why} ({error})") from error


def take_lock(path: Path, owner: str) -> int:
    """Lock the file for this process and return the lock's descriptor; closing it unlocks.

    Raises JournalLocked when another process has it, JournalUnavailable when it cannot be made.
    """
    # Beside the file itself, so that it is the same lock by whatever link the file is named.
    lock = path.resolve()
    lock = lock.with_name(lock.name + ".lock")
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise JournalUnavailable(_cannot_lock(path, error)) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 256).decode(errors="replace").strip()
        os.close(descriptor)
        raise JournalLocked(
            f"the journal {path} is owned by another coordinator ({holder or 'unnamed'}). "
            "Stop it first, or use another journal."
        ) from None
    # A full disk must not keep a coordinator from reading: the name in the lock is a courtesy.
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{owner}, process {os.getpid()}\n".encode(), 0)
    return descriptor


def _cannot_lock(path: Path, error: OSError) -> str:
    folder = path.parent
    if error.errno == errno.ENOENT and not folder.exists():
        return f"the journal {path} cannot be made: there is no folder {folder}; make it first"
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return f"the journal {path} cannot be written: {folder} is read-only for this user"
    if error.errno == errno.ENOTDIR:
        return f"the journal {path} cannot be made: {folder} is not a folder"
    return f"the journal {path} cannot be locked: {error.strerror}"


def require_journal(path: Path) -> None:
    """Raise JournalUnavailable where there is no file."""
    if not path.exists():
        raise JournalUnavailable(f"there is no journal {path}")


def require_no_other_content(path: Path) -> None:
    """Raise SchemaMismatch for a file that holds something else, and leave it as it was found.

    To open it for writing would make it one with a write-ahead log.
    """
    if path.is_file() and path.stat().st_size:
        with translated(path), closing(connect_to_read(path)) as connection:
            found_version(connection, path)


def connect_to_write(path: Path) -> sqlite3.Connection:
    """Open the file for its one writer, making it if it is not there."""
    connection = sqlite3.connect(
        path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        # What a statement puts aside would go to a file in a folder for temporary ones.
        connection.execute("PRAGMA temp_store = MEMORY")
    except BaseException:
        connection.close()
        raise
    return connection


def connect_to_read(path: Path) -> sqlite3.Connection:
    """Open the file for reading only; it must be there."""
    require_journal(path)
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )


@contextmanager
def commit(connection: sqlite3.Connection) -> Iterator[None]:
    """Make the block one transaction: all of it, forced to disk, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # Some errors have rolled it back already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def found_version(connection: sqlite3.Connection, path: Path) -> int | None:
    """Return the version of the file's schema, None when it is empty. Raises SchemaMismatch."""
    tables, ours = connection.execute(SQL["tables"]).fetchone()
    if not tables:
        return None
    if not ours:
        raise foreign(f"the database {path}")
    (version,) = connection.execute(SQL["schema_version"]).fetchone()
    return int(version)


def require_schema(connection: sqlite3.Connection, path: Path) -> None:
    """Create the schema of an empty file; raise SchemaMismatch for any other version."""
    found = found_version(connection, path)
    if found is None:
        found = migrate(connection, path)
    require_version(found, path)


def require_version(found: int, path: Path) -> None:
    """Raise SchemaMismatch unless this code reads that version."""
    check_version(f"the journal {path}", found, migrations("sqlite")[-1].version)


def migrate(connection: sqlite3.Connection, path: Path) -> int:
    """Run what is missing, each migration in a transaction of its own; return the version."""
    found = found_version(connection, path) or 0
    for migration in migrations("sqlite"):
        if migration.version > found:
            with commit(connection):
                for statement in _statements(migration.sql):
                    connection.execute(statement)
                connection.execute(
                    SQL["record_migration"],
                    {"version": migration.version, "name": migration.name},
                )
                connection.execute(SQL["first_term"])
            found = migration.version
    return found


def _statements(script: str) -> Iterator[str]:
    """Split a script; `executescript` would commit by itself half way."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
