"""Handlers: how a service's functions are called, and what they say is kept.

A plain handler is asked for one call, a set-based one for many at once, and one that is `async`
is awaited. To the fence all look the same: a function of the open connection, and bytes, PENDING
or an exception for each call.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from trypact._framing import kept
from trypact.call import Arrived, Call, PendingType
from trypact.errors import (
    HandlerAnswer,
    ParticipantError,
    PayloadError,
    Refuse,
    RetryLater,
)
from trypact.fence.contract import Asked, AsyncHandler, Said
from trypact.kinds import Kind, Operation
from trypact.observed import Observer, observed
from trypact.payload import decode

Handler = Callable[[Any, Any], Any]
HandlerT = TypeVar("HandlerT", bound=Handler)

MarkedT = TypeVar("MarkedT", bound=Callable[..., Any])

_MANY = "__trypact_many__"


def many(handler: MarkedT) -> MarkedT:
    """Mark a handler as set-based: it is asked for many calls of its operation at once.

        @many
        def confirm(self, calls: Sequence[Call[Reserve]], connection: Connection) -> None: ...

    It takes the calls (at least one, all of different branches) instead of one, and says something
    of each, in their order: its result, `Refuse(...)` or `RetryLater(...)` returned rather than
    raised, or PENDING. Returning None says of all of them that they are done, without results.

    Of a call it refuses or postpones it must not have changed anything. If it raises, all it did
    is undone, and it is asked again for each of the calls alone.

    Raises TypeError for what cannot be marked.

        >>> @many
        ... def confirm(calls, connection):
        ...     print(len(calls), "calls in one statement")
    """
    try:
        setattr(handler, _MANY, True)
    except AttributeError:
        name = type(handler).__name__
        raise TypeError(f"a {name} cannot be marked; allowed: the function itself") from None
    return handler


def takes_many(handler: Any) -> bool:
    """Whether a handler is set-based."""
    return bool(getattr(handler, _MANY, False))


class Handling:
    """One operation of one action: how its handler is called.

    Args:
        request: what payloads are decoded to.
        handler: a function of (call, connection), or a `many` one of (calls, connection).
        observer: what surrounds it.
    """

    def __init__(self, request: Any, handler: Handler, observer: Observer | None = None) -> None:
        self._request = request
        self._handler = handler
        self._observer = observer
        self._takes_many = takes_many(handler)

    def asked(self, arrived: Arrived) -> Asked:
        """Return the call as its fence runs it."""
        return Asked(
            arrived.fenced,
            partial(self._run_one, arrived),
            self._run_set if self._takes_many else None,
            arrived,
        )

    def awaited(self, arrived: Arrived) -> AsyncHandler:
        """Return the call as an `AsyncFence` awaits it; the handler is `async` and of one call."""
        return partial(self._await_one, arrived)

    async def _await_one(self, arrived: Arrived, connection: Any) -> bytes | PendingType:
        call = self._call(arrived)
        with observed((call,), self._observer):
            return _kept(call, await self._handler(call, connection))

    def _run_one(self, arrived: Arrived, connection: Any) -> bytes | PendingType:
        if self._takes_many:
            (said,) = self._run([arrived], connection)
            if isinstance(said, Exception):
                raise said
            return said
        call = self._call(arrived)
        with observed((call,), self._observer):
            return _kept(call, self._handler(call, connection))

    def _run_set(self, asked: Sequence[Asked], connection: Any) -> Sequence[Said]:
        return self._run([one.request for one in asked], connection)

    def _run(self, arrived: Sequence[Arrived], connection: Any) -> list[Said]:
        """Run the set-based handler for those whose requests can be read."""
        read = [self._read(one) for one in arrived]
        results = iter(self._results([one for one in read if isinstance(one, Call)], connection))
        return [one if isinstance(one, Refuse) else _said(one, next(results)) for one in read]

    def _results(self, calls: list[Call[Any]], connection: Any) -> Sequence[Any]:
        if not calls:
            return ()
        with observed(calls, self._observer):
            results = self._handler(calls, connection)
        if results is None:
            return [None] * len(calls)
        if not isinstance(results, Sequence) or len(results) != len(calls):
            what = len(results) if isinstance(results, Sequence) else type(results).__name__
            raise ParticipantError(
                f"the set-based handler of {calls[0].action} {calls[0].operation} answered "
                f"{len(calls)} calls with {what}; allowed: a list with one item for each, or None"
            )
        return results

    def _read(self, arrived: Arrived) -> Call[Any] | Refuse:
        try:
            return self._call(arrived)
        except Refuse as refusal:
            return refusal

    def _call(self, arrived: Arrived) -> Call[Any]:
        call = arrived.fenced
        return Call(
            xid=call.xid,
            branch_id=call.branch_id,
            action=call.action,
            kind=call.kind,
            operation=call.operation,
            request=_decoded(arrived.payload, self._request),
            attempt=arrived.attempt,
            decision=arrived.decision,
            trace_parent=arrived.trace_parent,
        )


def _said(call: Call[Any], result: Any) -> Said:
    if isinstance(result, Refuse | RetryLater):
        said: Said = result
        return said
    return _kept(call, result)


def _decoded(payload: bytes, request: Any) -> Any:
    try:
        return decode(payload, request)
    except PayloadError as error:
        # The initiator's mistake is a business no: asking again would change nothing.
        raise Refuse(f"invalid payload: {error}") from error


def _kept(call: Call[Any], result: Any) -> bytes | PendingType:
    """Return what the fence keeps of a handler's result; an answer is raised, to undo the rest."""
    if isinstance(result, PendingType):
        return result
    if isinstance(result, HandlerAnswer):
        raise result
    whose = f"{call.action} {call.operation}"
    reserves = call.kind is Kind.TCC and call.operation is Operation.TRY
    try:
        return kept(result, whose, reserves=reserves)
    except PayloadError as error:
        raise ParticipantError(
            f"the handler of {whose} returned what cannot be a result: {error}; its code is to be "
            "mended, asking again changes nothing"
        ) from error
