"""gRPC interceptors that take a transaction along with ordinary calls, and bind it on arrival.

    channel = grpc.aio.insecure_channel(target, interceptors=[ClientInterceptor()])
    server = grpc.aio.server(interceptors=[ServerInterceptor()])

    channel = grpc.intercept_channel(grpc.insecure_channel(target), SyncClientInterceptor())
    server = grpc.server(executor, interceptors=[SyncServerInterceptor()])

Inside a transaction's block every call of one request and one answer carries `trypact-xid`, and
`trypact-call`, which is its id. To repeat a call, give both times the same id of your own:
`stub.Reserve(request, metadata=[("trypact-call", "first")])`. A call that ended without saying what
it did (UNAVAILABLE, DEADLINE_EXCEEDED, ...) keeps the block from confirming until it is repeated
with an answer. Outside of a block, calls are left as they are.

    >>> import grpc
    >>> channel = grpc.aio.insecure_channel("127.0.0.1:1", interceptors=[
    ...     interceptors.ClientInterceptor()
    ... ])
    >>> await channel.close()
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import grpc
import grpc.aio

from trypact._carried import CALL_KEY, XID_KEY, Carried, Metadata, here
from trypact.errors import InvalidRequest
from trypact.joining import received

_Handler = Any


class ClientInterceptor(grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[type-arg]
    """Takes the block's transaction along; for channels of `grpc.aio`.

    >>> import grpc
    >>> along = [ClientInterceptor()]
    >>> async with grpc.aio.insecure_channel("127.0.0.1:50051", interceptors=along) as channel:
    ...     reserve = channel.unary_unary("/shop.Inventory/Reserve")
    """

    async def intercept_unary_unary(
        self,
        continuation: Callable[[Any, Any], Awaitable[Any]],
        client_call_details: Any,
        request: Any,
    ) -> Any:
        """Send one call."""
        carried = here()
        if carried is None:
            return await continuation(client_call_details, request)
        if carried.begin is not None:
            begun = carried.begin()
            if inspect.isawaitable(begun):
                await begun
        call_id, metadata = _leaving(carried, client_call_details)
        details = client_call_details._replace(metadata=grpc.aio.Metadata(*metadata))
        call = await continuation(details, request)
        try:
            status = await call.code()
        except asyncio.CancelledError:
            call.cancel()
            raise
        carried.answered(call_id, status.name)
        return call


class SyncClientInterceptor(grpc.UnaryUnaryClientInterceptor):  # type: ignore[type-arg]
    """Takes the block's transaction along; for `grpc.intercept_channel`.

    >>> import grpc
    >>> plain = grpc.insecure_channel("127.0.0.1:50051")
    >>> with grpc.intercept_channel(plain, SyncClientInterceptor()) as channel:
    ...     reserve = channel.unary_unary("/shop.Inventory/Reserve")
    """

    def intercept_unary_unary(
        self, continuation: Callable[[Any, Any], Any], client_call_details: Any, request: Any
    ) -> Any:
        """Send one call."""
        carried = here()
        if carried is None:
            return continuation(client_call_details, request)
        _begin(carried)
        call_id, metadata = _leaving(carried, client_call_details)
        call = continuation(_Details.of(client_call_details, metadata), request)
        carried.sent(call_id, call)
        return call


class ServerInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Binds the transaction that a call brings while its handler runs; for `grpc.aio.server`.

    >>> import grpc
    >>> async def serve():
    ...     server = grpc.aio.server(interceptors=[ServerInterceptor()])
    ...     server.add_insecure_port("127.0.0.1:0")
    ...     await server.start()
    ...     await server.stop(grace=None)
    >>> await serve()
    """

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler:
        """Find the handler of one call."""
        return _receiving(await continuation(handler_call_details))


class SyncServerInterceptor(grpc.ServerInterceptor):  # type: ignore[type-arg]
    """Binds the transaction that a call brings while its handler runs; for `grpc.server`.

    >>> import grpc
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> server = grpc.server(ThreadPoolExecutor(), interceptors=[SyncServerInterceptor()])
    """

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], _Handler],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler:
        """Find the handler of one call."""
        return _receiving(continuation(handler_call_details))


def _receiving(handler: _Handler) -> _Handler:
    if handler is None or handler.unary_unary is None:
        return handler
    return grpc.unary_unary_rpc_method_handler(
        received(handler.unary_unary),
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )


def _begin(carried: Carried) -> None:
    begun = carried.begin() if carried.begin is not None else None
    if inspect.iscoroutine(begun):
        begun.close()
        raise InvalidRequest(
            f"transaction {carried.xid} was opened by a Client, and this call is not async; "
            "allowed: open it with SyncClient, or call through grpc.aio"
        )


def _leaving(carried: Carried, details: Any) -> tuple[str, list[tuple[str, str | bytes]]]:
    """Return the id of a call that leaves, and its metadata with the transaction."""
    method = details.method.decode() if isinstance(details.method, bytes) else details.method
    given: Metadata = details.metadata or ()
    named = next((str(value) for key, value in given if key == CALL_KEY), "")
    call_id = carried.leaving(method, named)
    kept = [(key, value) for key, value in given if key not in (XID_KEY, CALL_KEY)]
    return call_id, [*kept, (XID_KEY, carried.xid), (CALL_KEY, call_id)]


class _Details(NamedTuple):
    """The description of a synchronous call, with other metadata."""

    method: str
    timeout: float | None
    metadata: list[tuple[str, str | bytes]]
    credentials: Any
    wait_for_ready: bool | None
    compression: Any

    @classmethod
    def of(cls, details: Any, metadata: list[tuple[str, str | bytes]]) -> "_Details":
        return cls(
            details.method,
            details.timeout,
            metadata,
            details.credentials,
            getattr(details, "wait_for_ready", None),
            getattr(details, "compression", None),
        )
