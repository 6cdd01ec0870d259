"""Handlers: what a service's functions must be like, and how they are called.

A plain handler is asked for one call, a set-based one for many at once. To the fence both look the
same: a function of the open connection, and bytes, PENDING or an exception for each call.
"""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from trypact.call import PENDING, Arrived, Call, PendingType
from trypact.errors import (
    ParticipantError,
    PayloadError,
    Refuse,
    ResultTooLarge,
    RetryLater,
)
from trypact.fence.contract import Asked, Said
from trypact.limits import RESULT_BYTES_MAX
from trypact.payload import decode, encode

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
    """
    try:
        setattr(handler, _MANY, True)
    except AttributeError:
        name = type(handler).__name__
        raise TypeError(f"a {name} cannot be marked; allowed: the function itself") from None
    return handler


class Handling:
    """One operation of one action: how its handler is called.

    Args:
        request: what payloads are decoded to.
        handler: a function of (call, connection), or a `many` one of (calls, connection).
    """

    def __init__(self, request: Any, handler: Handler) -> None:
        self._request = request
        self._handler = handler
        self._takes_many = bool(getattr(handler, _MANY, False))

    def asked(self, arrived: Arrived) -> Asked:
        """Return the call as its fence runs it."""
        return Asked(
            arrived.fenced,
            partial(self._run_one, arrived),
            self._run_set if self._takes_many else None,
            arrived,
        )

    def _run_one(self, arrived: Arrived, connection: Any) -> bytes | PendingType:
        if self._takes_many:
            (said,) = self._run([arrived], connection)
            if isinstance(said, Exception):
                raise said
            return said
        result = self._handler(self._call(arrived), connection)
        return PENDING if result is PENDING else _encoded(arrived, result)

    def _run_set(self, asked: Sequence[Asked], connection: Any) -> Sequence[Said]:
        return self._run([one.request for one in asked], connection)

    def _run(self, arrived: Sequence[Arrived], connection: Any) -> list[Said]:
        """Run the set-based handler for those whose requests can be read."""
        read = [self._read(one) for one in arrived]
        calls = [call for call in read if isinstance(call, Call)]
        results = iter(self._results(calls, connection))
        return [
            one if isinstance(one, Refuse) else _said(call, next(results))
            for call, one in zip(arrived, read, strict=True)
        ]

    def _results(self, calls: list[Call[Any]], connection: Any) -> Sequence[Any]:
        if not calls:
            return ()
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


def _said(arrived: Arrived, result: Any) -> Said:
    if result is PENDING or isinstance(result, Refuse | RetryLater):
        said: Said = result
        return said
    return _encoded(arrived, result)


def _decoded(payload: bytes, request: Any) -> Any:
    try:
        return decode(payload, request)
    except PayloadError as error:
        # The initiator's mistake is a business no: asking again would change nothing.
        raise Refuse(f"invalid payload: {error}") from error


def _encoded(arrived: Arrived, result: Any) -> bytes:
    data = encode(result)
    if len(data) > RESULT_BYTES_MAX:
        call = arrived.fenced
        raise ResultTooLarge(
            f"the result of {call.action} {call.operation} is {len(data)} bytes long; allowed: at "
            f"most {RESULT_BYTES_MAX}"
        )
    return data


def require_handler(action: str, name: str, handler: Any) -> None:
    """Raise TypeError for what cannot be called as a handler is, before a call finds out."""
    takes = "calls" if getattr(handler, _MANY, False) else "call"
    allowed = f"allowed: a plain function of ({takes}, connection)"
    if not callable(handler) or isinstance(handler, type):
        raise TypeError(f"{action}: {name} is no function; {allowed}")
    forms = (handler, type(handler).__call__)  # the second for an object that can be called
    if any(inspect.iscoroutinefunction(f) or inspect.isasyncgenfunction(f) for f in forms):
        raise TypeError(
            f"{action}: {name} is async, and handlers run on a thread of their own; {allowed}"
        )
    if any(inspect.isgeneratorfunction(form) for form in forms):
        raise TypeError(f"{action}: {name} is a generator, which would never run; {allowed}")
    try:
        signature = inspect.signature(handler)
    except (TypeError, ValueError):
        return  # one of C, which does not tell
    try:
        signature.bind(None, None)
    except TypeError:
        raise TypeError(f"{action}: {name} takes {signature}; {allowed}") from None
