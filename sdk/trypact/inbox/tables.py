"""The inbox's table and every statement there is on it."""

from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    bindparam,
    delete,
    func,
    select,
    update,
)

from trypact.fence.statements import INSERTS, touched
from trypact.outbox.message import GROUP_BYTES_MAX, ID_BYTES_MAX, TOPIC_BYTES_MAX
from trypact.outbox.tables import MYSQL_OPTIONS


class State(StrEnum):
    """How far a message has got with the consumers of a group.

    >>> from trypact.outbox import Message
    >>> inbox = Inbox("warehouse")
    >>> with engine.begin() as connection:
    ...     inbox.create_tables(connection)
    ...     _ = inbox.take(connection, Message("order.paid"))
    ...     [count.state for count in inbox.counts(connection)]
    [<State.DONE: 'DONE'>]
    """

    # Delivered again, and being worked on; after a crash it stays so until the next delivery.
    PROCESSING = "PROCESSING"
    # Its effects are there, and nothing of it will happen again.
    DONE = "DONE"
    # A handler raised, so nothing of it is there; it is waiting to be delivered again.
    FAILED = "FAILED"
    # Failed too often, or ended its consumer: the broker keeps it, and no handler is given it.
    PARKED = "PARKED"


# What is not done, and what its operators have to know of.
WAITING = (State.PROCESSING, State.FAILED, State.PARKED)


def inbox_table(metadata: MetaData, name: str = "trypact_inbox") -> Table:
    """Return the inbox's table on a service's own MetaData, so that its migrations create it.

    >>> import sqlalchemy as sa
    >>> metadata = sa.MetaData()
    >>> inbox = Inbox("warehouse", table=inbox_table(metadata))
    >>> metadata.create_all(engine)
    >>> sorted(metadata.tables)
    ['trypact_inbox']
    """
    listed = ", ".join(f"'{state}'" for state in State)
    table: Table = Table(
        name,
        metadata,
        Column("group_name", String(GROUP_BYTES_MAX), primary_key=True),
        Column("message_id", String(ID_BYTES_MAX), primary_key=True),
        Column("topic", String(TOPIC_BYTES_MAX), nullable=False),
        Column("state", String(16), nullable=False),
        # How often its processing began, as far as that is known, since a retry by hand.
        Column("times", Integer, nullable=False),
        # What the last handler that failed raised.
        Column("remark", Text, nullable=False),
        # Microseconds since 1970-01-01T00:00Z, on this service's clock.
        Column("created_at", BigInteger, nullable=False),
        Column("updated_at", BigInteger, nullable=False),
        CheckConstraint(f"state IN ({listed})", name=f"{name}_state"),
        **MYSQL_OPTIONS,
    )
    return table


class Statements:
    """The statements of one inbox."""

    def __init__(self, table: Table) -> None:
        columns = table.c
        self._table = table
        at_key = (
            columns.group_name == bindparam("key_group"),
            columns.message_id == bindparam("key_id"),
        )
        # Locks the row where the database locks rows.
        self.state = select(columns.state, columns.times).where(*at_key).with_for_update()
        self.change = (
            update(table)
            .where(*at_key)
            .values(
                state=bindparam("state"),
                times=columns.times + bindparam("more", type_=Integer),
                remark=bindparam("remark"),
                updated_at=bindparam("now"),
            )
        )
        self.count = (
            select(columns.state, func.count(), func.min(columns.created_at))
            .where(columns.group_name == bindparam("key_group"))
            .group_by(columns.state)
        )
        # Along the primary key: an index on instants would cost every message something.
        self.forget = delete(table).where(
            columns.group_name == bindparam("key_group"),
            columns.state == str(State.DONE),
            columns.updated_at <= bindparam("before", type_=BigInteger),
        )
        self._manage(table)
        self._puts = {dialect: self._put(dialect) for dialect in INSERTS}

    def _manage(self, table: Table) -> None:
        """Build what is done by hand."""
        columns = table.c
        of_group = columns.group_name == bindparam("key_group")
        at_ids = columns.message_id.in_(bindparam("ids", expanding=True))
        parked = columns.state == str(State.PARKED)
        self.listed = (
            select(
                columns.message_id,
                columns.topic,
                columns.state,
                columns.times,
                columns.remark,
                columns.created_at,
            )
            .where(of_group, columns.state.in_(bindparam("states", expanding=True)))
            .order_by(columns.created_at, columns.message_id)
            .limit(bindparam("many", type_=Integer))
        )
        self.retry_all = (
            update(table)
            .where(of_group, parked)
            .values(state=str(State.FAILED), times=0, updated_at=bindparam("now"))
        )
        self.retry = self.retry_all.where(at_ids)
        self.skip = (
            update(table)
            .where(of_group, columns.state != str(State.DONE), at_ids)
            .values(state=str(State.DONE), updated_at=bindparam("now"))
        )

    def put(self, dialect: str) -> Any:
        """Return what inserts a row unless it exists, and counts 1 only if it did."""
        if dialect not in self._puts:
            raise ValueError(f"{dialect}: no inbox for this database")
        return self._puts[dialect]

    def _put(self, dialect: str) -> Any:
        # SQLAlchemy keeps no count of inserted rows unless it is told to.
        insert = INSERTS[dialect](self._table).execution_options(preserve_rowcount=True)
        if hasattr(insert, "on_conflict_do_nothing"):
            return insert.on_conflict_do_nothing()
        # MySQL has to change the row: it counts that as 2, and takes no shared locks.
        return insert.on_duplicate_key_update(updated_at=touched(self._table))
