"""The fence over SQLAlchemy, for SQLite and PostgreSQL."""

import logging
import random
import threading
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, MetaData, RootTransaction, Table
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from trypact.call import PENDING, Answer, FencedCall, Ok, Pending, PendingType, Refused
from trypact.clock import now_us
from trypact.errors import FenceUnavailable, NotPending, ParticipantError, Refuse
from trypact.fence import rules
from trypact.fence.batch import Batch, key_of, too_late
from trypact.fence.connections import (
    ENDED,
    given_up,
    guard_endings,
    said_by,
    trouble_of,
)
from trypact.fence.contract import ALONE, Asked, Handler, Verdict
from trypact.fence.rows import rows_of
from trypact.fence.rules import Row, Status
from trypact.fence.sqlite import begin_immediate
from trypact.fence.statements import INSERTS, Statements, at, fence_table
from trypact.kinds import Operation
from trypact.limits import shortened
from trypact.payload import encode

logger = logging.getLogger("trypact.fence")


# How often a local transaction is run again when the database gives it up for another one.
ATTEMPTS_MAX = 5
RETRY_SPREAD_S = 0.02
_UNAVAILABLE = (OperationalError, InterfaceError, PoolTimeoutError)


class SqlAlchemyFence:
    """A fence in the database of a SQLAlchemy engine.

    Args:
        engine: a synchronous engine of SQLite (a file; see `sqlite_engine`) or PostgreSQL. Each
            call takes one of its connections for as long as the handler runs.
        table: what `fence_table` returned, if the service's migrations create it.
        now: microseconds since 1970-01-01T00:00Z.

    Raises ValueError for another database.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        table: Table | None = None,
        now: Callable[[], int] = now_us,
    ) -> None:
        dialect = engine.dialect.name
        if dialect not in INSERTS:
            raise ValueError(f"{dialect}: no fence for this database yet; use SQLite or PostgreSQL")
        if engine.dialect.is_async:
            raise ValueError("the fence takes a synchronous engine, from `create_engine`")
        self._engine = engine
        self.one_writer = dialect == "sqlite"
        self._now = now
        # Never set: what is waited for is the time-out, out of step with the other transaction.
        self._pause = threading.Event()
        self.table = fence_table(MetaData()) if table is None else table
        self._sql = Statements(self.table, dialect)
        self._rows = rows_of(self.table, dialect)
        guard_endings(engine)

    def create_tables(self) -> None:
        """Create the fence's table unless it exists."""
        self.table.create(self._engine, checkfirst=True)

    def run(self, call: FencedCall, handler: Handler, /) -> Answer:
        """Answer a call, running the handler only if it has not run before; see `Fence.run`."""
        attempt = 0
        while True:
            attempt += 1
            try:
                return self._run_once(call, handler)
            except (DBAPIError, PoolTimeoutError) as error:
                if given_up(error) and attempt < ATTEMPTS_MAX:
                    logger.debug("%s of %s runs again: %s", call.operation, call.xid, error)
                    self._pause.wait(random.random() * RETRY_SPREAD_S * attempt)  # noqa: S311
                    continue
                if given_up(error) or isinstance(error, _UNAVAILABLE):
                    raise FenceUnavailable(said_by(error)) from error
                raise

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
            connection = self._open()
        except _UNAVAILABLE as error:
            return [FenceUnavailable(said_by(error)) for _ in asked]
        batch = Batch(connection, self._rows, self._now)
        with connection:
            transaction = connection.get_transaction()
            verdicts: list[Verdict] | None
            try:
                verdicts = batch.run(asked)
                if batch.removed:
                    connection.execute(self._sql.remove, [at(*key) for key in batch.removed])
                self._commit(connection, transaction, "a batch")
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
            with self._open() as connection:
                if false:
                    connection.execute(self._sql.remove_own, [{**at(*key), **own} for key in false])
                for row in changed:
                    said = {"status": row.status, "result": row.result, "reason": row.reason}
                    key = at(row.xid, row.branch_id)
                    values = {**key, **own, **said, "updated_at": row.updated_at}
                    connection.execute(self._sql.change_own, values)
                connection.commit()
        except (DBAPIError, PoolTimeoutError) as error:
            # Almost always there was nothing to take back.
            logger.warning("rows of a failed batch were not looked at: %s", said_by(error))

    def _run_once(self, call: FencedCall, handler: Handler) -> Answer:
        with self._open() as connection:
            transaction = connection.get_transaction()
            try:
                answer = self._answer(connection, call, handler)
            except Refuse as refusal:
                # Nothing but a Try's refusal is final: the operation is asked for again. What
                # was done is undone when the connection goes back.
                return Refused(refusal.reason)
            self._commit(connection, transaction, f"the handler of {call.action}")
            return answer

    def _open(self) -> Connection:
        """Return a connection in a transaction; on SQLite, the one that may write."""
        connection = self._engine.connect()
        try:
            connection.begin()
            if self.one_writer:
                begin_immediate(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _commit(
        self, connection: Connection, transaction: RootTransaction | None, who: str
    ) -> None:
        if transaction is None or not transaction.is_active:
            raise ParticipantError(f"{who} {ENDED}")
        if (trouble := trouble_of(connection)) is not None:
            raise ParticipantError(f"{who} {trouble}")
        try:
            transaction.commit()
        except DBAPIError as error:
            # SQLite may still be in the transaction; such a connection must not be used again.
            connection.invalidate(error)
            if given_up(error):
                raise
            raise FenceUnavailable(f"it may or may not have committed: {said_by(error)}") from error

    def _answer(self, connection: Connection, call: FencedCall, handler: Handler) -> Answer:
        inserted = call.operation is not Operation.CONFIRM and self._put(connection, call)
        if inserted and call.operation is Operation.CANCEL:
            return Ok()
        if not inserted:
            row = self._row(connection, call)
            if row is None and call.operation is not Operation.CONFIRM:
                raise FenceUnavailable("the fence's row went away meanwhile")
            answer = rules.meet(call, row)
            if answer is not None:
                return answer
        if call.operation is Operation.TRY:
            return self._try(connection, call, handler)
        return self._done(connection, call, handler(connection))

    def _try(self, connection: Connection, call: FencedCall, handler: Handler) -> Answer:
        # Asked only now, because the row may have been waited for.
        if call.not_after_us and (late_us := self._now() - call.not_after_us) > 0:
            raise too_late(late_us)
        try:
            with connection.begin_nested():
                result = handler(connection)
        except Refuse as refusal:
            self._write(
                connection, at(call.xid, call.branch_id), Status.REFUSED, reason=refusal.reason
            )
            return Refused(refusal.reason)
        return self._done(connection, call, result)

    def _done(
        self, connection: Connection, call: FencedCall, result: "bytes | PendingType"
    ) -> Answer:
        key = at(call.xid, call.branch_id)
        if result is PENDING:
            self._write(connection, key, rules.PENDING[call.operation])
            return Pending()
        kept = result if call.operation in rules.WITH_RESULT else b""
        inserted = call.operation in (Operation.TRY, Operation.DELIVER)
        if kept or not inserted:
            # Without a result an inserted row says it all already.
            self._write(connection, key, rules.DONE[call.operation], result=kept)
        return Ok(kept)

    # ------------------------------------------------------------ PENDING

    def complete(
        self,
        connection: Connection,
        xid: str,
        branch_id: str,
        *,
        ok: Any = None,
        refused: str | None = None,
    ) -> Operation:
        """Complete an operation that was answered with PENDING, in the caller's transaction.

        Do the effect in the same local transaction, commit it, and then tell the coordinator with
        `client.report(xid, branch_id, operation, ...)`.

        Args:
            connection: of the fence's database, inside a transaction of the caller's.
            xid: the transaction.
            branch_id: the branch.
            ok: the result, if it went well.
            refused: the reason, if it is a business no; the effect must not be done then.

        Returns the operation that is complete. Raises NotPending if there is none, above all when
        the branch was cancelled meanwhile: then undo the local transaction.
        """
        key, now = at(xid, branch_id), self._now()
        # A write first: it takes the row's lock, and on SQLite the database's.
        touched = connection.execute(self._sql.touch_pending, {**key, "updated_at": now})
        stored = connection.execute(self._sql.status, key).scalar()
        if touched.rowcount != 1:
            raise NotPending(
                f"branch {branch_id!r} of transaction {xid} is {stored or 'unknown here'}, "
                "not pending"
            )
        operation = rules.OPERATION_OF_PENDING[Status(str(stored))]
        if refused is None:
            result = encode(ok) if operation in rules.WITH_RESULT else b""
            self._write(connection, key, rules.DONE[operation], result=result)
        elif operation is Operation.TRY:
            self._write(connection, key, Status.REFUSED, reason=shortened(refused))
        elif operation is Operation.DELIVER:
            # Nothing of it may stay, so that the next delivery runs again.
            connection.execute(self._sql.remove, key)
        else:
            # A Confirm or Cancel is asked for again, and then it runs again.
            self._write(connection, key, Status.TRIED)
        return operation

    # ------------------------------------------------------------ SQL

    def _put(self, connection: Connection, call: FencedCall) -> bool:
        """Insert the row as it is once the operation has run; False if there is one."""
        now = self._now()
        values = {
            "xid": call.xid,
            "branch_id": call.branch_id,
            "action": call.action,
            "kind": str(call.kind),
            "status": str(rules.DONE[call.operation]),
            "result": b"",
            "reason": "",
            "created_at": now,
            "updated_at": now,
            "not_after": call.not_after_us,
        }
        return connection.execute(self._sql.put, values).first() is not None

    def _row(self, connection: Connection, call: FencedCall) -> Row | None:
        found = connection.execute(self._sql.row, at(call.xid, call.branch_id)).first()
        if found is None:
            return None
        return Row(found.action, found.kind, Status(found.status), found.result, found.reason)

    def _write(
        self,
        connection: Connection,
        key: dict[str, str],
        status: Status,
        result: bytes = b"",
        reason: str = "",
    ) -> None:
        values: dict[str, Any] = {**key, "status": str(status), "updated_at": self._now()}
        if result:
            connection.execute(self._sql.change_with_result, {**values, "result": result})
        elif reason:
            connection.execute(self._sql.change_with_reason, {**values, "reason": reason})
        else:
            connection.execute(self._sql.change, values)


def _turns(asked: Sequence[Asked]) -> list[list[int]]:
    """Split calls so that each branch occurs once in a turn, and its calls keep their order."""
    turns: list[list[int]] = []
    met: dict[tuple[str, str], int] = {}
    for place, one in enumerate(asked):
        key = key_of(one.call)
        turn = met.get(key, 0)
        met[key] = turn + 1
        if turn == len(turns):
            turns.append([])
        turns[turn].append(place)
    return turns
