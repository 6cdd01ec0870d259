"""Turns every failure of a service method into one gRPC status with machine-readable details.

Known errors carry google.rpc.ErrorInfo (a stable reason, domain `trypact`), BadRequest for a bad
field, RetryInfo where asking again later helps. What nobody foresaw is INTERNAL with a reference
that is in the log too; a traceback never leaves the process. This is the only place that aborts.
"""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import grpc
import structlog
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from trypact_coordinator.core.errors import (
    CoordinatorError,
    InvalidArgument,
    InvariantViolated,
    Overloaded,
)
from trypact_coordinator.text import shorten

DOMAIN = "trypact"
EXECUTE_STREAM = "/trypact.v1.TransactionService/ExecuteStream"
DETAILS_KEY = "grpc-status-details-bin"
# Statuses travel in HTTP/2 trailers, which gRPC bounds at 8 KiB, the message twice: escaped, where
# a byte may become three, and in the details.
MESSAGE_BYTES_MAX = 1024
FIELD_BYTES_MAX = 256

# Generic for the type checker only.
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

_log = structlog.get_logger(__name__)


class Starting(CoordinatorError):
    """This coordinator is starting and takes no work yet. Ask again in a moment."""

    status = "UNAVAILABLE"
    reason = "STARTING"


def status_of(error: CoordinatorError) -> status_pb2.Status:
    """Return the google.rpc.Status of an error of ours."""
    message = shorten(str(error), MESSAGE_BYTES_MAX)
    status = status_pb2.Status(code=code_pb2.Code.Value(error.status), message=message)
    _add(status, error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN))
    if isinstance(error, InvalidArgument):
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=shorten(error.field, FIELD_BYTES_MAX),
            description=shorten(error.why, FIELD_BYTES_MAX),
        )
        _add(status, error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(error, Overloaded):
        delay = Duration()
        delay.FromMilliseconds(error.retry_after_ms)
        _add(status, error_details_pb2.RetryInfo(retry_delay=delay))
    return status


def status_bytes(method: str, error: Exception) -> bytes:
    """Return the serialized google.rpc.Status that a method ends with for an error."""
    data: bytes = _status(method, error).SerializeToString()
    return data


def _status(method: str, error: Exception) -> status_pb2.Status:
    if isinstance(error, InvariantViolated):
        _log.error("invariant violated", method=method, exc_info=error)
    if isinstance(error, CoordinatorError):
        return status_of(error)
    return _unforeseen(method, error)


def _add(status: status_pb2.Status, detail: Message) -> None:
    status.details.add().Pack(detail)


def _unforeseen(method: str, error: Exception) -> status_pb2.Status:
    reference = secrets.token_hex(4)
    _log.error("unforeseen error", method=method, reference=reference, exc_info=error)
    status = status_pb2.Status(
        code=code_pb2.INTERNAL,
        message=f"The coordinator failed unexpectedly; its log says more under {reference}.",
    )
    info = error_details_pb2.ErrorInfo(
        reason="INTERNAL", domain=DOMAIN, metadata={"reference": reference}
    )
    _add(status, info)
    return status


async def _abort(context: Any, status: status_pb2.Status) -> None:
    await context.abort(
        _CODES[status.code], status.message, ((DETAILS_KEY, status.SerializeToString()),)
    )


class Unreadable:
    """What stands for a request whose bytes are no message of its type."""


class Guard(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Stands between the wire and every unary method.

    Args:
        admit: raises when the coordinator takes no calls of this method (by its full name) now.
    """

    def __init__(self, admit: Callable[[str], None]) -> None:
        self._admit = admit
        self._guarded: dict[str, _Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler:
        """Return the method's handler, guarded; each is wrapped once."""
        method = handler_call_details.method
        guarded = self._guarded.get(method)
        if guarded is not None:
            return guarded
        handler = await continuation(handler_call_details)
        # None is an unknown method (kept out of the cache, which a caller could fill), and what
        # else is not unary is reflection or the watching of health.
        if handler is not None and method == EXECUTE_STREAM:
            guarded = self._guard_stream(method, handler)
        elif handler is None or handler.unary_unary is None:
            return handler
        else:
            guarded = self._guard(method, handler)
        self._guarded[method] = guarded
        return guarded

    def _guard_stream(self, method: str, handler: _Handler) -> _Handler:
        """Guard the opening of the stream; each of its requests is answered by itself."""
        serve: Any = handler.stream_stream

        async def guarded(requests: object, context: Any) -> AsyncIterator[object]:
            try:
                self._admit(method)
            except CoordinatorError as error:
                await _abort(context, status_of(error))
            async for response in serve(requests, context):
                yield response

        return grpc.stream_stream_rpc_method_handler(
            guarded,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _guard(self, method: str, handler: _Handler) -> _Handler:
        answer: Any = handler.unary_unary
        deserialize: Any = handler.request_deserializer

        def read(data: bytes) -> object:
            try:
                return deserialize(data)
            except DecodeError:
                return Unreadable()

        async def guarded(request: object, context: Any) -> object:
            try:
                self._admit(method)
                if isinstance(request, Unreadable):
                    raise InvalidArgument("request", f"is no message of {method}")
                return await answer(request, context)
            except grpc.aio.AbortError:
                raise
            except Exception as error:  # the guard's whole purpose
                status = _status(method, error)
            await _abort(context, status)
            return None

        return grpc.unary_unary_rpc_method_handler(
            guarded, request_deserializer=read, response_serializer=handler.response_serializer
        )


_CODES = {code.value[0]: code for code in grpc.StatusCode}
