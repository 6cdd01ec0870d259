"""The fence's table and its SQL: every statement there is, built once for each fence."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    bindparam,
    delete,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from trypact.fence import rules
from trypact.fence.rules import Status

# Dialect -> its INSERT, which can say ON CONFLICT.
INSERTS: dict[str, Callable[[Table], Any]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}


def fence_table(metadata: MetaData, name: str = "trypact_fence") -> Table:
    """Return the fence's table on a service's own MetaData, so that its migrations create it."""
    listed = ", ".join(f"'{status}'" for status in Status)
    return Table(
        name,
        metadata,
        Column("xid", String(128), primary_key=True),
        Column("branch_id", String(64), primary_key=True),
        Column("action", String(129), nullable=False),
        Column("kind", String(8), nullable=False),
        Column("status", String(16), nullable=False),
        Column("result", LargeBinary, nullable=False),
        Column("reason", Text, nullable=False),
        # Microseconds since 1970-01-01T00:00Z, on this service's clock.
        Column("created_at", BigInteger, nullable=False),
        Column("updated_at", BigInteger, nullable=False),
        # The last Try's; a Try that arrives later is not run. 0 for a row without one.
        Column("not_after", BigInteger, nullable=False),
        CheckConstraint(f"status IN ({listed})", name=f"{name}_status"),
    )


class Statements:
    """The statements of one fence; `at` gives those that name a row its key."""

    def __init__(self, table: Table, dialect: str) -> None:
        columns = table.c
        at_key = (
            columns.xid == bindparam("key_xid"),
            columns.branch_id == bindparam("key_branch_id"),
        )
        pending = [str(status) for status in rules.OPERATION_OF_PENDING]
        # Returns nothing where the row exists.
        self.put = INSERTS[dialect](table).on_conflict_do_nothing().returning(columns.xid)
        # Locks the row where the database locks rows.
        self.row = (
            select(columns.action, columns.kind, columns.status, columns.result, columns.reason)
            .where(*at_key)
            .with_for_update()
        )
        self.status = select(columns.status).where(*at_key)
        self.change = _update(table, at_key, "status", "updated_at")
        self.change_with_result = _update(table, at_key, "status", "updated_at", "result")
        self.change_with_reason = _update(table, at_key, "status", "updated_at", "reason")
        # A write that takes the row's lock (on SQLite the database's) if it is pending.
        self.touch_pending = _update(table, (*at_key, columns.status.in_(pending)), "updated_at")
        self.remove = delete(table).where(*at_key)
        # Of one's own row, and of none that another has inserted since.
        own = (*at_key, columns.created_at == bindparam("inserted_at"))
        self.remove_own = delete(table).where(*own)
        self.change_own = _update(table, own, "status", "result", "reason", "updated_at")


def at(xid: str, branch_id: str) -> dict[str, str]:
    """Return the parameters that name a row."""
    return {"key_xid": xid, "key_branch_id": branch_id}


def _update(table: Table, where: tuple[Any, ...], *names: str) -> Any:
    return update(table).where(*where).values({name: bindparam(name) for name in names})
