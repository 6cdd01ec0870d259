"""The outbox's table and every statement there is on it.

`due_at` says when a relay has to look at a message: 0 for at once, NULL for never again by itself
(it has arrived, or it is parked or skipped). Whoever claims a message moves its `due_at` to the end
of the claim, so nobody else finds it due, and after a crash somebody does.
"""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    bindparam,
    delete,
    exists,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.dialects import mysql

from trypact.outbox.message import (
    ENDED,
    GROUP_BYTES_MAX,
    ID_BYTES_MAX,
    KEY_BYTES_MAX,
    TAG_BYTES_MAX,
    TOPIC_BYTES_MAX,
    WAITING,
    State,
)

# What `resend` is for, one by one.
RESENT = (State.FAILED, State.SKIPPED)
_MYSQL = ("mysql", "mariadb")
# Keys are compared byte by byte, and a table of another engine would have no transactions.
_MYSQL_TABLE = {"engine": "InnoDB", "charset": "utf8mb4", "collate": "utf8mb4_bin"}
MYSQL_OPTIONS: dict[str, Any] = {
    f"{name}_{key}": value for name in _MYSQL for key, value in _MYSQL_TABLE.items()
}
# MySQL's own choice for bytes ends below the largest payload.
_PAYLOAD = LargeBinary().with_variant(mysql.MEDIUMBLOB(), *_MYSQL)

# Microseconds since 1970-01-01T00:00Z by the database's own clock. SQLite has none but ours.
CLOCKS: dict[str, Any] = {
    "postgresql": text("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"),
    **dict.fromkeys(_MYSQL, text("SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)")),
}


def outbox_table(metadata: MetaData, name: str = "trypact_outbox") -> Table:
    """Return the outbox's table on a service's own MetaData, so that its migrations create it.

    >>> import sqlalchemy as sa
    >>> metadata = sa.MetaData()
    >>> outbox = Outbox(table=outbox_table(metadata))
    >>> metadata.create_all(engine)
    >>> sorted(metadata.tables)
    ['trypact_outbox']
    """
    listed = ", ".join(f"'{state}'" for state in State)
    table: Table = Table(
        name,
        metadata,
        # The order in which messages were written.
        Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
        Column("id", String(ID_BYTES_MAX), nullable=False, unique=True),
        Column("topic", String(TOPIC_BYTES_MAX), nullable=False),
        Column("tag", String(TAG_BYTES_MAX), nullable=False),
        Column("message_key", String(KEY_BYTES_MAX), nullable=False),
        Column("group_name", String(GROUP_BYTES_MAX), nullable=False),
        Column("payload", _PAYLOAD, nullable=False),
        Column("state", String(8), nullable=False),
        # How often it was given to the publisher, to be published or to be asked for.
        Column("attempts", Integer, nullable=False),
        # How often it was refused, since it was accepted or resent by hand.
        Column("failures", Integer, nullable=False),
        # What is to be said of it: the last error, or what it waits for.
        Column("remark", Text, nullable=False),
        # Who is publishing it, while somebody is.
        Column("claim", String(36), nullable=False),
        # Microseconds since 1970-01-01T00:00Z.
        Column("created_at", BigInteger, nullable=False),
        Column("updated_at", BigInteger, nullable=False),
        Column("due_at", BigInteger, nullable=True),
        CheckConstraint(f"state IN ({listed})", name=f"{name}_state"),
        **MYSQL_OPTIONS,
    )
    Index(f"{name}_due", table.c.due_at, table.c.seq)
    Index(f"{name}_key", table.c.message_key, table.c.state, table.c.seq)
    Index(f"{name}_age", table.c.state, table.c.updated_at)
    return table


class Statements:
    """The statements of one outbox."""

    def __init__(self, table: Table) -> None:
        columns, earlier = table.c, table.alias("earlier")
        # Without a look at the number the database gave it: one round trip less.
        self.add = insert(table).inline()
        # Of each key only the first that has not ended: so keys stay in order, whoever claims,
        # and a message that cannot be sent holds back those behind it.
        held_back = exists().where(
            earlier.c.message_key == columns.message_key,
            earlier.c.state.in_(_words(WAITING)),
            earlier.c.seq < columns.seq,
        )
        self.due = (
            select(columns.seq)
            .where(
                columns.due_at <= bindparam("now", type_=BigInteger),
                (columns.message_key == "") | ~held_back,
            )
            .order_by(columns.due_at, columns.seq)
            .limit(bindparam("many", type_=Integer))
            .with_for_update(skip_locked=True, of=table)
        )
        # Looks at `due_at` again: where rows are not locked, another may have been quicker.
        self.claim = (
            update(table)
            .where(columns.seq.in_(bindparam("seqs", expanding=True)))
            .where(columns.due_at <= bindparam("now", type_=BigInteger))
            .values(
                claim=bindparam("by"),
                state=str(State.SENT),
                attempts=columns.attempts + 1,
                updated_at=bindparam("now"),
                due_at=bindparam("until"),
            )
        )
        self.claimed = (
            select(table)
            .where(columns.seq.in_(bindparam("seqs", expanding=True)))
            .where(columns.claim == bindparam("by"))
            .order_by(columns.seq)
        )
        # Of one's own claim, and of none that has been given to another since.
        self.settle = (
            update(table)
            .where(columns.seq == bindparam("at_seq"), columns.claim == bindparam("by"))
            .values(
                claim="",
                state=bindparam("state"),
                failures=bindparam("failures"),
                remark=bindparam("remark"),
                updated_at=bindparam("now"),
                due_at=bindparam("due_at"),
            )
        )
        self._manage(table)

    def _manage(self, table: Table) -> None:
        """Build what operators and retention need."""
        columns = table.c
        parked = columns.due_at.is_(None)
        self.count = select(
            columns.state, parked.label("parked"), func.count(), func.min(columns.created_at)
        ).group_by(columns.state, parked)
        shown = [
            columns[name]
            for name in ("id", "topic", "message_key", "state", "attempts", "failures", "remark")
        ]
        self.listed = (
            select(*shown, columns.created_at, columns.due_at)
            .where(columns.state.in_(bindparam("states", expanding=True)))
            .order_by(columns.seq)
            .limit(bindparam("many", type_=Integer))
        )
        at_ids = columns.id.in_(bindparam("ids", expanding=True))
        resend = update(table).values(
            state=str(State.NEW), failures=0, remark="", due_at=0, updated_at=bindparam("now")
        )
        # Not what is being published, which could then be published twice at once.
        self.resend_all = resend.where(columns.state == str(State.FAILED))
        self.resend = resend.where(columns.state.in_(_words(RESENT)), at_ids)
        # Whoever is publishing it has lost its claim, and cannot say anything about it any more.
        self.skip = (
            update(table)
            .where(columns.state.in_(_words(WAITING)), at_ids)
            .values(state=str(State.SKIPPED), claim="", due_at=None, updated_at=bindparam("now"))
        )
        self.old = (
            select(columns.seq)
            .where(
                columns.state.in_(_words(ENDED)),
                columns.updated_at <= bindparam("before", type_=BigInteger),
            )
            .limit(bindparam("many", type_=Integer))
        )
        self.forget = delete(table).where(
            columns.seq.in_(bindparam("seqs", expanding=True)),
            columns.state.in_(_words(ENDED)),
        )


def _words(states: Iterable[State]) -> list[str]:
    return [str(state) for state in states]
