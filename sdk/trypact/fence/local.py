"""One call in one local transaction: the same steps for every database that has transactions.

A `Database` knows how to begin a local transaction and what its errors mean; a `LocalTransaction`
knows the fence's rows in it. What is done with them, and in which order, is here and only here, so
that no two fences can differ in it. Nothing here waits but through those two, and `Pause`.
"""

import logging
import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from enum import Enum
from typing import Any, Protocol, TypeVar

from trypact._framing import kept
from trypact.call import PENDING, Answer, FencedCall, Ok, Pending, PendingType, Refused
from trypact.errors import (
    CancelledMeanwhile,
    FenceUnavailable,
    InvalidRequest,
    NotPending,
    Refuse,
    TryTooLate,
)
from trypact.fence import rules
from trypact.fence.contract import Handler
from trypact.fence.rules import FenceRow, Key, Over, Row, Status
from trypact.kinds import Operation
from trypact.limits import shortened

logger = logging.getLogger("trypact.fence")

# How often a local transaction is run again when the database gives it up for another one.
ATTEMPTS_MAX = 5
RETRY_SPREAD_S = 0.02

ResultT = TypeVar("ResultT")
# Waits for that many seconds.
Pause = Callable[[float], object]

BY_ITSELF = (
    "commits every statement by itself; what is written here has to share the transaction of your "
    "own rows"
)
BEGIN_FIRST = f"connection: {BY_ITSELF}, so begin one first"
MAYBE_COMMITTED = "it may or may not have committed"
ENDED = "ended the fence's local transaction; what it did cannot be undone any more"
HIDDEN = "hid an error of the database, which undid the local transaction; nothing of it was kept"


def no_connection(given: object, allowed: str) -> TypeError:
    """Return the error of a handle that is none."""
    return TypeError(f"a {type(given).__name__} is no open connection; allowed: {allowed}")


class Trouble(Enum):
    """What an error says of the local transaction it came from."""

    # Nothing: it is the handler's, or a bug.
    NONE = "none"
    # The database undid it in favour of another one; run again, it may well succeed.
    GIVEN_UP = "given up"
    # The database does not answer, or nobody knows what became of the transaction.
    UNAVAILABLE = "unavailable"


class LocalTransaction(Protocol):
    """An open local transaction, with the fence's rows in it."""

    @property
    def handle(self) -> Any:
        """What handlers do their part with."""
        ...

    def put(self, row: FenceRow) -> bool:
        """Insert a row; False if there is one. Waits for whoever is about to insert it."""
        ...

    def read(self, key: Key) -> Row | None:
        """Return a row, kept from changing until the transaction ends."""
        ...

    def lock(self, key: Key, now: int) -> None:
        """Keep a row from changing, if there is one, and let nobody else write meanwhile."""
        ...

    def write(
        self, key: Key, status: Status, now: int, result: bytes = b"", reason: str = ""
    ) -> None:
        """Change what a row says; result and reason stay as they are unless given."""
        ...

    def remove(self, key: Key) -> None:
        """Delete a row."""
        ...

    def shielded(self, *, refusable: bool) -> AbstractContextManager[None]:
        """Surround a handler: if it is refusable, what it did is undone when it raises.

        Raises ParticipantError at the end if the handler has ended the transaction, where that is
        found out only like this.
        """
        ...

    def commit(self, who: str) -> None:
        """Commit what `who` has done.

        Raises ParticipantError if the transaction is not sound any more, and FenceUnavailable if
        nobody knows whether it has committed.
        """
        ...


class Database(Protocol):
    """Where a fence keeps its rows."""

    def begin(self) -> AbstractContextManager[LocalTransaction]:
        """Begin a local transaction; whatever has not been committed at its end is undone."""
        ...

    def join(self, handle: Any) -> LocalTransaction:
        """Return the local transaction that somebody else has begun, and will commit."""
        ...

    def trouble(self, error: Exception) -> Trouble:
        """Say what an error means for the transaction in which it was raised."""
        ...

    def old(self, after: str, before_us: int, limit: int) -> Sequence[str]:
        """Return xids beyond `after`, in order, of which a row could be collected.

        Such a row is one of `rules.COLLECTABLE`, and neither its last change nor its `not_after`
        is later than `before_us`.
        """
        ...

    def forget(self, xids: Sequence[str], before_us: int, over: Over) -> int:
        """Delete the rows of these xids that are so over; return how many.

        Rows that have changed since, or whose `not_after` is later than `before_us`, stay.
        """
        ...


class LocalFence:
    """A fence in a database with local transactions.

    Args:
        database: where its rows are.
        now: microseconds since 1970-01-01T00:00Z.
        pause: how to wait before a transaction is run again.
    """

    def __init__(self, database: Database, *, now: Callable[[], int], pause: Pause) -> None:
        self.database = database
        self.now = now
        self._pause = pause

    @property
    def local(self) -> "LocalFence":
        """The fence that keeps the rows: this one."""
        return self

    def run(self, call: FencedCall, handler: Handler, /) -> Answer:
        """Answer a call, running the handler only if it has not run before; see `Fence.run`."""
        return self.insist(lambda: self.run_once(call, handler))

    def run_once(self, call: FencedCall, handler: Handler) -> Answer:
        """Do what `run` does, in one local transaction; an attempt for `insist`."""
        with self.database.begin() as transaction:
            try:
                answer = self._answer(transaction, call, handler)
            except Refuse as refusal:
                # Nothing but a Try's refusal is final: the operation is asked for again. What
                # was done is undone when the transaction is left.
                return Refused(refusal.reason)
            transaction.commit(f"the handler of {call.action}")
            return answer

    def insist(self, attempt: Callable[[], ResultT]) -> ResultT:
        """Run a local transaction, and again when the database gives it up for another one.

        Raises FenceUnavailable when the database does not answer, and what else `attempt` raises.
        """
        failures = 0
        while True:
            try:
                return attempt()
            except Exception as error:
                trouble, failures = self.database.trouble(error), failures + 1
                if trouble is Trouble.NONE:
                    raise
                if trouble is Trouble.UNAVAILABLE or failures == ATTEMPTS_MAX:
                    raise FenceUnavailable(said_by(error)) from error
                logger.debug("a local transaction runs again: %s", said_by(error))
                # Out of step with the other transaction.
                self._pause(random.random() * RETRY_SPREAD_S * failures)  # noqa: S311

    def complete(
        self,
        handle: Any,
        xid: str,
        branch_id: str,
        operation: Operation | str,
        *,
        ok: Any = None,
        refused: str | None = None,
    ) -> None:
        """Complete an operation that was answered with PENDING, in the caller's transaction.

        Do the effect in the same local transaction, commit it, and then tell the coordinator with
        `client.report(xid, branch_id, operation, ...)`.

        Args:
            handle: what the fence's handlers get, inside a transaction of the caller's.
            xid: the transaction.
            branch_id: the branch.
            operation: which one: "try", "confirm", "cancel" or "deliver". The end of a Try that
                comes late is so never taken for the end of its Cancel.
            ok: the result, if it went well; that of a tcc branch's Try may be Reserved.
            refused: the reason, if it is a business no; the effect must not be done then.

        Raises NotPending if that operation is not pending, and CancelledMeanwhile for a Try whose
        branch was cancelled: then undo the local transaction. Raises ResultTooLarge,
        InvalidRequest for an answer that is both and for a connection that is in no transaction,
        and TypeError for what is no connection.
        """
        asked = Operation(operation)
        if refused is None:
            whose, reserves = f"the {asked} of branch {branch_id!r}", asked is Operation.TRY
            answer: Ok | Refused = Ok(kept(ok, whose, reserves=reserves))
        elif ok is None:
            answer = Refused(shortened(refused))
        else:
            raise InvalidRequest("ok, refused: both are given; allowed: one of them")
        transaction, key = self.database.join(handle), (xid, branch_id)
        self._require_pending(transaction, key, asked)
        self._end(transaction, key, asked, answer)

    def finish(
        self,
        xid: str,
        branch_id: str,
        operation: Operation | str,
        effect: Callable[[Any], bytes],
    ) -> Ok | Refused:
        """Complete an operation that was answered with PENDING, in a local transaction of its own.

        Args:
            xid: the transaction.
            branch_id: the branch.
            operation: which one.
            effect: does what was pending, with what handlers get, and returns what is kept of its
                result. What it did is undone when it raises; a Refuse is a business no, and
                completes the operation too. It may be run again, as a handler may.

        Raises NotPending, CancelledMeanwhile, FenceUnavailable, and what `effect` raises.
        """
        asked = Operation(operation)
        return self.insist(lambda: self._finish_once((xid, branch_id), asked, effect))

    def _finish_once(
        self, key: Key, operation: Operation, effect: Callable[[Any], bytes]
    ) -> Ok | Refused:
        with self.database.begin() as transaction:
            # Its lock comes first, as in a call, so that the two do not wait for each other.
            self._require_pending(transaction, key, operation)
            answer: Ok | Refused
            try:
                with transaction.shielded(refusable=True):
                    answer = Ok(effect(transaction.handle))
            except Refuse as refusal:
                answer = Refused(refusal.reason)
            self._end(transaction, key, operation, answer)
            transaction.commit("the completion of a PENDING operation")
            return answer

    def _require_pending(
        self, transaction: LocalTransaction, key: Key, operation: Operation
    ) -> None:
        """Lock a row. Raises NotPending unless that operation of it is pending."""
        transaction.lock(key, self.now())
        row = transaction.read(key)
        if row and row.status is rules.PENDING[operation]:
            return
        xid, branch_id = key
        if row and row.status in rules.CANCEL_BEGUN and operation is Operation.TRY:
            raise CancelledMeanwhile(xid, branch_id, completed=False)
        says = row.status if row else "unknown here"
        raise NotPending(
            f"branch {branch_id!r} of transaction {xid} is {says}, not waiting for the end of its "
            f"{operation}"
        )

    def _end(
        self, transaction: LocalTransaction, key: Key, pending: Operation, answer: Ok | Refused
    ) -> None:
        """Write how a pending operation ended."""
        now = self.now()
        if isinstance(answer, Ok):
            result = answer.result if pending in rules.WITH_RESULT else b""
            transaction.write(key, rules.DONE[pending], now, result=result)
        elif pending is Operation.TRY:
            transaction.write(key, Status.REFUSED, now, reason=answer.reason)
        elif pending is Operation.DELIVER:
            # Nothing of it may stay, so that the next delivery runs again.
            transaction.remove(key)
        else:
            # A Confirm or Cancel is asked for again, and then it runs again.
            transaction.write(key, Status.TRIED, now)

    def _answer(self, transaction: LocalTransaction, call: FencedCall, handler: Handler) -> Answer:
        inserted = call.operation is not Operation.CONFIRM and transaction.put(
            rules.row_of(call, self.now())
        )
        if inserted and call.operation is Operation.CANCEL:
            return Ok()
        if not inserted:
            row = transaction.read((call.xid, call.branch_id))
            if row is None and call.operation is not Operation.CONFIRM:
                raise FenceUnavailable("the fence's row went away meanwhile")
            answer = rules.meet(call, row)
            if answer is not None:
                return answer
        if call.operation is Operation.TRY:
            return self._try(transaction, call, handler)
        with transaction.shielded(refusable=False):
            result = handler(transaction.handle)
        return self._done(transaction, call, result)

    def _try(self, transaction: LocalTransaction, call: FencedCall, handler: Handler) -> Answer:
        # Asked only now, because the row may have been waited for.
        if call.not_after_us and (late_us := self.now() - call.not_after_us) > 0:
            raise too_late(late_us)
        try:
            with transaction.shielded(refusable=True):
                result = handler(transaction.handle)
        except Refuse as refusal:
            key = call.xid, call.branch_id
            transaction.write(key, Status.REFUSED, self.now(), reason=refusal.reason)
            return Refused(refusal.reason)
        return self._done(transaction, call, result)

    def _done(
        self, transaction: LocalTransaction, call: FencedCall, result: bytes | PendingType
    ) -> Answer:
        key = call.xid, call.branch_id
        if result is PENDING:
            transaction.write(key, rules.PENDING[call.operation], self.now())
            return Pending()
        kept = result if call.operation in rules.WITH_RESULT else b""
        inserted = call.operation in (Operation.TRY, Operation.DELIVER)
        if kept or not inserted:
            # Without a result an inserted row says it all already.
            transaction.write(key, rules.DONE[call.operation], self.now(), result=kept)
        return Ok(kept)


def too_late(late_us: int) -> TryTooLate:
    """Return the error of a Try that came so much after its time."""
    return TryTooLate(f"the Try is {late_us / 1e6:.3f} s too late by this participant's clock")


def said_by(error: Exception) -> str:
    """Return what the database said, without the statement and its parameters."""
    original = getattr(error, "orig", None) or error
    text = str(original).strip().splitlines()
    return f"{type(original).__name__}: {text[0] if text else ''}"
