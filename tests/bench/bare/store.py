"""The bare loop's journal: one row a transaction, an insert and two updates, all in batches.

Whatever is ready when the last batch is committed is the next batch: at most three statements and
one commit, in one round trip. A finish forces nothing: it rides with the next batch that does.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

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
# How long finishes wait for a batch to ride with, when nothing else is going on.
LAZY_SECONDS = 0.01

Done = Callable[[Any], None]


class Store:
    """The journal, on one connection.

    Args:
        url: a PostgreSQL database.
        begun: told each transaction whose beginning is durable.
        decided: told each transaction whose decision is durable.
    """

    def __init__(self, url: str, begun: Done, decided: Done) -> None:
        self._loop = asyncio.get_running_loop()
        self._begun, self._decided = begun, decided
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
        self._begins: list[Any] = []
        self._decides: list[Any] = []
        self._finishes: list[str] = []
        self._writing: tuple[Sequence[Any], Sequence[Any]] | None = None
        self._scheduled = False
        self._lazy: asyncio.TimerHandle | None = None
        self.commits = 0

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
        if self._lazy is None and self._writing is None and not self._scheduled:
            self._lazy = self._loop.call_later(LAZY_SECONDS, self._write)

    def _soon(self) -> None:
        # At the end of this turn of the loop, so that all that becomes ready in it goes together.
        if self._writing is None and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._write)

    def _write(self) -> None:
        self._scheduled = False
        if self._lazy is not None:
            self._lazy.cancel()
            self._lazy = None
        begins, self._begins = self._begins, []
        decides, self._decides = self._decides, []
        finishes, self._finishes = self._finishes, []
        if begins:
            specs = ByteaArray([transaction.spec for transaction in begins]).binary
            self._send(b"begin", [transaction.xid for transaction in begins], specs)
        if decides:
            results = ByteaArray([transaction.results for transaction in decides]).binary
            self._send(b"decide", [transaction.xid for transaction in decides], results)
        if finishes:
            self._send(b"finish", finishes)
        self._connection.pipeline_sync()
        self._writing = (begins, decides)
        self._flush()

    def _send(self, name: bytes, xids: list[str], *blobs: bytes) -> None:
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
                self._committed()
                return
            _check(result)

    def _committed(self) -> None:
        self.commits += 1
        begins, decides = self._writing or ((), ())
        self._writing = None
        if self._begins or self._decides:
            self._write()
        elif self._finishes:
            self._lazy = self._loop.call_later(LAZY_SECONDS, self._write)
        for transaction in begins:
            self._begun(transaction)
        for transaction in decides:
            self._decided(transaction)


def _check(result: Any) -> None:
    if result.status not in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK):
        raise RuntimeError(result.error_message.decode())
