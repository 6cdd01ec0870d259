"""A transaction as a row: what stands in columns beside the two blobs, and why.

Columns exist for what SQL must compare (version, epoch, write_id), find (due_at, created_at,
finished_at, stuck) or filter by (name, state, paused, labels, participants). The truth is in the
blobs; `differences` says where a row contradicts itself.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

import msgspec
import structlog

from trypact_coordinator.core.errors import UnreadableRow, invariant
from trypact_coordinator.core.transaction import SETTLED, Transaction, participant_of
from trypact_coordinator.journal.codec import decode, encode_progress, encode_spec
from trypact_coordinator.ports import Verdict, Write

log = structlog.get_logger(__name__)


class Row(msgspec.Struct, frozen=True, gc=False):
    """One record on its way into the database."""

    xid: str
    version: int
    epoch: int
    write_id: int
    state: int
    # None when nothing is left to do.
    due_at: int | None
    # None while unfinished.
    finished_at: int | None
    # None unless a human is needed.
    stuck: str | None
    paused: bool
    progress: bytes
    created_at: int
    # These three are None unless branches were admitted, and then change with them.
    spec: bytes | None
    name: str | None
    participants: tuple[str, ...] | None
    # These never change; empty unless branches were admitted.
    labels: tuple[str, ...]

    @property
    def begins(self) -> bool:
        """Whether it is the transaction's first record."""
        return self.version == 1

    @property
    def size(self) -> int:
        """About how many bytes it sends."""
        return len(self.progress) + len(self.spec or b"") + 200


def row_of(write: Write) -> Row:
    """Return the row of a record. Raises UnicodeError or msgspec errors for what has no bytes."""
    record = write.record
    tx = record.transaction
    admits = record.admits or tx.version == 1
    return Row(
        xid=tx.spec.xid,
        version=tx.version,
        epoch=tx.epoch,
        write_id=write.write_id,
        state=int(tx.state),
        due_at=tx.due_at,
        finished_at=tx.finished_at if tx.settled else None,
        stuck=searchable(tx.stuck_reason) or None,
        paused=tx.paused,
        progress=encode_progress(tx),
        created_at=tx.created_at,
        spec=encode_spec(tx) if admits else None,
        name=searchable(tx.spec.name) if admits else None,
        participants=participants_of(tx) if admits else None,
        labels=labels_of(tx) if admits else (),
    )


def rows_of(batch: Sequence[Write]) -> list[Row]:
    """Return the rows of a batch in the order of their xids; who has no bytes is logged instead."""
    rows = []
    for write in batch:
        try:
            rows.append(row_of(write))
        except (ValueError, OverflowError) as error:
            log_rejected(write.record.transaction.xid, error)
    rows.sort(key=lambda row: row.xid)
    return rows


def log_rejected(xid: str, error: Exception) -> None:
    """Log that a record is at fault."""
    log.error("record rejected", xid=xid, error=str(error))


def verdicts_of(
    rows: Sequence[Row], found: Iterable[tuple[str, int, int, int]]
) -> dict[str, Verdict]:
    """Return each row's verdict by its xid; `found` is what the journal holds now of them.

    That is the xid, version, epoch and write id of each.
    """
    own = set(found)
    return {
        row.xid: Verdict.APPLIED
        if (row.xid, row.version, row.epoch, row.write_id) in own
        else Verdict.CONFLICT
        for row in rows
    }


def participants_of(tx: Transaction) -> tuple[str, ...]:
    """Return the names of its participants, each once, in the order of its branches."""
    return _participants(tuple([branch.spec.action for branch in tx.branches]))


# Transactions of one name have the same actions, again and again.
@lru_cache(maxsize=256)
def _participants(actions: tuple[str, ...]) -> tuple[str, ...]:
    return tuple({participant_of(action): None for action in actions})


def labels_of(tx: Transaction) -> tuple[str, ...]:
    """Return its labels, each as one text."""
    return tuple([label_of(key, value) for key, value in tx.spec.labels])


def label_of(key: str, value: str) -> str:
    """Return a label as one text; a key holds no space, so no two labels share one."""
    return searchable(f"{key} {value}")


def searchable(text: str) -> str:
    """Return a text as a column can hold it: PostgreSQL's hold no NUL. The blobs keep it as is."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def check_batch(batch: Sequence[Write]) -> None:
    """Hold callers to the contract: an xid occurs once in a batch."""
    xids = {write.record.transaction.spec.xid for write in batch}
    invariant(len(xids) == len(batch), "an xid occurs twice in a batch")


def readable(xid: str, spec: bytes, progress: bytes) -> Transaction | None:
    """Decode a row, or log why that cannot be done: one bad row must not hide its neighbours."""
    try:
        return decode(xid, spec, progress)
    except UnreadableRow as error:
        log.error("unreadable row", xid=xid, error=str(error))
        return None


class Header(msgspec.Struct, frozen=True):
    """What `verify` reads before the rows."""

    schema_version: int
    instances: int


class Stored(msgspec.Struct, frozen=True, array_like=True):
    """A row as `verify` reads it."""

    xid: str
    name: str
    state: int
    version: int
    epoch: int
    due_at: int | None
    created_at: int
    finished_at: int | None
    stuck: str | None
    paused: bool
    labels: tuple[str, ...]
    participants: tuple[str, ...]
    spec: bytes
    progress: bytes


# Column -> what it must be by the blobs.
_BY_THE_BLOBS: dict[str, Callable[[Transaction], object]] = {
    "xid": lambda tx: tx.xid,
    "name": lambda tx: searchable(tx.spec.name),
    "state": lambda tx: tx.state.value,
    "version": lambda tx: tx.version,
    "epoch": lambda tx: tx.epoch,
    "due_at": lambda tx: tx.due_at,
    "created_at": lambda tx: tx.created_at,
    "finished_at": lambda tx: tx.finished_at if tx.settled else None,
    "stuck": lambda tx: searchable(tx.stuck_reason) or None,
    "paused": lambda tx: tx.paused,
    "labels": labels_of,
    "participants": participants_of,
}


def differences(stored: Stored) -> list[str]:
    """Return where a row contradicts itself. Raises UnreadableRow."""
    tx = decode(stored.xid, stored.spec, stored.progress)
    found = [
        f"column {column} is {getattr(stored, column)!r}, by its content it is {expected!r}"
        for column, of in _BY_THE_BLOBS.items()
        if getattr(stored, column) != (expected := of(tx))
    ]
    finished = tx.settled and all(branch.state in SETTLED for branch in tx.branches)
    if tx.due_at is None and not finished:
        found.append("nothing would ever look at it again, and it is not finished")
    return found
