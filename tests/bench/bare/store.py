"""The bare loop's journals: one row a transaction, an insert and two updates, all in batches.

Whatever is ready when the last batch is committed is the next batch: at most three statements and
one commit. A finish forces nothing: it rides with the next batch that does.
"""

import asyncio
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from psycopg import pq
from trypact_coordinator.journal.postgres_arrays import ByteaArray

SCHEMA = b"""
CREATE TABLE IF NOT EXISTS bare (
    xid text COLLATE "C" PRIMARY KEY,
    state smallint NOT NULL,
    due_at bigint,
    spec bytea NOT NULL,
    progress bytea NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX IF NOT EXISTS bare_due ON bare (due_at, xid) WHERE due_at IS NOT NULL;
TRUNCATE bare;
"""
# Durable, and planned by index whatever the statistics say.
SETTINGS = b"""
SET synchronous_commit = on; SET enable_seqscan = off; SET enable_hashjoin = off;
SET enable_mergejoin = off; SET plan_cache_mode = force_generic_plan; SET jit = off;
"""
STATEMENTS = {
    b"begin": b"""
        INSERT INTO bare (xid, state, due_at, spec, progress)
        SELECT b.xid, 1, 0, b.spec, '' FROM unnest($1::text[], $2::bytea[]) AS b (xid, spec)
    """,
    b"decide": b"""
        UPDATE bare SET state = 2, progress = d.progress
        FROM unnest($1::text[], $2::bytea[]) AS d (xid, progress) WHERE bare.xid = d.xid
    """,
    b"finish": b"""
        UPDATE bare SET state = 4, due_at = NULL
        FROM unnest($1::text[]) AS f (xid) WHERE bare.xid = f.xid
    """,
}
SQLITE_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE bare (
    xid TEXT NOT NULL PRIMARY KEY,
    state INTEGER NOT NULL,
    due_at INTEGER,
    spec BLOB NOT NULL,
    progress BLOB NOT NULL
) STRICT;
CREATE INDEX bare_due ON bare (due_at, xid) WHERE due_at IS NOT NULL;
"""
SQLITE = {
    "begin": "INSERT INTO bare (xid, state, due_at, spec, progress) VALUES (?, 1, 0, ?, x'')",
    "decide": "UPDATE bare SET state = 2, progress = ? WHERE xid = ?",
    "finish": "UPDATE bare SET state = 4, due_at = NULL WHERE xid = ?",
}
# How long finishes wait for a batch to ride with, when nothing else is going on.
LAZY_SECONDS = 0.01

Done = Callable[[Any], None]


class Batch(NamedTuple):
    """What is written together."""

    begins: Sequence[Any]
    decides: Sequence[Any]
    finishes: Sequence[str]


class Store(ABC):
    """What becomes ready while a batch is written is the next batch.

    Args:
        begun: told each transaction whose beginning is durable.
        decided: told each transaction whose decision is durable.
    """

    def __init__(self, begun: Done, decided: Done) -> None:
        self._loop = asyncio.get_running_loop()
        self._begun, self._decided = begun, decided
        self._begins: list[Any] = []
        self._decides: list[Any] = []
        self._finishes: list[str] = []
        self._writing: Batch | None = None
        self._scheduled = False
        self._lazy: asyncio.TimerHandle | None = None
        self.commits = 0
        self.records = 0

    def begin(self, transaction: Any) -> None:
        """Write `transaction.xid` and `transaction.spec`."""
        self._begins.append(transaction)
        self._soon()

    def decide(self, transaction: Any) -> None:
        """Write `transaction.results` as well."""
        self._decides.append(transaction)
        self._soon()

    def finish(self, xid: str) -> None:
        """Write that a transaction is over, some time."""
        self._finishes.append(xid)
        self._later()

    @abstractmethod
    def write(self, batch: Batch) -> None:
        """Write a batch; call `committed` when it is durable."""

    def committed(self) -> None:
        """Write the next batch, then tell whoever waited for this one."""
        batch = self._writing or Batch((), (), ())
        self._writing = None
        self.commits += 1
        self.records += sum(map(len, batch))
        if self._begins or self._decides:
            self._write()
        else:
            self._later()
        for transaction in batch.begins:
            self._begun(transaction)
        for transaction in batch.decides:
            self._decided(transaction)

    def _soon(self) -> None:
        # At the end of this turn of the loop, so that all that becomes ready in it goes together.
        if self._writing is None and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._write)

    def _later(self) -> None:
        idle = self._writing is None and not self._scheduled
        if self._finishes and idle and self._lazy is None:
            self._lazy = self._loop.call_later(LAZY_SECONDS, self._write)

    def _write(self) -> None:
        self._scheduled = False
        if self._writing is not None:
            # The timer and the end of the turn were due together: the other one has written.
            return
        if self._lazy is not None:
            self._lazy.cancel()
            self._lazy = None
        self._writing = Batch(self._begins, self._decides, self._finishes)
        self._begins, self._decides, self._finishes = [], [], []
        self.write(self._writing)


class PostgresStore(Store):
    """On one connection, each batch in one round trip."""

    def __init__(self, url: str, begun: Done, decided: Done) -> None:
        super().__init__(begun, decided)
        self._connection = pq.PGconn.connect(url.encode())
        if self._connection.status != pq.ConnStatus.OK:
            raise ConnectionError(self._connection.get_error_message())
        for statement in (SETTINGS, SCHEMA):
            _check(self._connection.exec_(statement))
        for name, statement in STATEMENTS.items():
            _check(self._connection.prepare(name, statement))
        self._connection.nonblocking = 1
        self._connection.enter_pipeline_mode()
        self._loop.add_reader(self._connection.socket, self._readable)

    def write(self, batch: Batch) -> None:
        """Send up to three statements, one transaction until the sync."""
        begins, decides, finishes = batch
        if begins:
            specs = ByteaArray([transaction.spec for transaction in begins]).binary
            self._send(b"begin", [transaction.xid for transaction in begins], specs)
        if decides:
            results = ByteaArray([transaction.results for transaction in decides]).binary
            self._send(b"decide", [transaction.xid for transaction in decides], results)
        if finishes:
            self._send(b"finish", finishes)
        self._connection.pipeline_sync()
        self._flush()

    def _send(self, name: bytes, xids: Sequence[str], *blobs: bytes) -> None:
        parameters = [f"{{{','.join(xids)}}}".encode(), *blobs]
        self._connection.send_query_prepared(name, parameters, [0, *(1 for _ in blobs)])

    def _flush(self) -> None:
        """Send what libpq holds; a batch larger than the socket's buffer takes more than once."""
        socket = self._connection.socket
        if self._connection.flush():
            self._loop.add_writer(socket, self._flush)
        else:
            self._loop.remove_writer(socket)

    def _readable(self) -> None:
        connection = self._connection
        connection.consume_input()
        while not connection.is_busy():
            result = connection.get_result()
            if result is None:
                if self._writing is None:
                    return
                continue
            if result.status == pq.ExecStatus.PIPELINE_SYNC:
                self.committed()
                return
            _check(result)


class SqliteStore(Store):
    """In a thread of its own, which waits for the disk."""

    def __init__(self, path: str, begun: Done, decided: Done) -> None:
        super().__init__(begun, decided)
        self._thread = ThreadPoolExecutor(1)
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.executescript(SQLITE_SCHEMA)

    def write(self, batch: Batch) -> None:
        """Hand it to the thread."""
        self._loop.run_in_executor(self._thread, self._commit, batch).add_done_callback(self._done)

    def _done(self, written: "asyncio.Future[None]") -> None:
        written.result()
        self.committed()

    def _commit(self, batch: Batch) -> None:
        execute = self._connection.executemany
        self._connection.execute("BEGIN IMMEDIATE")
        execute(SQLITE["begin"], [(one.xid, one.spec) for one in batch.begins])
        execute(SQLITE["decide"], [(one.results, one.xid) for one in batch.decides])
        execute(SQLITE["finish"], [(xid,) for xid in batch.finishes])
        self._connection.execute("COMMIT")


def open_store(url: str, begun: Done, decided: Done) -> Store:
    """Open `postgresql://...` or `sqlite:///PATH`."""
    if url.startswith("sqlite:///"):
        return SqliteStore(url.removeprefix("sqlite:///"), begun, decided)
    return PostgresStore(url, begun, decided)


def _check(result: Any) -> None:
    if result.status not in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK):
        raise RuntimeError(result.error_message.decode())
