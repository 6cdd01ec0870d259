"""SQLite, set up so that a participant can be trusted with it."""

import sqlite3
import threading
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import OperationalError

# Long enough for a queue of writers, no longer than the coordinator waits for a call.
BUSY_TIMEOUT_MS = 4_000
# Keys of what is known about a pooled connection, kept in its `info`.
_DURABLE = "trypact.durable"
_IMMEDIATE = "trypact.immediate"
_TURN = "trypact.turn"


def sqlite_engine(database: str | Path | URL, **arguments: Any) -> Engine:
    """Return an engine for a SQLite file: WAL, synchronous=FULL, foreign keys, BEGIN IMMEDIATE.

    Every transaction takes the write lock at its start, so it cannot fail half way because
    another one was quicker. The threads of one engine take turns.

    Args:
        database: a path, or a URL such as "sqlite:///inventory.db".
        arguments: passed on to SQLAlchemy's `create_engine`.

    Raises ValueError for a database in memory, which no two connections share.
    """
    url = database if isinstance(database, URL) else _url(str(database))
    if url.get_backend_name() != "sqlite":
        raise ValueError(f"{url} is no SQLite database")
    if url.database in (None, "", ":memory:") or "mode" in url.query:
        raise ValueError("a participant's SQLite database is a file; in memory nothing lasts")
    # Parameters in error messages would carry business data into logs.
    engine = create_engine(url, **{"hide_parameters": True, **arguments})
    turns = _Turns()
    turns.watch(engine)

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
        turns.take(connection.info)
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        except BaseException:
            turns.give(connection.info)
            raise

    return engine


class _Turns:
    """Whose turn it is to write, among the threads of one engine.

    SQLite has no queue for its write lock: whoever finds it taken sleeps for up to 0.1 s and looks
    again, and under load a batch may find it taken again and again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def watch(self, engine: Engine) -> None:
        """End each turn where the transaction ends, however that comes about."""

        def ended(connection: Connection) -> None:
            # A moment early: the next one waits for the commit itself in SQLite's own way.
            if not connection.invalidated:  # then it has been given already
                self.give(connection.info)

        def gone(connection: Any, record: Any, *reason: Any) -> None:
            self.give(record.info)

        for ending in ("commit", "rollback"):
            event.listen(engine, ending, ended)
        for leaving in ("checkin", "invalidate", "close"):
            event.listen(engine, leaving, gone)

    def take(self, info: dict[Any, Any]) -> None:
        """Wait for a turn. Raises OperationalError when it does not come."""
        if _TURN in info:
            return
        if not self._lock.acquire(timeout=BUSY_TIMEOUT_MS / 1000):
            reason = sqlite3.OperationalError("database is locked by another thread")
            raise OperationalError("BEGIN IMMEDIATE", None, reason)
        info[_TURN] = True

    def give(self, info: dict[Any, Any]) -> None:
        """End the turn, if it is one."""
        if info.pop(_TURN, None):
            self._lock.release()


def _url(database: str) -> URL:
    return make_url(database) if "://" in database else URL.create("sqlite", database=database)


def begin_immediate(connection: Connection) -> None:
    """Take the write lock now, whatever the engine's own habits are, and make commits durable."""
    if connection.info.get(_IMMEDIATE):
        return
    raw: Any = connection.connection.driver_connection
    if not connection.info.get(_DURABLE):
        _require_full_sync(raw)
        connection.info[_DURABLE] = True
    if raw.in_transaction:
        # An engine with the hook that SQLAlchemy's documentation shows: its deferred transaction
        # has done nothing yet, and starts again.
        connection.exec_driver_sql("ROLLBACK")
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _require_full_sync(raw: Any) -> None:
    cursor = raw.cursor()
    try:
        (level,) = cursor.execute("PRAGMA synchronous").fetchone()
        if level < 2:
            if raw.in_transaction:
                raw.rollback()
            cursor.execute("PRAGMA synchronous = FULL")
    finally:
        cursor.close()
