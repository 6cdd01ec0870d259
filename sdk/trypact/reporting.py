"""Reporters: how what was answered with PENDING is completed, from wherever its end is known.

    reporter = payments.reporter(client)

    reporter.complete(xid, branch_id, "try", Paid(receipt))  # nothing else to write
    reporter.refuse(xid, branch_id, "try", "CARD_DECLINED")  # a business no
    reporter.run(xid, branch_id, "try", lambda connection: ...)  # an effect, and its result

Each of them is one local transaction, in which the effect is written and the fence's row is
completed, and then a report to the coordinator. The report only saves time: if it is lost, with
the process or on its way, the coordinator asks again, and the fence answers.

    >>> type(inventory.reporter(client)).__name__, type(inventory.reporter(sync_client)).__name__
    ('AsyncReporter', 'Reporter')
"""

import asyncio
import logging
from collections.abc import Callable
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, NamedTuple

from trypact._framing import kept, unframed
from trypact._signatures import is_async
from trypact.call import PENDING, Ok, Refused
from trypact.errors import (
    CancelledMeanwhile,
    CoordinatorUnavailable,
    OutcomeUnknown,
    ParticipantError,
    Refuse,
)
from trypact.fence.contract import FinishingFence
from trypact.kinds import Decision, Operation
from trypact.outcome import Reported

if TYPE_CHECKING:
    from trypact.client import Client
    from trypact.sync_client import SyncClient

__all__ = ["AsyncReporter", "Completed", "Reporter"]

logger = logging.getLogger("trypact.participant")

# Does what was pending, with the fence's open connection, and returns the result; refuses by
# raising Refuse.
Effect = Callable[[Any], Any]


class Completed(NamedTuple):
    """A PENDING operation is complete in the service's own database.

    >>> Completed(Operation.TRY, reported=None).operation  # the coordinator asks again by itself
    <Operation.TRY: 'try'>
    """

    operation: Operation
    # What the report met; None if it did not arrive. Then the coordinator asks again by itself.
    reported: Reported | None


class Reporter:
    """Completes what was PENDING, and tells the coordinator; see `Participant.reporter`.

    Every method raises NotPending if that operation is not pending, above all because it has been
    completed already; CancelledMeanwhile for a Try if the decision is Cancel, with `completed` to
    tell whether that came before or after the effect; and FenceUnavailable. That the coordinator
    does not answer is no error: the operation is complete, and `reported` is None.

    >>> try:
    ...     inventory.reporter(sync_client).refuse("order-17", "charge", "try", "CARD_DECLINED")
    ... except errors.NotPending as no:
    ...     print("nothing is pending")
    nothing is pending
    """

    def __init__(self, fence: FinishingFence, client: "SyncClient") -> None:
        self._fence = fence
        self._client = client

    def complete(
        self, xid: str, branch_id: str, operation: Operation | str, result: Any = None
    ) -> Completed:
        """Complete an operation that has no further effect here, with its result."""
        return self.run(xid, branch_id, operation, lambda connection: result)

    def refuse(
        self, xid: str, branch_id: str, operation: Operation | str, reason: str
    ) -> Completed:
        """Complete an operation with a business no."""
        return self.run(xid, branch_id, operation, _refusing(reason))

    def run(
        self, xid: str, branch_id: str, operation: Operation | str, effect: Effect
    ) -> Completed:
        """Complete an operation by an effect.

        Args:
            xid: the transaction.
            branch_id: the branch.
            operation: which one was answered with PENDING: "try", "confirm", "cancel" or
                "deliver". The end of a Try that comes late never ends its Cancel.
            effect: a function of the fence's open connection. What it writes there is committed
                together with the operation's end, or not at all. It returns the result (that of
                a tcc branch's Try may be Reserved), or raises Refuse; whatever else it raises is
                raised here, and the operation stays PENDING.
        """
        asked = Operation(operation)
        end = self._fence.finish(xid, branch_id, asked, _plain(effect, asked))
        try:
            reported = self._client.report(xid, branch_id, asked, **_said_of(end))
        except (CoordinatorUnavailable, OutcomeUnknown) as error:
            return _unreported(xid, branch_id, asked, error)
        return _completed(xid, branch_id, asked, end, reported)


class AsyncReporter:
    """A `Reporter` for code on an event loop; its methods mean and raise the same.

    Behind a fence that is not async, the local transaction runs on a thread.

    >>> rows = fence.SqlAlchemyFence(engine)
    >>> rows.create_tables()
    >>> office = Participant("office", fence=rows)
    >>> @office.message("ask")
    ... def ask(call, connection):
    ...     return PENDING  # a human looks at it
    >>> async with trypact.testing.Environment([office]) as env:
    ...     _ = await env.execute("loan", [message("office.ask")], xid="loan-1")
    ...     await env.advance(seconds=1)
    ...     done = await office.reporter(env).complete("loan-1", "ask", "deliver")
    >>> done.operation
    <Operation.DELIVER: 'deliver'>
    """

    def __init__(self, fence: FinishingFence, client: "Client") -> None:
        self._fence = fence
        self._client = client

    async def complete(
        self, xid: str, branch_id: str, operation: Operation | str, result: Any = None
    ) -> Completed:
        """Complete an operation that has no further effect here, with its result."""
        return await self.run(xid, branch_id, operation, lambda connection: result)

    async def refuse(
        self, xid: str, branch_id: str, operation: Operation | str, reason: str
    ) -> Completed:
        """Complete an operation with a business no."""
        return await self.run(xid, branch_id, operation, _refusing(reason))

    async def run(
        self, xid: str, branch_id: str, operation: Operation | str, effect: Effect
    ) -> Completed:
        """Complete an operation by an effect: `async def` behind an async fence; see `Reporter`."""
        asked = Operation(operation)
        end = await self._finish(xid, branch_id, asked, effect)
        try:
            reported = await self._client.report(xid, branch_id, asked, **_said_of(end))
        except (CoordinatorUnavailable, OutcomeUnknown) as error:
            return _unreported(xid, branch_id, asked, error)
        return _completed(xid, branch_id, asked, end, reported)

    async def _finish(
        self, xid: str, branch_id: str, operation: Operation, effect: Effect
    ) -> Ok | Refused:
        end: Ok | Refused
        if not is_async(self._fence.finish):
            finish = self._fence.finish
            plain = _plain(effect, operation)
            end = await asyncio.to_thread(finish, xid, branch_id, operation, plain)
            return end

        async def awaited(connection: Any) -> bytes:
            result = effect(connection)
            return _encoded(await result if isawaitable(result) else result, operation)

        end = await self._fence.finish(xid, branch_id, operation, awaited)
        return end


def _refusing(reason: str) -> Effect:
    def refuse(connection: Any) -> Any:
        raise Refuse(reason)

    return refuse


def _plain(effect: Effect, operation: Operation) -> Callable[[Any], bytes]:
    """Return an effect as a fence runs it that awaits nothing. Raises TypeError."""
    if is_async(effect):
        raise TypeError("the effect is async, and its fence is not; allowed: a plain function")
    return lambda connection: _encoded(effect(connection), operation)


def _encoded(result: Any, operation: Operation) -> bytes:
    """Return what the fence keeps of an effect's result."""
    if result is PENDING:
        raise ParticipantError("an effect answered PENDING; allowed: its result, or Refuse")
    return kept(result, f"an effect of {operation}", reserves=operation is Operation.TRY)


def _said_of(end: Ok | Refused) -> dict[str, Any]:
    """Return how the operation ended, as `client.report` takes it."""
    if isinstance(end, Ok):
        return {"ok": unframed(end.result)}
    return {"refused": end.reason}


def _completed(
    xid: str, branch_id: str, operation: Operation, end: Ok | Refused, reported: Reported
) -> Completed:
    tried = operation is Operation.TRY and isinstance(end, Ok)
    if tried and reported.decision is Decision.CANCEL:
        raise CancelledMeanwhile(xid, branch_id, completed=True)
    return Completed(operation, reported)


def _unreported(xid: str, branch_id: str, operation: Operation, error: Exception) -> Completed:
    logger.warning(
        "%s of branch %s of %s is complete, and the coordinator will ask for it: %s",
        operation,
        branch_id,
        xid,
        error,
    )
    return Completed(operation, None)
