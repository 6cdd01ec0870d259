"""The fence over SQLAlchemy, for SQLite, PostgreSQL, MySQL and MariaDB."""

import logging
import threading
from collections.abc import Callable, Sequence

from sqlalchemy import Engine, Table
from sqlalchemy.exc import DBAPIError

from trypact.clock import now_us
from trypact.errors import FenceUnavailable
from trypact.fence.batch import Batch, key_of
from trypact.fence.connections import guard_endings
from trypact.fence.contract import ALONE, Asked, Verdict
from trypact.fence.database import CANNOT_OPEN, SqlAlchemyDatabase, commit
from trypact.fence.local import LocalFence, said_by
from trypact.fence.rows import rows_of
from trypact.fence.rules import Key
from trypact.fence.statements import at

logger = logging.getLogger("trypact.fence")


class SqlAlchemyFence(LocalFence):
    """A fence in the database of a SQLAlchemy engine.

    Args:
        engine: a synchronous engine of SQLite (a file; see `sqlite_engine`), PostgreSQL, MySQL or
            MariaDB. Each call takes one of its connections for as long as the handler runs.
        table: what `fence_table` returned, if the service's migrations create it.
        now: microseconds since 1970-01-01T00:00Z.

    Raises ValueError for another database, for SQLite in memory, and for an engine in AUTOCOMMIT.

    >>> fence = SqlAlchemyFence(sqlite_engine("inventory.db"))
    >>> fence.create_tables()
    >>> inventory = Participant("inventory", fence=fence)
    """

    def __init__(
        self,
        engine: Engine,
        *,
        table: Table | None = None,
        now: Callable[[], int] = now_us,
    ) -> None:
        if not isinstance(engine, Engine) or engine.dialect.is_async:
            raise ValueError("this fence takes a synchronous engine; see AsyncSqlAlchemyFence")
        self._database = SqlAlchemyDatabase(engine, table)
        # Never set: what is waited for is the time-out.
        super().__init__(self._database, now=now, pause=threading.Event().wait)
        self.one_writer = self._database.one_writer
        self.table = self._database.table
        self._sql = self._database.statements
        self._rows = rows_of(self.table, engine.dialect.name)
        guard_endings(engine)

    def create_tables(self) -> None:
        """Create the fence's table, or add the columns that an earlier version's has not."""
        self._database.create_tables()

    def run_many(self, asked: Sequence[Asked], /) -> list[Verdict]:
        """Answer many calls in one local transaction; see `BatchFence.run_many`."""
        verdicts: list[Verdict] = [ALONE] * len(asked)
        for turn in _turns(asked):
            answered = self._run_turn([asked[place] for place in turn])
            for place, verdict in zip(turn, answered, strict=True):
                verdicts[place] = verdict
        return verdicts

    def _run_turn(self, asked: list[Asked]) -> list[Verdict]:
        """Run calls of different branches."""
        if len(asked) == 1:
            # With nobody to share the transaction with, it is cheaper without savepoint and all.
            try:
                return [self.run(asked[0].call, asked[0].handler)]
            except Exception as error:
                return [error]
        try:
            connection = self._database.open()
        except CANNOT_OPEN as error:
            return [FenceUnavailable(said_by(error)) for _ in asked]
        batch = Batch(connection, self._rows, self.now)
        with connection:
            transaction = connection.get_transaction()
            verdicts: list[Verdict] | None
            try:
                verdicts = batch.run(asked)
                if batch.removed:
                    connection.execute(self._sql.remove, [at(*key) for key in batch.removed])
                commit(connection, transaction, "a batch")
            except Exception as error:
                logger.info("%d calls run alone, not in one batch: %s", len(asked), said_by(error))
                if transaction is None or not transaction.is_active:
                    # It may be open in the database all the same, for whoever is next.
                    connection.invalidate(error)
                verdicts = None
        if verdicts is None:
            self._take_back(batch)
            return [ALONE] * len(asked)
        return verdicts

    def _take_back(self, batch: Batch) -> None:
        """Make the rows of a failed batch true again, if a handler had its driver commit them."""
        false, changed = batch.unfounded()
        if not (false or changed):
            return
        own = {"inserted_at": batch.inserted_at}
        try:
            with self._database.open() as connection:
                if false:
                    connection.execute(self._sql.remove_own, [{**at(*key), **own} for key in false])
                for row in changed:
                    said = {"status": row.status, "result": row.result, "reason": row.reason}
                    key = at(row.xid, row.branch_id)
                    values = {**key, **own, **said, "updated_at": row.updated_at}
                    connection.execute(self._sql.change_own, values)
                connection.commit()
        except (DBAPIError, *CANNOT_OPEN) as error:
            # Almost always there was nothing to take back.
            logger.warning("rows of a failed batch were not looked at: %s", said_by(error))


def _turns(asked: Sequence[Asked]) -> list[list[int]]:
    """Split calls so that each branch occurs once in a turn, and its calls keep their order."""
    turns: list[list[int]] = []
    met: dict[Key, int] = {}
    for place, one in enumerate(asked):
        key = key_of(one.call)
        turn = met.get(key, 0)
        met[key] = turn + 1
        if turn == len(turns):
            turns.append([])
        turns[turn].append(place)
    return turns
