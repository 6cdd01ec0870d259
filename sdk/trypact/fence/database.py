"""Local transactions of SQLAlchemy's, synchronous or below a greenlet of its asyncio extension."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    MetaData,
    NestedTransaction,
    RootTransaction,
    Table,
)
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from trypact._local_transaction import commits_by_itself
from trypact._schema import create_table, lacking
from trypact.errors import FenceUnavailable, InvalidRequest, ParticipantError, Refuse
from trypact.fence.connections import lost_savepoint, trouble_of, trouble_with
from trypact.fence.local import (
    BEGIN_FIRST,
    BY_ITSELF,
    ENDED,
    MAYBE_COMMITTED,
    Trouble,
    no_connection,
    said_by,
)
from trypact.fence.rules import FenceRow, Key, Over, Row, Status
from trypact.fence.sqlite import READS, begin_immediate, require_file
from trypact.fence.statements import INSERTS, Statements, at, fence_table

# What may come of opening a connection, or of a pool that has none left.
CANNOT_OPEN = (OperationalError, InterfaceError, PoolTimeoutError, FenceUnavailable)


class SqlAlchemyDatabase:
    """The database of an engine, with a fence's table in it.

    Raises ValueError for a database that no fence is made for, for one in memory, and for an engine
    in AUTOCOMMIT.
    """

    def __init__(self, engine: Engine, table: Table | None) -> None:
        dialect = engine.dialect.name
        if dialect not in INSERTS:
            raise ValueError(
                f"{dialect}: no fence for this database; use SQLite, PostgreSQL, MySQL or MariaDB"
            )
        if dialect == "sqlite":
            require_file(engine.url)
        if commits_by_itself(engine):
            raise ValueError(f"engine: {BY_ITSELF}; allowed: one that was made without AUTOCOMMIT")
        self.engine = engine
        self.one_writer = dialect == "sqlite"
        self.table = fence_table(MetaData()) if table is None else table
        self.statements = Statements(self.table, dialect)

    def create_tables(self) -> None:
        """Create the fence's table, or bring it up to date; see `create_table`."""
        try:
            with self.engine.begin() as connection:
                create_table(connection, self.table)
        except DBAPIError:
            # Another instance may have started in the same moment.
            with self.engine.connect() as connection:
                if lacking(connection, self.table):
                    raise

    @contextmanager
    def begin(self) -> Iterator["SqlAlchemyTransaction"]:
        """Begin a local transaction; see `Database.begin`."""
        with self.open() as connection:
            yield SqlAlchemyTransaction(connection, self.statements)

    def join(self, handle: Connection) -> "SqlAlchemyTransaction":
        """Return the local transaction of an open connection. Raises TypeError, InvalidRequest."""
        if not isinstance(handle, Connection):
            raise no_connection(handle, "what handlers get; of a Session, session.connection()")
        if commits_by_itself(handle):
            raise InvalidRequest(BEGIN_FIRST)
        return SqlAlchemyTransaction(handle, self.statements)

    def trouble(self, error: Exception) -> Trouble:
        """Say what an error means; see `Database.trouble`."""
        if isinstance(error, PoolTimeoutError):
            return Trouble.UNAVAILABLE
        return trouble_with(error) if isinstance(error, DBAPIError) else Trouble.NONE

    def open(self) -> Connection:
        """Return a connection in a transaction; on SQLite, the one that may write."""
        connection = self._connect()
        try:
            connection.begin()
            if self.one_writer:
                begin_immediate(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect(self) -> Connection:
        try:
            return self.engine.connect()
        except OSError as error:
            # Some drivers let it through as it is.
            raise FenceUnavailable(said_by(error)) from error

    def old(self, after: str, before_us: int, limit: int) -> list[str]:
        """Return xids with rows that may be old enough; see `Database.old`."""
        values = {"after": after, "before_us": before_us, "many": limit}
        # It may look for long; on SQLite nobody could write meanwhile.
        with self._connect().execution_options(**{READS: True}) as connection:
            return list(connection.execute(self.statements.old, values).scalars())

    def forget(self, xids: Sequence[str], before_us: int, over: Over) -> int:
        """Delete old rows; see `Database.forget`."""
        named = {name: list(map(str, words)) for name, words in over._asdict().items()}
        values = {"xids": list(xids), "before_us": before_us, **named}
        with self.begin() as transaction:
            deleted = transaction.handle.execute(self.statements.forget, values).rowcount
            transaction.commit("the collector")
        return int(deleted)


class SqlAlchemyTransaction:
    """A connection inside a transaction, and the fence's rows in it."""

    def __init__(self, connection: Connection, statements: Statements) -> None:
        self.handle = connection
        self._transaction = connection.get_transaction()
        self._sql = statements

    def put(self, row: FenceRow) -> bool:
        """Insert a row; see `LocalTransaction.put`."""
        return self._sql.has_put(self.handle.execute(self._sql.put, row._asdict()))

    def read(self, key: Key) -> Row | None:
        """Return a row, locked; see `LocalTransaction.read`."""
        found = self.handle.execute(self._sql.row, at(*key)).first()
        if found is None:
            return None
        return Row(found.action, found.kind, Status(found.status), found.result, found.reason)

    def lock(self, key: Key, now: int) -> None:
        """Lock a row by a write, which on SQLite locks the database."""
        self.handle.execute(self._sql.lock, {**at(*key), "updated_at": now})

    def write(
        self, key: Key, status: Status, now: int, result: bytes = b"", reason: str = ""
    ) -> None:
        """Change what a row says; see `LocalTransaction.write`."""
        values: dict[str, Any] = {**at(*key), "status": str(status), "updated_at": now}
        if result:
            self.handle.execute(self._sql.change_with_result, {**values, "result": result})
        elif reason:
            self.handle.execute(self._sql.change_with_reason, {**values, "reason": reason})
        else:
            self.handle.execute(self._sql.change, values)

    def remove(self, key: Key) -> None:
        """Delete a row."""
        self.handle.execute(self._sql.remove, at(*key))

    @contextmanager
    def shielded(self, *, refusable: bool) -> Iterator[None]:
        """Surround a handler with a savepoint where one is needed.

        MySQL ends a transaction without a word (DDL, a deadlock that a handler hides), and the
        next statement begins another. The savepoint is gone then, and its release fails.
        """
        if not refusable and not self._sql.ends_silently:
            yield
            return
        savepoint = self.handle.begin_nested()
        try:
            yield
        except Refuse:
            # Whatever else it raises undoes the whole transaction.
            self._end(savepoint, savepoint.rollback)
            raise
        self._end(savepoint, savepoint.commit)

    def _end(self, savepoint: NestedTransaction, end: Callable[[], None]) -> None:
        if not savepoint.is_active:
            raise ParticipantError(f"the handler {ENDED}")
        try:
            end()
        except DBAPIError as error:
            if (what := lost_savepoint(error)) is not None:
                raise ParticipantError(f"the handler {what}") from error
            raise

    def commit(self, who: str) -> None:
        """Commit what `who` has done; see `LocalTransaction.commit`."""
        commit(self.handle, self._transaction, who)


def commit(connection: Connection, transaction: RootTransaction | None, who: str) -> None:
    """Commit the transaction with which the connection began; see `LocalTransaction.commit`."""
    if transaction is None or not transaction.is_active:
        raise ParticipantError(f"{who} {ENDED}")
    if (trouble := trouble_of(connection)) is not None:
        raise ParticipantError(f"{who} {trouble}")
    try:
        transaction.commit()
    except DBAPIError as error:
        # SQLite may still be in the transaction; such a connection must not be used again.
        connection.invalidate(error)
        if trouble_with(error) is Trouble.GIVEN_UP:
            raise
        raise FenceUnavailable(f"{MAYBE_COMMITTED}: {said_by(error)}") from error
