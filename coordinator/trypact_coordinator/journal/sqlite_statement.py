"""The one statement that writes records, and is its own commit.

For each statement Python lets go of the interpreter, and waits until it has it back; where the
event loop is busy that takes a millisecond or more, while the statement takes a tenth of one. With
a statement for each record, most of a commit would be such waits.
"""

import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from json import JSONEncoder

from trypact_coordinator.core.errors import OwnershipLost
from trypact_coordinator.journal.row import Row
from trypact_coordinator.journal.sqlite_file import SQL

# What one statement carries at most. Each number of rows is a statement of its own, and a
# connection keeps 128 prepared.
ROWS_MAX = 64

# `json.dumps` would make an encoder for each row.
_encode_labels = JSONEncoder(ensure_ascii=False).encode

_Value = str | bytes | int | None


def prepare(connection: sqlite3.Connection) -> None:
    """Make what the statement needs; it is gone with the connection. Raises sqlite3.Error."""
    for part in ("batch", "in_term", "begun", "went_on"):
        connection.execute(SQL[part])


def append(connection: sqlite3.Connection, epoch: int, rows: Sequence[Row]) -> bool:
    """Write at most ROWS_MAX rows under that epoch; return whether each had its effect.

    Raises OwnershipLost, or what sqlite3 does; then none of it has happened.
    """
    values = chain(_head(epoch), *[_values(row) for row in rows])
    changed = connection.total_changes
    try:
        connection.execute(_text(len(rows)), tuple(values))
    except sqlite3.IntegrityError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_TRIGGER:
            raise OwnershipLost from error
        raise
    # The term, each row, and the labels of those that begin.
    expected = 1 + len(rows) + sum([len(row.labels) for row in rows if row.begins])
    return connection.total_changes - changed == expected


@lru_cache(maxsize=1 + ROWS_MAX)
def _text(rows: int) -> str:
    """Return the statement for so many rows after the first, which is the term's."""
    row = f"({', '.join('?' * len(_head(0)))})"
    return SQL["append"].format(rows=", ".join([row] * (1 + rows)))


def _head(epoch: int) -> tuple[_Value, ...]:
    return (None, None, epoch, *[None] * 12)


def _values(row: Row) -> tuple[_Value, ...]:
    return (
        row.xid,
        row.version,
        row.epoch,
        row.write_id,
        row.state,
        row.due_at,
        row.finished_at,
        row.stuck,
        row.paused,
        row.progress,
        row.spec,
        None if row.participants is None else f" {' '.join(row.participants)} ",
        row.created_at,
        row.name,
        _encode_labels(row.labels),
    )
