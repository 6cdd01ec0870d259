"""The fence over plain psycopg 3, for services without SQLAlchemy."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from inspect import isasyncgenfunction, iscoroutinefunction, unwrap
from typing import Any, Final

import psycopg
from psycopg import Connection, sql
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from trypact.clock import now_us
from trypact.errors import FenceUnavailable, InvalidRequest, ParticipantError, Refuse, WrongTable
from trypact.fence import rules
from trypact.fence.local import (
    BEGIN_FIRST,
    ENDED,
    HIDDEN,
    MAYBE_COMMITTED,
    LocalFence,
    Trouble,
    no_connection,
    said_by,
)
from trypact.fence.rules import FenceRow, Key, Over, Row, Status
from trypact.fence.sqlstate import trouble_of_state

# Returns a context that gives a connection and takes it back.
Connect = Callable[[], AbstractContextManager["Connection[Any]"]]

# The same table as `trypact.fence.fence_table` describes, and kept up to date by the same rule.
_COLUMNS: Final = {
    "xid": "VARCHAR(128) NOT NULL",
    "branch_id": "VARCHAR(64) NOT NULL",
    "action": "VARCHAR(129) NOT NULL",
    "kind": "VARCHAR(8) NOT NULL",
    "status": "VARCHAR(16) NOT NULL",
    "result": "BYTEA NOT NULL",
    "reason": "TEXT NOT NULL",
    "created_at": "BIGINT NOT NULL",
    "updated_at": "BIGINT NOT NULL",
    "not_after": "BIGINT NOT NULL",
}
_STATEMENTS: Final = {
    "create": """
        CREATE TABLE IF NOT EXISTS {table} (
            {described},
            PRIMARY KEY (xid, branch_id),
            CONSTRAINT {check} CHECK (status IN ({statuses}))
        )""",
    "look": "SELECT * FROM {table} LIMIT 0",
    "put": "INSERT INTO {table} ({columns}) VALUES ({values}) ON CONFLICT DO NOTHING",
    "row": "SELECT action, kind, status, result, reason FROM {table} {at_key} FOR UPDATE",
    "lock": "UPDATE {table} SET updated_at = %(now)s {at_key}",
    # What is not given stays as it is.
    "change": """
        UPDATE {table} SET status = %(status)s, updated_at = %(now)s,
            result = coalesce(%(result)s, result), reason = coalesce(%(reason)s, reason)
        {at_key}""",
    "remove": "DELETE FROM {table} {at_key}",
    "old": """
        SELECT DISTINCT xid FROM {table} WHERE xid > %(after)s AND ({collectable}) AND {aged}
        ORDER BY xid LIMIT %(limit)s""",
    "forget": """
        DELETE FROM {table} WHERE xid = ANY(%(xids)s)
        AND kind = ANY(%(kinds)s) AND status = ANY(%(statuses)s) AND {aged}""",
}


def _listed(words: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Literal(str(word)) for word in words)


_PARTS: Final = {
    "at_key": sql.SQL("WHERE xid = %(xid)s AND branch_id = %(branch_id)s"),
    "aged": sql.SQL("updated_at <= %(before_us)s AND not_after <= %(before_us)s"),
    "collectable": sql.SQL(" OR ").join(
        sql.SQL("(kind IN ({}) AND status IN ({}))").format(*map(_listed, over))
        for over in rules.COLLECTABLE
    ),
    "statuses": _listed(Status),
    "columns": sql.SQL(", ").join(map(sql.Identifier, FenceRow._fields)),
    "values": sql.SQL(", ").join(map(sql.Placeholder, FenceRow._fields)),
}
# What PostgreSQL says of two that create the same table at once; it depends on how far both are.
_NO_TABLE_TWICE = (
    psycopg.errors.UniqueViolation,
    psycopg.errors.DuplicateTable,
    psycopg.errors.DuplicateObject,
)
_NO_TRANSACTION = (
    psycopg.errors.NoActiveSqlTransaction,
    psycopg.errors.InvalidSavepointSpecification,
)


class PsycopgFence(LocalFence):
    """A fence in a PostgreSQL database, over psycopg 3.

    Handlers get the `psycopg.Connection`.

    Args:
        connect: returns a context that gives a connection and takes it back, one for each call:
            the `connection` method of a `psycopg_pool.ConnectionPool`, or
            `lambda: psycopg.connect(url)`. They must not be shared meanwhile.
        table: the name of the fence's table.
        now: microseconds since 1970-01-01T00:00Z.

    Raises TypeError for what cannot be called, and for connections that are awaited:
    `AsyncSqlAlchemyFence` is for those.

        >>> import psycopg
        >>> shop = "postgresql://postgres@127.0.0.1:5432/shop"
        >>> fence = PsycopgFence(lambda: psycopg.connect(shop))
        >>> fence.create_tables()
        >>> inventory = Participant("inventory", fence=fence)
    """

    def __init__(
        self,
        connect: Connect,
        *,
        table: str = "trypact_fence",
        now: Callable[[], int] = now_us,
    ) -> None:
        if not callable(connect):
            raise TypeError(
                f"connect: is a {type(connect).__name__}; allowed: what gives a "
                "psycopg.Connection when it is called, such as the `connection` of a pool"
            )
        if isasyncgenfunction(unwrap(connect)) or iscoroutinefunction(connect):
            raise TypeError(
                "connect: gives connections that are awaited; allowed: one that gives a "
                "psycopg.Connection, or an AsyncSqlAlchemyFence"
            )
        self._database = _Database(connect, table)
        # Never set: what is waited for is the time-out.
        super().__init__(self._database, now=now, pause=threading.Event().wait)

    def create_tables(self) -> None:
        """Create the fence's table, or add the columns that an earlier version's has not."""
        self._database.create_tables()


class _Database:
    """See `Database`."""

    def __init__(self, connect: Connect, table: str) -> None:
        self._connect = connect
        self._table = table
        names = {
            "table": sql.Identifier(table),
            "check": sql.Identifier(f"{table}_status"),
            "described": sql.SQL(", ").join(map(_described, _COLUMNS)),
        }
        self._sql = {
            name: sql.SQL(text).format(**names, **_PARTS) for name, text in _STATEMENTS.items()
        }

    def create_tables(self) -> None:
        try:
            self._create()
        except _NO_TABLE_TWICE:
            # Another instance has started in the same moment; now the table is there.
            self._create()

    def _create(self) -> None:
        with self.begin() as transaction:
            transaction.handle.execute(self._sql["create"])
            self._extend(transaction.handle)
            transaction.commit("create_tables")

    def _extend(self, connection: "Connection[Any]") -> None:
        found = connection.execute(self._sql["look"]).description or ()
        present = {column.name for column in found}
        for name in [each for each in _COLUMNS if each not in present]:
            if " DEFAULT " not in _COLUMNS[name]:
                raise WrongTable(self._table, name)
            add = sql.SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS {}")
            connection.execute(add.format(sql.Identifier(self._table), _described(name)))

    @contextmanager
    def begin(self) -> Iterator["_Transaction"]:
        with self._connect() as connection:
            if connection.info.transaction_status is not TransactionStatus.IDLE:
                raise ParticipantError("the fence was given a connection with a transaction open")
            if connection.autocommit:
                connection.execute("BEGIN")
            try:
                yield _Transaction(connection, self._sql)
            finally:
                if not connection.closed:
                    connection.rollback()

    def join(self, handle: "Connection[Any]") -> "_Transaction":
        if not isinstance(handle, Connection):
            raise no_connection(handle, "a psycopg.Connection")
        if handle.autocommit and handle.info.transaction_status is TransactionStatus.IDLE:
            raise InvalidRequest(BEGIN_FIRST)
        return _Transaction(handle, self._sql)

    def trouble(self, error: Exception) -> Trouble:
        if not isinstance(error, psycopg.Error):
            return Trouble.NONE
        trouble = trouble_of_state(error.sqlstate or "")
        silent = isinstance(error, psycopg.OperationalError) and not error.sqlstate
        return Trouble.UNAVAILABLE if silent else trouble

    def old(self, after: str, before_us: int, limit: int) -> list[str]:
        values = {"after": after, "before_us": before_us, "limit": limit}
        with self.begin() as transaction:
            return [xid for (xid,) in transaction.execute("old", values)]

    def forget(self, xids: Sequence[str], before_us: int, over: Over) -> int:
        named = {name: list(map(str, words)) for name, words in over._asdict().items()}
        values = {"xids": list(xids), "before_us": before_us, **named}
        with self.begin() as transaction:
            deleted = transaction.execute("forget", values).rowcount
            transaction.commit("the collector")
        return deleted


class _Transaction:
    """See `LocalTransaction`."""

    def __init__(self, connection: "Connection[Any]", statements: dict[str, sql.Composed]) -> None:
        self.handle = connection
        self._sql = statements

    def put(self, row: FenceRow) -> bool:
        return self.execute("put", row._asdict()).rowcount == 1

    def read(self, key: Key) -> Row | None:
        found = self.execute("row", _at(key)).fetchone()
        if found is None:
            return None
        action, kind, status, result, reason = found
        return Row(action, kind, Status(status), result, reason)

    def lock(self, key: Key, now: int) -> None:
        self.execute("lock", {**_at(key), "now": now})

    def write(
        self, key: Key, status: Status, now: int, result: bytes = b"", reason: str = ""
    ) -> None:
        said = {"status": str(status), "result": result or None, "reason": reason or None}
        self.execute("change", {**_at(key), **said, "now": now})

    def remove(self, key: Key) -> None:
        self.execute("remove", _at(key))

    @contextmanager
    def shielded(self, *, refusable: bool) -> Iterator[None]:
        """Surround a handler with a savepoint, which is gone if it has ended the transaction."""
        self.handle.execute("SAVEPOINT trypact")
        try:
            yield
        except Refuse:
            if refusable:
                self._savepoint("ROLLBACK TO SAVEPOINT trypact")
            raise
        self._savepoint("RELEASE SAVEPOINT trypact")

    def commit(self, who: str) -> None:
        try:
            self.handle.commit()
        except psycopg.Error as error:
            self.handle.close()
            if trouble_of_state(error.sqlstate or "") is Trouble.GIVEN_UP:
                raise
            raise FenceUnavailable(f"{MAYBE_COMMITTED}: {said_by(error)}") from error

    def execute(self, name: str, values: dict[str, Any]) -> "psycopg.Cursor[Any]":
        """Run a statement of the fence's, whatever rows the connection makes for its service."""
        return self.handle.cursor(row_factory=tuple_row).execute(self._sql[name], values)

    def _savepoint(self, statement: psycopg.abc.Query) -> None:
        try:
            self.handle.execute(statement)
        except _NO_TRANSACTION as error:
            raise ParticipantError(f"the handler {ENDED}") from error
        except psycopg.errors.InFailedSqlTransaction as error:
            raise ParticipantError(f"the handler {HIDDEN}") from error


def _described(name: str) -> sql.Composed:
    return sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(_COLUMNS[name]))


def _at(key: Key) -> dict[str, Any]:
    return {"xid": key[0], "branch_id": key[1]}
