"""The fence for effects that are in no database: an HTTP API, a mail, a machine.

No local transaction can hold such an effect, so nobody can say for sure whether it happened when
the process dies beside it. What can be had is that this is known: the intent is committed first,
as the PENDING row of an ordinary fence, then comes the effect, then its end is committed. A row
that is still pending when its call comes again tells that the effect may have happened, and the
handler is told so. A Cancel runs whenever there is an intent.
"""

import logging
from collections.abc import Callable
from enum import StrEnum
from typing import Any, NamedTuple

from trypact._framing import unframed
from trypact.call import PENDING, Answer, FencedCall, Ok, Pending, PendingType, Refused
from trypact.errors import NotPending, Refuse
from trypact.fence.contract import Handler
from trypact.fence.local import LocalFence, too_late
from trypact.fence.rules import WITH_RESULT, Row, Status
from trypact.kinds import Operation

logger = logging.getLogger("trypact.fence")


class Known(StrEnum):
    """What is known of a branch's effect when a handler is about to work on it.

    >>> def deliver(call, effect):
    ...     if effect.known is Known.UNKNOWN:
    ...         print("an earlier attempt may have sent it: look first")
    """

    # Nothing of it has been done: the first attempt of a Try or a delivery.
    NOTHING = "nothing"
    # The Try has come to its end, and this operation is attempted for the first time.
    DONE = "done"
    # An earlier attempt may have done its work, or a part of it: this operation's, or the Try's
    # that is to be cancelled.
    UNKNOWN = "unknown"


class Effect(NamedTuple):
    """What a handler of an `ExternalFence` gets instead of a connection.

    >>> Effect(Known.NOTHING, key="order-17/ship/deliver", branch="order-17/ship").known
    <Known.NOTHING: 'nothing'>
    """

    known: Known
    # The same for every attempt of this operation of this branch, and for no other: what an API
    # that takes idempotency keys wants.
    key: str
    # The branch's, for what concerns its Try, Confirm and Cancel alike.
    branch: str
    # What the Try returned, if it has come to its end.
    result: bytes = b""


class ExternalFence:
    """A fence for effects that are in no database, with its rows in the database of another fence.

    Handlers get an `Effect`. One that raises leaves the outcome unknown, unless it raises Refuse:
    that is for when the effect has certainly not happened. One that returns PENDING is asked again
    with each call, until it has an answer or a reporter has given it.

    A Try should give up well before the coordinator does, which then sends Cancel: an effect that
    happens after it stays.

    Args:
        fence: a SqlAlchemyFence, PsycopgFence or RedisFence that serves no other handlers.

    Raises TypeError for another fence.

        >>> rows = SqlAlchemyFence(engine)
        >>> rows.create_tables()
        >>> post = Participant("post", fence=ExternalFence(rows))
        >>> @post.message("send")
        ... def send(call, effect):
        ...     print("a mail to", call.request["to"], "with the key", effect.key)
        >>> async with trypact.testing.Environment([post]) as env:
        ...     _ = await env.execute("mail", [message("post.send", {"to": "Ada"})], xid="m-1")
        ...     _ = await env.settle()
        a mail to Ada with the key m-1/send/deliver
    """

    def __init__(self, fence: LocalFence) -> None:
        if not isinstance(fence, LocalFence):
            raise TypeError(
                f"fence: is a {type(fence).__name__}; allowed: a SqlAlchemyFence, PsycopgFence or "
                "RedisFence, which keeps the rows; for coroutines see AsyncExternalFence"
            )
        # The fence that keeps the rows.
        self.local = fence

    def run(self, call: FencedCall, handler: Handler, /) -> Answer:
        """Answer a call, running the handler unless its end is known; see `Fence.run`."""
        effect = unknown = _effect(call, Known.UNKNOWN, None)

        def intend(handle: Any) -> PendingType:
            nonlocal effect
            effect = self._intended(call, handle)
            return PENDING

        def attempt() -> Answer:
            nonlocal effect
            # What an attempt has seen that came to nothing is not so any more: another call may
            # have committed the intent, and be at work.
            effect = unknown
            return self.local.run_once(call, intend)

        answer = self.local.insist(attempt)
        if not isinstance(answer, Pending):
            return answer
        if effect.known is Known.UNKNOWN:
            late_us = self.local.now() - call.not_after_us if call.not_after_us else 0
            if call.operation is Operation.TRY and late_us > 0:
                raise too_late(late_us)
            effect = effect._replace(result=self._stored(call))
        try:
            said = handler(effect)
        except Refuse as refusal:
            refused = Refused(refusal.reason)
            if call.operation is Operation.CANCEL and effect.known is Known.UNKNOWN:
                # The row stays pending: as TRIED it would say that the Try has come to its end.
                return refused
            return self._end(call, refused)
        return Pending() if isinstance(said, PendingType) else self._end(call, Ok(said))

    def finish(
        self, xid: str, branch_id: str, operation: Operation | str, effect: Callable[[Any], bytes]
    ) -> Ok | Refused:
        """Complete an operation whose end comes from elsewhere; see `LocalFence.finish`.

        The effect gets what handlers of the other fence would: an open transaction of its database.
        """
        return self.local.finish(xid, branch_id, operation, effect)

    def _intended(self, call: FencedCall, handle: Any) -> Effect:
        """Return what is known in the local transaction that commits the intent."""
        if call.operation in (Operation.TRY, Operation.DELIVER):
            return _effect(call, Known.NOTHING, None)
        row = self.local.database.join(handle).read((call.xid, call.branch_id))
        tried = row is not None and row.status is Status.TRIED
        return _effect(call, Known.DONE if tried else Known.UNKNOWN, row)

    def _end(self, call: FencedCall, end: Ok | Refused) -> Answer:
        """Store how the operation ended."""

        def ended(handle: Any) -> bytes:
            if isinstance(end, Refused):
                raise Refuse(end.reason)
            return end.result

        try:
            self.finish(call.xid, call.branch_id, call.operation, ended)
        except NotPending:
            # Another attempt was quicker, or the branch was cancelled meanwhile.
            answer = self.local.run(call, _never)
            if isinstance(end, Ok) and isinstance(answer, Refused):
                logger.error(
                    "%s of branch %s of %s was done, and is %s: its effect may stand",
                    call.operation,
                    call.branch_id,
                    call.xid,
                    answer.reason,
                )
            return answer
        if isinstance(end, Refused) or call.operation in WITH_RESULT:
            return end
        return Ok()

    def _stored(self, call: FencedCall) -> bytes:
        with self.local.database.begin() as transaction:
            row = transaction.read((call.xid, call.branch_id))
        return _result_of(row)


def _effect(call: FencedCall, known: Known, row: Row | None) -> Effect:
    branch = f"{call.xid}/{call.branch_id}"
    return Effect(known, f"{branch}/{call.operation}", branch, _result_of(row))


def _result_of(row: Row | None) -> bytes:
    return unframed(row.result).result if row else b""


def _never(handle: Any) -> PendingType:
    """Stand in for a handler when only the row is asked; it may be pending again, by a refusal."""
    return PENDING
