"""The journal in a PostgreSQL database.

A batch is one statement: it checks the epoch, inserts what begins, updates what goes on, and is
its own commit, so it costs one round trip and one flush however many records it carries.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import structlog

from trypact_coordinator.core.errors import JournalUnavailable, OwnershipLost
from trypact_coordinator.journal.postgres_arrays import (
    ByteaArray,
    flag_array,
    number_array,
    ragged_array,
    text_array,
)
from trypact_coordinator.journal.postgres_session import SQL, OwningSession, Readers, RecordAtFault
from trypact_coordinator.journal.postgres_statement import PreparedStatement, Value
from trypact_coordinator.journal.reads import SqlReads, encode_instance
from trypact_coordinator.journal.row import (
    Row,
    check_batch,
    log_rejected,
    rows_of,
    verdicts_of,
)
from trypact_coordinator.journal.schema import queries
from trypact_coordinator.journal.search import Dialect, Narrow
from trypact_coordinator.ports import Appended, Instance, Term, Verdict, Write

# What one statement carries at most; a larger batch is cut up.
_STATEMENT_BYTES_MAX = 8 * 1024 * 1024
_UNFLUSHED_BATCHES_MAX = 64

_DIALECT = Dialect(
    parameter="%({})s",
    has_label="labels <> '{{}}' AND labels @> ARRAY[{label}]::text[]",
    has_participant="participants @> ARRAY[{participant}]::text[]",
)
_WALK = {"newest_first": "created_at DESC, xid DESC"}
# The sum keeps the planner from walking all transactions by age in search of a few.
_SORT = {"newest_first": "created_at + 0 DESC, xid DESC"}
_FORMS = {
    Narrow.NEWEST: _WALK,
    Narrow.STUCK: _WALK,
    Narrow.UNFINISHED: _SORT,
    Narrow.LABEL: _SORT,
}

log = structlog.get_logger(__name__)


def _append(*parts: str) -> PreparedStatement:
    """Return the statement of a batch that has these parts beside `present`."""
    named = b", ".join([SQL[part] for part in ("present", *parts)])
    applied = b" + ".join([b"(SELECT count(*) FROM %b)" % part.encode() for part in parts])
    query = b"WITH %b SELECT (SELECT batch FROM present), %b, (%b)" % (named, applied, SQL["now"])
    return PreparedStatement("_".join(["append", *parts]), query)


# Whether any transaction begins, and whether any goes on -> the statement. Nearly all batches have
# records of one sort, and what is not there is not planned, sent or run.
APPEND = {
    (True, False): _append("begun"),
    (False, True): _append("went_on"),
    (True, True): _append("begun", "went_on"),
}
# A statement with its values.
Batch = tuple[PreparedStatement, dict[str, Value]]


class PostgresJournal(SqlReads):
    """A Journal in a PostgreSQL database.

    Args:
        url: `postgresql://user:password@host:port/database`, or anything libpq takes.
    """

    def __init__(self, url: str) -> None:
        super().__init__(queries("postgres"), _DIALECT, _FORMS)
        self._url = url
        self._session = OwningSession(url)
        self._readers = Readers(url)
        self._writing = asyncio.Lock()
        # Lazy batches that no commit since has forced to disk. Nobody waits for these, so their
        # commits do not wait for the disk; a server that crashes may forget the latest of them.
        self._unflushed: list[Sequence[Row]] = []
        # The connection was lost since, so that they are to be written again, all of them.
        self._doubted = False

    async def open(self, owner: str) -> Term:
        """See Journal."""
        term = await self._session.open(owner)
        self._unflushed.clear()
        self._doubted = False
        self._readers = Readers(self._url)
        return term

    async def close(self) -> None:
        """See Journal."""
        await self._readers.close()
        await self._session.close()

    # ------------------------------------------------------------ writing

    async def append(self, batch: Sequence[Write]) -> Appended:
        """See Journal."""
        check_batch(batch)
        verdicts: dict[str, Verdict] = {}
        rows = rows_of(batch)
        lazy = len(self._unflushed) < _UNFLUSHED_BATCHES_MAX and not any(
            write.record.forced for write in batch
        )
        at = 0
        async with self._writing:
            for part in _parts(rows):
                at = await self._write(part, verdicts, lazy=lazy)
            if not rows:
                await self._ready()
                at = (await self._session.run(SQL["now"], {}))[0][0]
        xids = [write.record.transaction.spec.xid for write in batch]
        return Appended(tuple([verdicts.get(xid, Verdict.REJECTED) for xid in xids]), at)

    async def flushed(self, xid: str) -> bool:
        """See Journal."""
        # A batch on its way may be visible before it is known to be lazy.
        async with self._writing:
            return not any(row.xid == xid for rows in self._unflushed for row in rows)

    async def _write(self, rows: Sequence[Row], verdicts: dict[str, Verdict], *, lazy: bool) -> int:
        """Write rows and note their verdicts; return the database's time."""
        try:
            batch, applied, at = await self._twice(self._batch(rows, lazy=lazy))
        except RecordAtFault as error:
            if len(rows) == 1:
                log_rejected(rows[0].xid, error)
                return int((await self._session.run(SQL["now"], {}))[0][0])
            half = len(rows) // 2
            await self._write(rows[:half], verdicts, lazy=lazy)
            return await self._write(rows[half:], verdicts, lazy=lazy)
        if batch is None:
            raise OwnershipLost
        if lazy:
            self._unflushed.append(rows)
        else:
            # A commit that was flushed took everything before it along.
            self._unflushed.clear()
            self._session.batch = batch
        if applied == len(rows):
            verdicts.update(dict.fromkeys([row.xid for row in rows], Verdict.APPLIED))
        else:
            verdicts.update(await self._own_writes(rows))
        return at

    async def _twice(self, batch: Batch) -> tuple[int | None, int, int]:
        """Send a batch, and once more if the connection was lost: the reply may have been too."""
        try:
            await self._ready()
            return await self._session.append(*batch)
        except JournalUnavailable as error:
            log.warning("journal write interrupted; writing it again", error=str(error))
        await self._ready()
        return await self._session.append(*batch)

    async def _ready(self) -> None:
        """Make sure of the connection, and of what a crashed server may have forgotten."""
        self._doubted = await self._session.ready() or self._doubted
        if self._doubted:
            for rows in self._unflushed:
                await self._session.append(*self._batch(rows, lazy=False))
            self._unflushed.clear()
            self._doubted = False

    def _batch(self, rows: Sequence[Row], *, lazy: bool) -> Batch:
        values: dict[str, Value] = {
            "term_epoch": str(self._session.epoch),
            "synchronous_commit": "off" if lazy else "on",
        }
        begun = [row for row in rows if row.begins]
        went_on = [row for row in rows if not row.begins]
        if begun:
            values |= _begun(begun)
        if went_on:
            values |= _columns("next", went_on)
        return APPEND[bool(begun), bool(went_on)], values

    async def _own_writes(self, rows: Sequence[Row]) -> dict[str, Verdict]:
        """Return the verdict of each row by what the journal holds now."""
        xids = text_array([row.xid for row in rows])
        found = await self._session.run(SQL["own_writes"], {"xids": xids})
        return verdicts_of(rows, found)

    async def prune(self, finished_before: int, limit: int) -> int:
        """See Journal."""
        rows = await self._owned("prune", {"before": finished_before, "limit": limit})
        present, gone = rows[0]
        if not present:
            raise OwnershipLost
        return int(gone)

    async def save_instance(self, instance: Instance) -> None:
        """See Journal."""
        parameters = {
            "participant": instance.participant,
            "instance": instance.instance,
            "content": encode_instance(instance),
        }
        if not await self._owned("save_instance", parameters):
            raise OwnershipLost

    async def delete_instance(self, participant: str, instance: str) -> None:
        """See Journal."""
        parameters = {"participant": participant, "instance": instance}
        if not await self._owned("delete_instance", parameters):
            raise OwnershipLost

    async def _owned(self, query: str, parameters: dict[str, Any]) -> Sequence[Any]:
        async with self._writing:
            await self._ready()
            try:
                return await self._session.run(
                    SQL[query], {"term_epoch": self._session.epoch, **parameters}
                )
            except RecordAtFault as error:
                raise JournalUnavailable(f"PostgreSQL: {error}") from error

    # ------------------------------------------------------------ reading

    async def _read(self, sql: str, parameters: dict[str, Any]) -> Sequence[Any]:
        return await self._readers.run(sql.encode(), parameters)


def _parts(rows: Sequence[Row]) -> list[Sequence[Row]]:
    """Cut a batch into statements of a bearable size; nearly always it is one."""
    parts: list[Sequence[Row]] = []
    start = size = 0
    for index, row in enumerate(rows):
        size += (more := row.size)
        if size > _STATEMENT_BYTES_MAX and index > start:
            parts.append(rows[start:index])
            start, size = index, more
    if rows:
        parts.append(rows[start:])
    return parts


def _columns(prefix: str, rows: Sequence[Row]) -> dict[str, Value]:
    """Return what every record carries, a column each."""
    return {
        f"{prefix}_xid": text_array([row.xid for row in rows]),
        f"{prefix}_version": number_array([row.version for row in rows]),
        f"{prefix}_epoch": number_array([row.epoch for row in rows]),
        f"{prefix}_write_id": number_array([row.write_id for row in rows]),
        f"{prefix}_state": number_array([row.state for row in rows]),
        f"{prefix}_due_at": number_array([row.due_at for row in rows]),
        f"{prefix}_finished_at": number_array([row.finished_at for row in rows]),
        f"{prefix}_stuck": text_array([row.stuck for row in rows]),
        f"{prefix}_paused": flag_array([row.paused for row in rows]),
        f"{prefix}_progress": ByteaArray([row.progress for row in rows]),
        f"{prefix}_spec": ByteaArray([row.spec for row in rows]),
        f"{prefix}_participants": ragged_array([row.participants for row in rows]),
    }


def _begun(rows: Sequence[Row]) -> dict[str, Value]:
    return {
        **_columns("begun", rows),
        "begun_created_at": number_array([row.created_at for row in rows]),
        "begun_name": text_array([row.name for row in rows]),
        "begun_labels": ragged_array([row.labels for row in rows]),
    }
