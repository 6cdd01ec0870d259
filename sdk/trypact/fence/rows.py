"""SQL over many fence rows at once: one round trip to insert, read or change a whole batch.

The rows always come sorted by key, and each key once. No statement joins the table with the
parameters in a way the planner could turn into a scan: a plan that is made while the table is
small would be kept while it grows. So reads go row by row inside one statement (LATERAL), and
changes are inserts that always meet their row.
"""

import json
from base64 import b64encode
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from sqlalchemy import (
    JSON,
    BigInteger,
    Connection,
    Table,
    Text,
    bindparam,
    cast,
    column,
    func,
    literal,
    select,
    true,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite

from trypact.fence.rules import FenceRow, Key, Row, Status

_KEY = ("xid", "branch_id")
_CHANGED = ("status", "result", "reason", "updated_at")


class Rows(Protocol):
    """The rows of a fence, for a batch."""

    def put(self, connection: Connection, rows: Sequence[FenceRow]) -> set[Key]:
        """Insert the rows whose keys are new; return those keys.

        Waits for other transactions that hold one of them.
        """
        ...

    def read(self, connection: Connection, keys: Sequence[Key]) -> dict[Key, Row]:
        """Return the rows that there are, locked where the database locks rows."""
        ...

    def write(self, connection: Connection, rows: Sequence[FenceRow]) -> None:
        """Change what rows say that this transaction has inserted or locked."""
        ...


def rows_of(table: Table, dialect: str) -> Rows:
    """Return the rows of a fence's table in a database of that dialect."""
    if dialect == "postgresql":
        return _PostgresRows(table)
    return _SqliteRows(table) if dialect == "sqlite" else _MysqlRows(table)


def _rows(found: Iterable[Any]) -> dict[Key, Row]:
    return {
        (xid, branch_id): Row(action, kind, Status(status), bytes(result), reason)
        for xid, branch_id, action, kind, status, result, reason in found
    }


class _PostgresRows:
    """All rows travel as one JSON text: arrays of strings cost the driver ten times as much.

    Only the columns that differ from row to row are in it.
    """

    _NEW = ("xid", "branch_id", "action", "kind", "status", "not_after")
    _CHANGED = ("xid", "branch_id", "status", "result", "reason")

    def __init__(self, table: Table) -> None:
        columns = table.c
        nothing: dict[str, Any] = {
            "result": bindparam("nothing", b""),
            "reason": bindparam("no_reason", ""),
        }
        at = {name: bindparam("now", type_=BigInteger) for name in ("created_at", "updated_at")}
        new, changed, keys = _sent(self._NEW), _sent(self._CHANGED), _sent(_KEY)
        self._put = (
            _insert(table, {**dict(new.c), **nothing, **at})
            .on_conflict_do_nothing()
            .returning(columns.xid, columns.branch_id)
        )
        # What every row has is here for the insert only, which always meets its row.
        always = {"action": literal(""), "kind": literal(""), "not_after": literal(0)}
        result = func.decode(changed.c.result, "base64")
        written = _insert(table, {**dict(changed.c), "result": result, **always, **at})
        self._write = written.on_conflict_do_update(
            index_elements=[columns.xid, columns.branch_id],
            set_={name: written.excluded[name] for name in _CHANGED},
        )
        row = (
            select(columns.action, columns.kind, columns.status, columns.result, columns.reason)
            .where(columns.xid == keys.c.xid, columns.branch_id == keys.c.branch_id)
            .with_for_update()
            .lateral("found")
        )
        self._read = select(keys.c.xid, keys.c.branch_id, *row.c).select_from(
            keys.join(row, true())
        )

    def put(self, connection: Connection, rows: Sequence[FenceRow]) -> set[Key]:
        sent = [
            {
                "xid": row.xid,
                "branch_id": row.branch_id,
                "action": row.action,
                "kind": row.kind,
                "status": row.status,
                "not_after": row.not_after,
            }
            for row in rows
        ]
        given = {"sent": json.dumps(sent), "now": rows[0].created_at}
        return {(xid, branch_id) for xid, branch_id in connection.execute(self._put, given)}

    def read(self, connection: Connection, keys: Sequence[Key]) -> dict[Key, Row]:
        sent = [{"xid": xid, "branch_id": branch_id} for xid, branch_id in keys]
        return _rows(connection.execute(self._read, {"sent": json.dumps(sent)}))

    def write(self, connection: Connection, rows: Sequence[FenceRow]) -> None:
        sent = [
            {
                "xid": row.xid,
                "branch_id": row.branch_id,
                "status": row.status,
                "result": b64encode(row.result).decode() if row.result else "",
                "reason": row.reason,
            }
            for row in rows
        ]
        given = {"sent": json.dumps(sent), "now": rows[0].updated_at}
        connection.execute(self._write, given)


def _sent(names: Sequence[str]) -> Any:
    """Return what is sent, as a table with these columns."""
    typed = (column(name, BigInteger if name == "not_after" else Text) for name in names)
    records = func.json_to_recordset(cast(bindparam("sent", type_=Text), JSON))
    return records.table_valued(*typed).render_derived(name="sent", with_types=True)


def _insert(table: Table, given: dict[str, Any]) -> Any:
    return postgresql.insert(table).from_select(list(given), select(*given.values()))


class _SqliteRows:
    """The database is in this process: a statement of many rows saves SQLAlchemy's own work."""

    def __init__(self, table: Table) -> None:
        dialect: Any = sqlite.dialect()
        self._table = dialect.identifier_preparer.format_table(table)
        self._columns = ", ".join(FenceRow._fields)
        changes = ", ".join(f"{name} = ?" for name in _CHANGED)
        at_key = "xid = ? AND branch_id = ?"
        self._write = f"UPDATE {self._table} SET {changes} WHERE {at_key}"  # noqa: S608

    def put(self, connection: Connection, rows: Sequence[FenceRow]) -> set[Key]:
        statement = (
            f"INSERT INTO {self._table} ({self._columns})"  # noqa: S608
            f" VALUES {_marks(len(FenceRow._fields), len(rows))}"
            " ON CONFLICT DO NOTHING RETURNING xid, branch_id"
        )
        found = connection.exec_driver_sql(statement, _flat(rows))
        return {(xid, branch_id) for xid, branch_id in found}

    def read(self, connection: Connection, keys: Sequence[Key]) -> dict[Key, Row]:
        # CROSS JOIN is kept in its order: for each key, one look into the primary key.
        statement = (
            f"WITH asked (xid, branch_id) AS (VALUES {_marks(2, len(keys))})"  # noqa: S608
            " SELECT f.xid, f.branch_id, f.action, f.kind, f.status, f.result, f.reason"
            f" FROM asked CROSS JOIN {self._table} f"
            " WHERE f.xid = asked.xid AND f.branch_id = asked.branch_id"
        )
        return _rows(connection.exec_driver_sql(statement, _flat(keys)))

    def write(self, connection: Connection, rows: Sequence[FenceRow]) -> None:
        changes = [
            (row.status, row.result, row.reason, row.updated_at, row.xid, row.branch_id)
            for row in rows
        ]
        connection.exec_driver_sql(self._write, changes)


class _MysqlRows:
    """One text of SQL for all rows, and a look at what it has inserted.

    MySQL does not tell which rows an INSERT has inserted and which it has met. It changes those it
    meets, so that afterwards only the inserted ones are as old as their last change.
    """

    def __init__(self, table: Table) -> None:
        dialect: Any = mysql.dialect()
        self._table = dialect.identifier_preparer.format_table(table)
        self._columns = ", ".join(FenceRow._fields)
        self._changes = ", ".join(f"{name} = VALUES({name})" for name in _CHANGED)

    def put(self, connection: Connection, rows: Sequence[FenceRow]) -> set[Key]:
        touched = "updated_at = GREATEST(updated_at, created_at) + 1"
        self._insert(connection, rows, touched)
        statement = (
            f"SELECT xid, branch_id FROM {self._table}"  # noqa: S608
            f" WHERE (xid, branch_id) IN ({_marks(2, len(rows), '%s')})"
            " AND updated_at = created_at FOR UPDATE"
        )
        keys = _flat([row[: len(_KEY)] for row in rows])
        return {(xid, branch_id) for xid, branch_id in connection.exec_driver_sql(statement, keys)}

    def read(self, connection: Connection, keys: Sequence[Key]) -> dict[Key, Row]:
        statement = (
            "SELECT xid, branch_id, action, kind, status, result, reason"  # noqa: S608
            f" FROM {self._table}"
            f" WHERE (xid, branch_id) IN ({_marks(2, len(keys), '%s')}) FOR UPDATE"
        )
        return _rows(connection.exec_driver_sql(statement, _flat(keys)))

    def write(self, connection: Connection, rows: Sequence[FenceRow]) -> None:
        self._insert(connection, rows, self._changes)

    def _insert(self, connection: Connection, rows: Sequence[FenceRow], changes: str) -> None:
        statement = (
            f"INSERT INTO {self._table} ({self._columns})"  # noqa: S608
            f" VALUES {_marks(len(FenceRow._fields), len(rows), '%s')}"
            f" ON DUPLICATE KEY UPDATE {changes}"
        )
        connection.exec_driver_sql(statement, _flat(rows))


def _marks(columns: int, rows: int, mark: str = "?") -> str:
    return ", ".join([f"({', '.join([mark] * columns)})"] * rows)


def _flat(rows: Sequence[Sequence[Any]]) -> tuple[Any, ...]:
    return tuple(value for row in rows for value in row)
