"""The batched stream to the coordinator: many Executes in one message, many outcomes in another.

A unary call costs each side tens of microseconds, a request in a batch a few. Replies are matched
to their requests by id, in whatever order they come. When the stream breaks, every request without
a reply fails with the reason, which makes its outcome unknown: it is asked again by its xid.
"""

import asyncio
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any, cast

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import status_pb2
from grpc.aio import EOF  # type: ignore[attr-defined]

from trypact._exchange import Failure, failure_of
from trypact._outbox import BATCH_BYTES_MAX, Outbox
from trypact.v1 import initiator_pb2

Reply = initiator_pb2.ExecuteResponse | Failure

PATH = "/trypact.v1.TransactionService/ExecuteStream"
# What an item's id, time-out and lengths take beside its request.
_ITEM_BYTES = 24
# A request above this travels alone: if the coordinator finds it too large, that ends nothing else.
REQUEST_BYTES_MAX = BATCH_BYTES_MAX
# What a stream may end with that is true of each of its requests as well.
_OF_THE_STREAM = ("UNAVAILABLE", "UNIMPLEMENTED")
_STATUS_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}


class ExecuteStream:
    """Requests on their way over one stream, from its opening to its end.

    Args:
        open_stream: starts the ExecuteStream method.
        ended: called once when the stream has ended, before those who wait are told why.
    """

    def __init__(self, open_stream: Callable[[], Any], ended: Callable[[Failure], None]) -> None:
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._ids = count(1)
        self._outbox: Outbox[initiator_pb2.ExecuteStreamRequest.Item] = Outbox()
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._task = self._loop.create_task(self._run(open_stream()))

    async def ask(self, request: initiator_pb2.ExecuteRequest, timeout: float) -> Reply:
        """Send a request with whatever else is ready; return its reply within the time-out."""
        id_ = next(self._ids)
        future = self._waiting[id_] = self._loop.create_future()
        item = initiator_pb2.ExecuteStreamRequest.Item(
            id=id_, request=request, timeout_ms=max(1, round(timeout * 1000))
        )
        self._outbox.put(item, item.ByteSize() + _ITEM_BYTES)
        late = self._loop.call_later(timeout, self._settle, id_, _LATE)
        try:
            reply: Reply = await future
            return reply
        finally:
            late.cancel()
            self._waiting.pop(id_, None)

    async def close(self) -> None:
        """End the stream; whoever still waits is told so."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self, stream: Any) -> None:
        writing = self._loop.create_task(self._write(stream))
        failure = Failure("UNAVAILABLE", "the coordinator ended the stream")
        try:
            while (response := await stream.read()) is not EOF:
                for item in response.items:
                    self._settle(item.id, _reply(item))
            code = await stream.code()
            if code is not grpc.StatusCode.OK:
                metadata = await stream.trailing_metadata()
                failure = _failure(code, await stream.details(), metadata)
        except grpc.aio.AioRpcError as error:
            failure = _failure(error.code(), error.details(), error.trailing_metadata())
        except asyncio.CancelledError:
            failure = Failure("CANCELLED", "the client was closed")
            stream.cancel()
        finally:
            writing.cancel()
            self._ended(failure)
            for id_ in list(self._waiting):
                self._settle(id_, failure)

    async def _write(self, stream: Any) -> None:
        try:
            async for items in self._outbox:
                await stream.write(initiator_pb2.ExecuteStreamRequest(items=items))
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # the stream has ended, which the reader is told too, with the reason

    def _settle(self, id_: int, reply: Reply) -> None:
        future = self._waiting.get(id_)
        if future is not None and not future.done():
            future.set_result(reply)


_LATE = Failure("DEADLINE_EXCEEDED", "no answer in time")


def _reply(item: initiator_pb2.ExecuteStreamResponse.Item) -> Reply:
    if item.HasField("response"):
        return item.response
    try:
        status = status_pb2.Status.FromString(item.status)
    except DecodeError:
        return Failure("INTERNAL", "the coordinator sent a status that cannot be read")
    details = (("grpc-status-details-bin", item.status),)
    return failure_of(_STATUS_NAMES.get(status.code, "UNKNOWN"), status.message, details)


def _failure(code: grpc.StatusCode, details: str | None, metadata: Any) -> Failure:
    """Say why a stream ended, to those whose request had no reply: it may have begun all the same.

    A refusal of the stream (a message too large) is none of theirs, so to them it broke.
    """
    if code.name not in _OF_THE_STREAM:
        return Failure("UNAVAILABLE", f"the stream broke: {code.name}: {details or 'no details'}")
    pairs = cast("Iterable[tuple[str, str | bytes]]", metadata or ())
    return failure_of(code.name, details, pairs)
