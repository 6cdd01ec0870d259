"""Connections to PostgreSQL: the one that owns the journal and writes, and those that read.

The connection that writes also holds the advisory lock, so whoever writes owns. When it is lost,
its session is ended on the server first: only then is its last commit decided and its lock free.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import psycopg
import structlog
from psycopg import AsyncConnection

from trypact_coordinator.core.errors import JournalLocked, JournalUnavailable, OwnershipLost
from trypact_coordinator.journal.postgres_statement import PreparedStatement, Value
from trypact_coordinator.journal.schema import check_version, foreign, migrations, queries
from trypact_coordinator.journal.url import without_password
from trypact_coordinator.ports import Term

SQL = {name: query.encode() for name, query in queries("postgres").items()}
# Names the lock of a journal among the advisory locks of a database ("trya").
_LOCK_KEY = 0x74727961
_LOCK_WAIT_MS = 300
_END_SESSION_MS = 5_000
_CONNECT: dict[str, Any] = {
    "connect_timeout": 5,
    # A server that went away silently is noticed within seconds, not hours.
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
# Plans by index whatever the statistics say: a table that grows faster than it is analysed would
# be read from end to end, for every batch. Compiling such plans would cost more than running them.
_SETTINGS = """
SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
SET plan_cache_mode = force_generic_plan; SET jit = off; SET max_parallel_workers_per_gather = 0;
SET statement_timeout = '60s'; SET idle_in_transaction_session_timeout = '60s';
SET default_transaction_isolation = 'read committed'; SET bytea_output = 'hex';
"""
# A class of SQLSTATE -> the record is at fault: bad data, a constraint, a limit of the program.
_AT_FAULT = ("22", "23", "54")

# libpq tells these apart in words only.
_NO_DATABASE = re.compile(r'database "(.+)" does not exist')
_REFUSED = re.compile(r'server at "([^"]+)"(?: \([^)]*\))?, port (\d+) failed: Connection refused')

log = structlog.get_logger(__name__)

Row = tuple[Any, ...]


class RecordAtFault(Exception):
    """The database refused what a statement carried, and will whenever it is asked again."""


async def connect(url: str, application_name: str) -> AsyncConnection[Row]:
    """Connect, every statement its own commit. Raises JournalUnavailable."""
    try:
        connection = await AsyncConnection.connect(
            url, autocommit=True, application_name=application_name, **_CONNECT
        )
    except (psycopg.OperationalError, psycopg.ProgrammingError, OSError) as error:
        raise JournalUnavailable(
            f"the journal {without_password(url)} cannot be reached: {_why_not(error)}"
        ) from error
    connection.prepare_threshold = 1
    try:
        await run(connection, _SETTINGS.encode())
    except BaseException:
        await connection.close()
        raise
    return connection


def _why_not(error: Exception) -> str:
    """Say why there is no connection, and what to do where that is plain."""
    said = str(error)
    if missing := _NO_DATABASE.search(said):
        name = missing[1]
        return f'database "{name}" does not exist. Create it: an empty one is enough.'
    if refused := _REFUSED.search(said):
        return f"nothing listens on {refused[1]}:{refused[2]}. Is PostgreSQL running there?"
    return _sentence(error)


async def run(
    connection: AsyncConnection[Row], query: bytes, parameters: Mapping[str, Any] | None = None
) -> Sequence[Row]:
    """Run one statement; return its rows.

    Raises RecordAtFault when what it carried is to blame, JournalUnavailable for all else; if the
    connection was lost it is closed, and whether the statement was carried out is unknown.
    """
    try:
        cursor = await connection.execute(query, parameters)
        return await cursor.fetchall() if cursor.description else ()
    except psycopg.Error as error:
        raise _meant_by(error) from error


def _meant_by(error: psycopg.Error) -> RecordAtFault | JournalUnavailable:
    state = error.sqlstate or ""
    if state.startswith(_AT_FAULT) or (not state and isinstance(error, psycopg.DataError)):
        return RecordAtFault(_sentence(error))
    return JournalUnavailable(f"PostgreSQL: {_sentence(error)}")


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


# ---------------------------------------------------------------- the owner


class OwningSession:
    """The session that holds the lock and writes; comes back by itself when it was lost.

    Args:
        url: where the database is.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: AsyncConnection[Row] | None = None
        # (backend, its start) of every session of ours that may still hold the lock.
        self._sessions: list[Row] = []
        # What the connection has planned.
        self._prepared: set[PreparedStatement] = set()
        self._closed = True
        self._owner = ""
        self._incarnation = ""
        self.epoch = 0
        # The number of the latest batch that is known to be on disk.
        self.batch = 0

    async def open(self, owner: str) -> Term:
        """Take the lock, make sure of the schema and raise the epoch; see Journal.open."""
        self._closed, self._owner, self._sessions = False, owner, []
        try:
            connection = await self._connect()
            if not await own(connection):
                raise await locked(connection, self._url)
            await require_schema(connection, self._url)
            rows = await run(connection, SQL["take_term"], {"owner": owner})
            self.epoch, self._incarnation, self.batch, at = rows[0]
        except BaseException:
            await self.close()
            raise
        return Term(owner, self.epoch, self._incarnation, at)

    async def close(self) -> None:
        """Give the lock up with the connection."""
        self._closed = True
        connection, self._connection = self._connection, None
        if connection is not None:
            if not connection.closed:
                # A server notices a closed connection a little later; the next owner is here now.
                with suppress(RecordAtFault, JournalUnavailable):
                    await run(connection, SQL["disown"])
            await connection.close()

    async def ready(self) -> bool:
        """Make sure of the connection; return whether it had been lost.

        Raises OwnershipLost when a newer term is found, JournalUnavailable.
        """
        if self._closed:
            raise JournalUnavailable("the journal is closed")
        if self._connection is not None and not self._connection.closed:
            return False
        await self._return()
        return True

    async def run(self, query: bytes, parameters: Mapping[str, Any]) -> Sequence[Row]:
        """Run one statement as the owner, after `ready`.

        Raises RecordAtFault, JournalUnavailable.
        """
        connection = self._connection
        if connection is None:
            raise JournalUnavailable("the journal is closed")
        try:
            return await run(connection, query, parameters)
        except asyncio.CancelledError:
            # Nobody knows how far it came; the next statement starts from a session that does.
            await connection.close()
            raise

    async def append(
        self, statement: PreparedStatement, values: Mapping[str, Value]
    ) -> tuple[int | None, int, int]:
        """Run the statement of a batch as the owner, after `ready`.

        Returns the batch's number (None under an old epoch), how many of its records were applied,
        and the database's time.

        Raises RecordAtFault, JournalUnavailable.
        """
        connection = self._connection
        if connection is None:
            raise JournalUnavailable("the journal is closed")
        try:
            if statement not in self._prepared:
                await statement.prepare(connection)
                self._prepared.add(statement)
            row = await statement.run(connection, values)
        except psycopg.Error as error:
            raise _meant_by(error) from error
        except asyncio.CancelledError:
            # As above.
            await connection.close()
            raise
        batch, applied, at = row
        return None if batch is None else int(batch), int(applied or 0), int(at or 0)

    async def _connect(self) -> AsyncConnection[Row]:
        self._prepared.clear()
        self._connection = connection = await connect(self._url, f"trypact {self._owner}"[:63])
        self._sessions += await run(connection, SQL["session"])
        return connection

    async def _return(self) -> None:
        """Take up the same term in a new session. Raises OwnershipLost if another began."""
        connection = await self._connect()
        try:
            for pid, started in self._sessions[:-1]:
                session = {"pid": pid, "backend_start": started, "wait_ms": _END_SESSION_MS}
                await run(connection, SQL["end_session"], session)
            owns = await own(connection)
            rows = await run(connection, SQL["read_term"])
            if not rows:
                raise OwnershipLost("the journal's database was emptied; this coordinator stops")
            owner, epoch, incarnation, batch = rows[0]
            if (epoch, incarnation) != (self.epoch, self._incarnation):
                raise OwnershipLost(
                    f"{owner} owns this journal now, under epoch {epoch} (ours was {self.epoch}); "
                    "this coordinator stops"
                )
            if batch < self.batch:
                raise OwnershipLost(
                    f"the journal has lost history: batch {self.batch} was durable and it now ends "
                    f"with batch {batch}; was it restored, or failed over to an older copy?"
                )
            if not owns:
                raise JournalUnavailable("the journal's lock is still held by a lost session")
        except BaseException:
            await connection.close()
            raise
        del self._sessions[:-1]
        log.info("journal connection restored", epoch=self.epoch)


async def own(connection: AsyncConnection[Row]) -> bool:
    """Take the journal's lock for a session, waiting a moment for one that is just ending."""
    await run(connection, f"SET lock_timeout = {_LOCK_WAIT_MS}".encode())
    try:
        await run(connection, SQL["own"], {"key": _LOCK_KEY})
    except JournalUnavailable as error:
        if isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
            return False
        raise
    await run(connection, b"SET lock_timeout = 0")
    return True


async def locked(connection: AsyncConnection[Row], url: str) -> JournalLocked:
    """Return the error that says who has the lock."""
    rows = await run(connection, SQL["owner"], {"key": _LOCK_KEY})
    who = f" ({rows[0][0]}, backend {rows[0][1]})" if rows else ""
    return JournalLocked(
        f"the journal {without_password(url)} is owned by another coordinator{who}. "
        "Stop it first, or use another journal."
    )


# ---------------------------------------------------------------- the schema


async def found_version(connection: AsyncConnection[Row], url: str) -> int | None:
    """Return the version of the database's schema, None when it is empty. Raises SchemaMismatch."""
    tables, ours = (await run(connection, SQL["tables"]))[0]
    if not tables:
        return None
    if not ours:
        raise foreign(f"the database {without_password(url)}")
    return int((await run(connection, SQL["schema_version"]))[0][0])


async def require_schema(connection: AsyncConnection[Row], url: str) -> None:
    """Create the schema of an empty database; raise SchemaMismatch for any other version."""
    found = await found_version(connection, url)
    if found is None:
        found = await migrate(connection, url)
    require_version(found, url)


def require_version(found: int, url: str) -> None:
    """Raise SchemaMismatch unless this code reads that version."""
    where = f"the journal {without_password(url)}"
    check_version(where, found, migrations("postgres")[-1].version)


async def migrate(connection: AsyncConnection[Row], url: str) -> int:
    """Run what is missing, each migration in a transaction of its own; return the version."""
    found = await found_version(connection, url) or 0
    for migration in migrations("postgres"):
        if migration.version > found:
            async with connection.transaction():
                await run(connection, migration.sql.encode())
                parameters = {"version": migration.version, "name": migration.name}
                await run(connection, SQL["record_migration"], parameters)
                await run(connection, SQL["first_term"])
            found = migration.version
    return found


# ---------------------------------------------------------------- readers


class Readers:
    """A few connections that only read, made when they are needed.

    Args:
        url: where the database is.
        most: how many there are at most; further queries wait for one.
    """

    def __init__(self, url: str, most: int = 3) -> None:
        self._url = url
        self._free: list[AsyncConnection[Row]] = []
        self._room = asyncio.Semaphore(most)
        self._closed = False

    async def run(self, query: bytes, parameters: Mapping[str, Any]) -> Sequence[Row]:
        """Run a query. Raises JournalUnavailable."""
        async with self._room:
            try:
                return await self._run(query, parameters)
            except RecordAtFault as error:
                raise JournalUnavailable(f"PostgreSQL: {error}") from error

    async def _run(self, query: bytes, parameters: Mapping[str, Any]) -> Sequence[Row]:
        while self._free:
            connection = self._free.pop()
            try:
                return await self._on(connection, query, parameters)
            except JournalUnavailable:
                # It may have been lost while it lay idle; then a fresh one will do.
                if not connection.closed:
                    raise
        if self._closed:
            raise JournalUnavailable("the journal is closed")
        connection = await connect(self._url, "trypact reader")
        await run(connection, b"SET default_transaction_read_only = on")
        return await self._on(connection, query, parameters)

    async def _on(
        self, connection: AsyncConnection[Row], query: bytes, parameters: Mapping[str, Any]
    ) -> Sequence[Row]:
        try:
            rows = await run(connection, query, parameters)
        except asyncio.CancelledError:
            await connection.close()
            raise
        finally:
            if not connection.closed:
                if self._closed:
                    await connection.close()
                else:
                    self._free.append(connection)
        return rows

    async def close(self) -> None:
        """Close all of them; those in use as soon as they are not."""
        self._closed = True
        while self._free:
            await self._free.pop().close()
