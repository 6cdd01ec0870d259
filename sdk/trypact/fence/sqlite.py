"""SQLite, set up so that a participant can be trusted with it."""

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from trypact._lazy import from_extra

# Long enough for a queue of writers, no longer than the coordinator waits for a call.
BUSY_TIMEOUT_MS = 4_000
# Keys of what is known about a pooled connection, kept in its `info`.
_DURABLE = "trypact.durable"
_IMMEDIATE = "trypact.immediate"
# Execution option of a connection that only reads, and need not wait for who writes.
READS = "trypact_reads"


def sqlite_engine(database: str | Path | URL, **arguments: Any) -> Engine:
    """Return an engine for a SQLite file: WAL, synchronous=FULL, foreign keys, BEGIN IMMEDIATE.

    Every transaction takes the write lock at its start, so it cannot fail half way because
    another one was quicker.

    Args:
        database: a path, or a URL such as "sqlite:///inventory.db".
        arguments: passed on to SQLAlchemy's `create_engine`.

    Raises ValueError for a database in memory, which no two connections share.

    >>> with sqlite_engine("inventory.db").connect() as connection:
    ...     connection.exec_driver_sql("PRAGMA journal_mode").scalar()
    'wal'
    """
    # Parameters in error messages would carry business data into logs.
    engine = create_engine(_file(database), **{"hide_parameters": True, **arguments})
    _set_up(engine)
    return engine


def async_sqlite_engine(database: str | Path | URL, **arguments: Any) -> AsyncEngine:
    """Return the same for aiosqlite: an engine of SQLAlchemy's asyncio extension.

    Args:
        database: a path, or a URL such as "sqlite+aiosqlite:///inventory.db".
        arguments: passed on to SQLAlchemy's `create_async_engine`.

    Raises ValueError for a database in memory, which no two connections share.

    >>> engine = async_sqlite_engine("purse.db")
    >>> async with engine.connect() as connection:
    ...     (await connection.exec_driver_sql("PRAGMA journal_mode")).scalar()
    'wal'
    >>> await engine.dispose()
    """
    url = _file(database).set(drivername="sqlite+aiosqlite")
    with from_extra("trypact.fence.async_sqlite_engine"):
        engine = create_async_engine(url, **{"hide_parameters": True, **arguments})
    _set_up(engine.sync_engine)
    return engine


def _set_up(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _connected(connection: Any, record: Any) -> None:
        # The driver must not open transactions by itself; `_begun` does.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (
            f"busy_timeout = {BUSY_TIMEOUT_MS}",
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()
        record.info.update({_DURABLE: True, _IMMEDIATE: True})

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        reads = connection.get_execution_options().get(READS)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _file(database: str | Path | URL) -> URL:
    url = database if isinstance(database, URL) else _url(str(database))
    if url.get_backend_name() != "sqlite":
        raise ValueError(f"{url} is no SQLite database")
    require_file(url)
    return url


def require_file(url: URL) -> None:
    """Raise ValueError for a SQLite database that is none."""
    if url.database in (None, "", ":memory:") or "mode" in url.query:
        raise ValueError("a participant's SQLite database is a file; in memory nothing lasts")


def _url(database: str) -> URL:
    return make_url(database) if "://" in database else URL.create("sqlite", database=database)


def begin_immediate(connection: Connection) -> None:
    """Take the write lock now, whatever the engine's own habits are, and make commits durable."""
    if connection.info.get(_IMMEDIATE):
        return
    raw: Any = connection.connection.driver_connection
    if not connection.info.get(_DURABLE):
        _require_full_sync(connection.connection.dbapi_connection, raw.in_transaction)
        connection.info[_DURABLE] = True
    if raw.in_transaction:
        # An engine with the hook that SQLAlchemy's documentation shows: its deferred transaction
        # has done nothing yet, and starts again.
        connection.exec_driver_sql("ROLLBACK")
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _require_full_sync(connection: Any, in_transaction: bool) -> None:
    cursor = connection.cursor()
    try:
        cursor.execute("PRAGMA synchronous")
        (level,) = cursor.fetchone()
        if level < 2:
            if in_transaction:
                connection.rollback()
            cursor.execute("PRAGMA synchronous = FULL")
    finally:
        cursor.close()
