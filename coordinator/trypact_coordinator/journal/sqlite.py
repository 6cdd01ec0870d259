"""The journal in one SQLite file: WAL, every commit forced to disk, no server to run.

One thread of our own writes and another reads, so the event loop never waits for the disk and a
page of a search never waits for a commit. A lock on `<path>.lock` says which process owns the
file; the operating system frees it when that process ends, however it ends.
"""

import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from trypact_coordinator.core.errors import JournalUnavailable, OwnershipLost
from trypact_coordinator.journal.reads import SqlReads, encode_instance
from trypact_coordinator.journal.row import (
    Row,
    check_batch,
    log_rejected,
    rows_of,
    verdicts_of,
)
from trypact_coordinator.journal.search import Dialect, Narrow
from trypact_coordinator.journal.sqlite_file import (
    SQL,
    DatabaseThread,
    commit,
    connect_to_read,
    connect_to_write,
    require_no_other_content,
    require_schema,
    take_lock,
    translated,
)
from trypact_coordinator.journal.sqlite_statement import ROWS_MAX, append, prepare
from trypact_coordinator.journal.wall_clock import wall_clock_us
from trypact_coordinator.ports import Appended, Instance, Term, Verdict, Write

_DIALECT = Dialect(
    parameter=":{}",
    has_label="label = {label}",
    has_participant="instr(participants, ' ' || {participant} || ' ') > 0",
)
_FORMS = {
    Narrow.NEWEST: {"source": "transactions INDEXED BY transactions_newest"},
    Narrow.UNFINISHED: {"source": "transactions INDEXED BY transactions_due"},
    Narrow.STUCK: {"source": "transactions INDEXED BY transactions_stuck"},
    Narrow.LABEL: {"source": "labels CROSS JOIN transactions USING (xid, created_at)"},
}
# The record is at fault and not the database, which has undone that one statement.
_AT_FAULT = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    OverflowError,
    ValueError,
)

_CLOSED = "the journal is closed"


class SqliteJournal(SqlReads):
    """A Journal in an SQLite file.

    Args:
        path: the file; made if its folder exists.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(SQL, _DIALECT, _FORMS)
        self._path = path
        self._lock: int | None = None
        self._writing: DatabaseThread | None = None
        self._reading: DatabaseThread | None = None
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._epoch = 0

    async def open(self, owner: str) -> Term:
        """See Journal."""
        self._writing = DatabaseThread("journal-write")
        self._reading = DatabaseThread("journal-read")
        try:
            # Before anything is made beside it.
            await self._writing.run(require_no_other_content, self._path)
            self._lock = take_lock(self._path, owner)
            return await self._writing.run(self._open, owner)
        except BaseException:
            await self.close()
            raise

    def _open(self, owner: str) -> Term:
        with translated(self._path):
            self._writer = connection = connect_to_write(self._path)
            require_schema(connection, self._path)
            with commit(connection):
                connection.execute(SQL["take_term"], {"owner": owner})
            _, self._epoch, incarnation, _ = connection.execute(SQL["read_term"]).fetchone()
            self._reader = connect_to_read(self._path)
            prepare(connection)
        return Term(owner, self._epoch, incarnation, wall_clock_us())

    async def close(self) -> None:
        """See Journal."""
        for thread, connection in ((self._reading, self._reader), (self._writing, self._writer)):
            if thread is not None:
                if connection is not None:
                    with suppress(sqlite3.Error):
                        await thread.run(connection.close)
                thread.end()
        self._reading = self._writing = None
        self._reader = self._writer = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # ------------------------------------------------------------ writing

    async def append(self, batch: Sequence[Write]) -> Appended:
        """See Journal."""
        check_batch(batch)
        rows = rows_of(batch)
        verdicts, at = await self._thread(self._writing).run(self._append, rows)
        xids = [write.record.transaction.spec.xid for write in batch]
        return Appended(tuple([verdicts.get(xid, Verdict.REJECTED) for xid in xids]), at)

    def _append(self, rows: Sequence[Row]) -> tuple[dict[str, Verdict], int]:
        """Write a batch's rows in one commit; return the verdicts by xid, and the time.

        There is no verdict of a row that is at fault.
        """
        if self._writer is None:
            raise JournalUnavailable(_CLOSED)
        with translated(self._path):
            if len(rows) <= ROWS_MAX:
                with suppress(*_AT_FAULT):
                    return self._written(self._writer, rows), wall_clock_us()
            verdicts: dict[str, Verdict] = {}
            with commit(self._writer):
                for first in range(0, len(rows), ROWS_MAX):
                    verdicts |= self._sifted(self._writer, rows[first : first + ROWS_MAX])
            return verdicts, wall_clock_us()

    def _written(self, connection: sqlite3.Connection, rows: Sequence[Row]) -> dict[str, Verdict]:
        """Write rows with one statement; return their verdicts. Raises where one is at fault."""
        if append(connection, self._epoch, rows):
            return dict.fromkeys([row.xid for row in rows], Verdict.APPLIED)
        xids = json.dumps([row.xid for row in rows])
        return verdicts_of(rows, connection.execute(SQL["own_writes"], (xids,)))

    def _sifted(self, connection: sqlite3.Connection, rows: Sequence[Row]) -> dict[str, Verdict]:
        """Write all rows but those that are at fault; return the verdicts of the others."""
        try:
            return self._written(connection, rows)
        except _AT_FAULT as error:
            if len(rows) == 1:
                log_rejected(rows[0].xid, error)
                return {}
        half = len(rows) // 2
        return self._sifted(connection, rows[:half]) | self._sifted(connection, rows[half:])

    async def prune(self, finished_before: int, limit: int) -> int:
        """See Journal."""
        return await self._thread(self._writing).run(self._prune, finished_before, limit)

    def _prune(self, finished_before: int, limit: int) -> int:
        with self._counted() as connection:
            parameters = {"before": finished_before, "limit": limit}
            connection.execute(SQL["prune_labels"], parameters)
            return connection.execute(SQL["prune"], parameters).rowcount

    async def save_instance(self, instance: Instance) -> None:
        """See Journal."""
        parameters = {
            "participant": instance.participant,
            "instance": instance.instance,
            "content": encode_instance(instance),
        }
        await self._thread(self._writing).run(self._change, "save_instance", parameters)

    async def delete_instance(self, participant: str, instance: str) -> None:
        """See Journal."""
        parameters = {"participant": participant, "instance": instance}
        await self._thread(self._writing).run(self._change, "delete_instance", parameters)

    def _change(self, query: str, parameters: dict[str, Any]) -> None:
        with self._counted() as connection:
            connection.execute(SQL[query], parameters)

    @contextmanager
    def _counted(self) -> Iterator[sqlite3.Connection]:
        """Make the block one commit under our epoch. Raises OwnershipLost, JournalUnavailable."""
        if self._writer is None:
            raise JournalUnavailable(_CLOSED)
        with translated(self._path), commit(self._writer):
            if not self._writer.execute(SQL["count_batch"], {"term_epoch": self._epoch}).rowcount:
                raise OwnershipLost
            yield self._writer

    # ------------------------------------------------------------ reading

    async def _read(self, sql: str, parameters: dict[str, Any]) -> Sequence[Any]:
        return await self._thread(self._reading).run(self._fetch, sql, parameters)

    def _fetch(self, sql: str, parameters: dict[str, Any]) -> list[Any]:
        if self._reader is None:
            raise JournalUnavailable(_CLOSED)
        with translated(self._path):
            return self._reader.execute(sql, parameters).fetchall()

    def _thread(self, thread: DatabaseThread | None) -> DatabaseThread:
        if thread is None:
            raise JournalUnavailable(_CLOSED)
        return thread
