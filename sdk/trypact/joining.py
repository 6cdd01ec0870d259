"""Existing gRPC services take part: what a call brings is bound while its handler runs.

`joins` makes a transaction's branch of a method; a handler may also join by itself, with
`client.joined()`. Either way the branch is registered with the coordinator, which calls the
participant's Try back: the transaction stays as durable as one whose initiator tried it directly.

Calls of one request and one answer take part. Streams do not, because nobody could say when what
they added is complete.
"""

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any, TypeVar

import grpc

from trypact._carried import arriving, carrying, here
from trypact.action import Action
from trypact.client import Client
from trypact.errors import (
    BranchRefused,
    CoordinatorUnavailable,
    InvalidRequest,
    NoTransaction,
    OutcomeUnknown,
    Overloaded,
    RequestRefused,
    TransactionCancelled,
    TrypactError,
    TryUnsettled,
)
from trypact.kinds import Kind
from trypact.sync_client import SyncClient

MethodT = TypeVar("MethodT", bound=Callable[..., Any])


def joins(
    client: Client | SyncClient,
    action: Action[Any, Any],
    *,
    kind: Kind | str = Kind.TCC,
    required: bool = False,
) -> Callable[[MethodT], MethodT]:
    """Make a method of a gRPC service a branch of the transaction that calls it.

        class Inventory(InventoryServicer):
            @trypact.joins(client, RESERVE)
            async def Reserve(self, request, context): ...

    A call that brings a transaction becomes a branch of the action, with the request as its payload
    and the answer of its Try as the response; the method itself is not run. A call that brings none
    runs the method.

    Args:
        client: what registers the branch; a SyncClient for methods that are no coroutines.
        action: its request and result are the method's own messages.
        kind: "tcc" or "saga".
        required: refuse calls that bring no transaction, with FAILED_PRECONDITION.

    The caller sees a TrypactError as a gRPC status whose details begin with its name:
    "BRANCH_REFUSED: ...". Raises TypeError for a client that does not fit the method or an action
    that is a mere name, and InvalidRequest for another kind.

        >>> reserve = Action("inventory.reserve", request=dict, result=dict)
        >>> @joins(client, reserve)
        ... async def Reserve(request, context):
        ...     return {"pieces": 0}  # what it does for calls that bring no transaction
    """
    if not isinstance(action, Action):
        raise TypeError(f"action: is {action!r}; allowed: an Action of the method's messages")
    if kind not in (Kind.TCC, Kind.SAGA):
        raise InvalidRequest(f"kind: is {kind!r}; allowed: tcc, saga")

    def decorated(method: MethodT) -> MethodT:
        is_async = inspect.iscoroutinefunction(method)
        fitting = Client if is_async else SyncClient
        if not isinstance(client, fitting):
            raise TypeError(
                f"{method.__qualname__} is {'' if is_async else 'not '}async, and the client is a "
                f"{type(client).__name__}; allowed: a {fitting.__name__}"
            )
        joined = _joined(client, action, kind, required, method)
        functools.update_wrapper(joined, method)
        made: MethodT = received(joined)
        return made

    return decorated


def _joined(client: Any, action: Any, kind: Any, required: bool, method: Any) -> Any:
    """Return the method as a branch, before anything is bound around it."""

    async def branch(*arguments: Any) -> Any:
        if _runs_alone(required):
            return await method(*arguments)
        async with client.joined() as tx:
            return await tx.try_(action, arguments[-2], kind=kind)

    def sync_branch(*arguments: Any) -> Any:
        if _runs_alone(required):
            return method(*arguments)
        with client.joined() as tx:
            return tx.try_(action, arguments[-2], kind=kind)

    return branch if isinstance(client, Client) else sync_branch


def _runs_alone(required: bool) -> bool:
    if here() is None and required:
        raise NoTransaction(
            "this method only works inside a transaction; call it in the block of one, through "
            "trypact.interceptors.ClientInterceptor"
        )
    return here() is None


def received(method: MethodT) -> MethodT:
    """Run a method of (..., request, context) in the transaction that its call brings, if any."""
    wrapped: Any = (
        _received_async(method) if inspect.iscoroutinefunction(method) else _received(method)
    )
    functools.update_wrapper(wrapped, method)
    bound: MethodT = wrapped
    return bound


def _received_async(method: Any) -> Any:
    async def run(*arguments: Any) -> Any:
        context = arguments[-1]
        try:
            with carrying(arriving(context.invocation_metadata())):
                response = await method(*arguments)
                _require_settled()
                return response
        except TrypactError as error:
            return await context.abort(*status_of(error))

    return run


def _received(method: Any) -> Any:
    def run(*arguments: Any) -> Any:
        context = arguments[-1]
        try:
            with carrying(arriving(context.invocation_metadata())):
                response = method(*arguments)
                _require_settled()
                return response
        except TrypactError as error:
            return context.abort(*status_of(error))

    return run


def _require_settled() -> None:
    """Let no answer say that all is well while a call further on has none."""
    carried = here()
    if carried is not None and carried.unsettled:
        whys = "; ".join(carried.unsettled.values())
        raise TryUnsettled(f"call {carried.call_id} of transaction {carried.xid}: {whys}")


# What the caller may conclude; the first that fits. UNKNOWN and what gRPC itself says when a call
# may have been run leave it open, so that the caller's transaction cannot be confirmed.
_CODES: tuple[tuple[tuple[type[TrypactError], ...], grpc.StatusCode], ...] = (
    ((TryUnsettled,), grpc.StatusCode.UNKNOWN),
    ((RequestRefused, BranchRefused, TransactionCancelled), grpc.StatusCode.FAILED_PRECONDITION),
    ((Overloaded,), grpc.StatusCode.RESOURCE_EXHAUSTED),
    ((CoordinatorUnavailable,), grpc.StatusCode.UNAVAILABLE),
    ((OutcomeUnknown,), grpc.StatusCode.DEADLINE_EXCEEDED),
    ((TrypactError,), grpc.StatusCode.INTERNAL),
)


def status_of(error: TrypactError) -> tuple[grpc.StatusCode, str]:
    """Return the status and the details that a caller gets for an error."""
    code = next(code for kinds, code in _CODES if isinstance(error, kinds))
    named = error.code or re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(error).__name__).upper()
    return code, f"{named}: {error}"
