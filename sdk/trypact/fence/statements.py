"""The fence's table and its SQL: every statement there is, built once for each fence."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    CursorResult,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    and_,
    bindparam,
    delete,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite

from trypact.fence import rules
from trypact.fence.connections import MYSQL
from trypact.fence.rules import Status

# Dialect -> its INSERT, which can say what to do when the row exists.
INSERTS: dict[str, Callable[[Table], Any]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
    "mysql": mysql.insert,
    "mariadb": mysql.insert,
}
# Keys are compared byte by byte, and a table of another engine would have no transactions. MySQL's
# own choice for bytes ends below the largest result.
_MYSQL_TABLE = {"engine": "InnoDB", "charset": "utf8mb4", "collate": "utf8mb4_bin"}
_BYTES = LargeBinary().with_variant(mysql.MEDIUMBLOB(), *MYSQL)


def fence_table(metadata: MetaData, name: str = "trypact_fence") -> Table:
    """Return the fence's table on a service's own MetaData, so that its migrations create it.

    >>> import sqlalchemy as sa
    >>> metadata = sa.MetaData()
    >>> fence = SqlAlchemyFence(engine, table=fence_table(metadata))
    >>> metadata.create_all(engine)
    >>> sorted(metadata.tables)
    ['trypact_fence']
    """
    listed = ", ".join(f"'{status}'" for status in Status)
    options: dict[str, Any] = {
        f"{dialect}_{name}": value for dialect in MYSQL for name, value in _MYSQL_TABLE.items()
    }
    return Table(
        name,
        metadata,
        Column("xid", String(128), primary_key=True),
        Column("branch_id", String(64), primary_key=True),
        Column("action", String(129), nullable=False),
        Column("kind", String(8), nullable=False),
        Column("status", String(16), nullable=False),
        Column("result", _BYTES, nullable=False),
        Column("reason", Text, nullable=False),
        # Microseconds since 1970-01-01T00:00Z, on this service's clock.
        Column("created_at", BigInteger, nullable=False),
        Column("updated_at", BigInteger, nullable=False),
        Column("not_after", BigInteger, nullable=False),
        CheckConstraint(f"status IN ({listed})", name=f"{name}_status"),
        **options,
    )


class Statements:
    """The statements of one fence; `at` gives those that name a row its key."""

    def __init__(self, table: Table, dialect: str) -> None:
        columns = table.c
        at_key = (
            columns.xid == bindparam("key_xid"),
            columns.branch_id == bindparam("key_branch_id"),
        )
        # Whether the database ends a transaction without a word.
        self.ends_silently = dialect in MYSQL
        self.put = _put(table, dialect)
        # Locks the row where the database locks rows.
        self.row = (
            select(columns.action, columns.kind, columns.status, columns.result, columns.reason)
            .where(*at_key)
            .with_for_update()
        )
        # A write: it takes the row's lock, and on SQLite the database's.
        self.lock = _update(table, at_key, "updated_at")
        self.change = _update(table, at_key, "status", "updated_at")
        self.change_with_result = _update(table, at_key, "status", "updated_at", "result")
        self.change_with_reason = _update(table, at_key, "status", "updated_at", "reason")
        self.remove = delete(table).where(*at_key)
        # Of one's own row, and of none that another has inserted since.
        own = (*at_key, columns.created_at == bindparam("inserted_at"))
        self.remove_own = delete(table).where(*own)
        self.change_own = _update(table, own, "status", "result", "reason", "updated_at")
        before_us = bindparam("before_us", type_=BigInteger)
        aged = (columns.updated_at <= before_us, columns.not_after <= before_us)
        collectable = or_(
            *(
                and_(
                    columns.kind.in_(map(str, over.kinds)),
                    columns.status.in_(map(str, over.statuses)),
                )
                for over in rules.COLLECTABLE
            )
        )
        # Along the primary key: an index on instants would cost every call something.
        self.old = (
            select(columns.xid)
            .where(columns.xid > bindparam("after"), collectable, *aged)
            .order_by(columns.xid)
            .limit(bindparam("many", type_=BigInteger))
            .distinct()
        )
        self.forget = delete(table).where(
            columns.xid.in_(bindparam("xids", expanding=True)),
            columns.kind.in_(bindparam("kinds", expanding=True)),
            columns.status.in_(bindparam("statuses", expanding=True)),
            *aged,
        )

    def has_put(self, result: CursorResult[Any]) -> bool:
        """Whether `put` has inserted the row, and not met one."""
        # MySQL counts a row that it has changed instead of inserting it as two.
        return result.rowcount == 1 if self.ends_silently else result.first() is not None


def _put(table: Table, dialect: str) -> Any:
    """Return what inserts a row unless it exists, and waits for whoever is about to insert it."""
    insert = INSERTS[dialect](table)
    if dialect not in MYSQL:
        # Returns nothing where the row exists.
        return insert.on_conflict_do_nothing().returning(table.c.xid)
    # It has to change the row: with INSERT IGNORE two duplicates would each get a shared lock, and
    # then wait for the other's. Later than `created_at`, so that a batch can tell them apart.
    return insert.on_duplicate_key_update(updated_at=touched(table))


def touched(table: Table) -> Any:
    """Return an instant for `updated_at` that no row has which has just been inserted."""
    return func.greatest(table.c.updated_at, table.c.created_at) + 1


def at(xid: str, branch_id: str) -> dict[str, str]:
    """Return the parameters that name a row."""
    return {"key_xid": xid, "key_branch_id": branch_id}


def _update(table: Table, where: tuple[Any, ...], *names: str) -> Any:
    return update(table).where(*where).values({name: bindparam(name) for name in names})
