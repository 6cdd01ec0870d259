"""The batched stream to the coordinator: many requests in one message, many replies in another.

A unary call costs each side tens of microseconds, a request in a batch a few. Replies are matched
to their requests by id, in whatever order they come. When the stream breaks, every request without
a reply fails with the reason, which makes its outcome unknown: it is asked again by its xid. What
waits for a coordinator that does not read is bounded, and is never sent after its time.
"""

import asyncio
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any, NamedTuple, cast

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message
from google.rpc import status_pb2
from grpc.aio import EOF  # type: ignore[attr-defined]

from trypact._departures import BATCH_BYTES_MAX, Departures
from trypact._exchange import CLOSED_MEANWHILE, Failure, failure_of
from trypact.v1 import initiator_pb2

Reply = Message | Failure

# What travels over the stream, and the field it stands in.
STREAMED: dict[type[Message], str] = {
    initiator_pb2.ExecuteRequest: "execute",
    initiator_pb2.BeginRequest: "begin",
    initiator_pb2.TransactionServiceTryRequest: "try_branch",
    initiator_pb2.CommitRequest: "commit",
    initiator_pb2.RollbackRequest: "rollback",
}
PATH = "/trypact.v1.TransactionService/ExecuteStream"
# Time-outs that end close together are looked at together.
_LOOKS_APART_S = 0.01
# A request above this travels alone: if the coordinator finds it too large, that ends nothing else.
REQUEST_BYTES_MAX = BATCH_BYTES_MAX
# Of requests that have not left; above this, new ones are not taken.
UNSENT_BYTES_MAX = 64 * 1024 * 1024
# What a stream may end with that is true of each of its requests as well.
_OF_THE_STREAM = ("UNAVAILABLE", "UNIMPLEMENTED")
_STATUS_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}


class _Asked(NamedTuple):
    """A request without a reply."""

    future: "asyncio.Future[Reply]"
    # By the loop's clock.
    late_at: float
    # Among the departures.
    place: int


class ExecuteStream:
    """Requests on their way over one stream, from its opening to its end.

    Args:
        open_stream: starts the ExecuteStream method, with its messages as bytes.
        ended: called once when the stream has ended, before those who wait are told why.
    """

    def __init__(self, open_stream: Callable[[], Any], ended: Callable[[Failure], None]) -> None:
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._ids = count(1)
        self._departures: Departures[tuple[int, bytes]] = Departures()
        # Who waits for the reply to an id.
        self._waiting: dict[int, _Asked] = {}
        # One timer for all time-outs: almost every reply comes long before its own.
        self._timer: asyncio.TimerHandle | None = None
        self._failure = CLOSED_MEANWHILE
        self._task = self._loop.create_task(self._run(open_stream()))
        # Also of a task that is cancelled before it has begun.
        self._task.add_done_callback(self._finish)

    def ask(self, request: Message, timeout: float) -> "asyncio.Future[Reply]":
        """Send a request with whatever else is ready; its reply comes within the time-out.

        The reply is UNAVAILABLE at once where too much waits for the coordinator to read it.
        """
        id_, future = next(self._ids), self._loop.create_future()
        if self._departures.size_bytes > UNSENT_BYTES_MAX:
            future.set_result(_FULL)
            return future
        data = _batch_of_one(id_, request, timeout)
        late_at = self._loop.time() + timeout
        place = self._departures.put((id_, data), len(data))
        self._waiting[id_] = _Asked(future, late_at, place)
        if self._timer is None or late_at < self._timer.when():
            self._look_at(late_at)
        return future

    async def close(self) -> None:
        """End the stream; whoever still waits is told so."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self, stream: Any) -> None:
        writing = self._loop.create_task(self._write(stream))
        self._failure = Failure("UNAVAILABLE", "the coordinator ended the stream")
        try:
            while (data := await stream.read()) is not EOF:
                for item in initiator_pb2.ExecuteStreamResponse.FromString(data).items:
                    self._settle(item.id, _reply(item))
            code = await stream.code()
            if code is not grpc.StatusCode.OK:
                metadata = await stream.trailing_metadata()
                self._failure = _failure(code, await stream.details(), metadata)
        except grpc.aio.AioRpcError as error:
            self._failure = _failure(error.code(), error.details(), error.trailing_metadata())
        except DecodeError:
            self._failure = Failure("DATA_LOSS", "the coordinator sent replies that cannot be read")
            stream.cancel()
        except asyncio.CancelledError:
            self._failure = CLOSED_MEANWHILE
            stream.cancel()
        finally:
            writing.cancel()

    def _finish(self, _: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._ended(self._failure)
        for id_ in list(self._waiting):
            self._settle(id_, self._failure)

    async def _write(self, stream: Any) -> None:
        try:
            async for batch in self._departures:
                if data := b"".join(data for id_, data in batch if self._is_awaited(id_)):
                    await stream.write(data)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # the stream has ended, which the reader is told too, with the reason

    def _settle(self, id_: int, reply: Reply) -> None:
        asked = self._waiting.pop(id_, None)
        if asked is None:
            return
        self._departures.withdraw(asked.place)
        # One whose caller was cancelled is done, and waits for nothing.
        if not asked.future.done():
            asked.future.set_result(reply)

    def _is_awaited(self, id_: int) -> bool:
        asked = self._waiting.get(id_)
        return asked is not None and not asked.future.done()

    def _look_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._look)

    def _look(self) -> None:
        """Settle what is late; look again when the next may be."""
        self._timer = None
        now = self._loop.time()
        for id_ in [id_ for id_, asked in self._waiting.items() if asked.late_at <= now]:
            self._settle(id_, _LATE)
        if self._waiting:
            earliest = min(asked.late_at for asked in self._waiting.values())
            self._look_at(max(earliest, now + _LOOKS_APART_S))


_LATE = Failure("DEADLINE_EXCEEDED", "no answer in time")
_FULL = Failure("UNAVAILABLE", "too many requests wait for the coordinator to read them")


def _batch_of_one(id_: int, request: Message, timeout: float) -> bytes:
    """Write a request as a message of its own, which joined to others is one of them all.

    Encoded messages in a row are one message with the items of each:
    https://protobuf.dev/programming-guides/encoding/#last-one-wins
    """
    batch = initiator_pb2.ExecuteStreamRequest()
    item = batch.items.add(id=id_, timeout_ms=max(1, round(timeout * 1000)))
    getattr(item, STREAMED[type(request)]).CopyFrom(request)
    return batch.SerializeToString()


def _reply(item: initiator_pb2.ExecuteStreamResponse.Item) -> Reply:
    field = item.WhichOneof("reply")
    if field not in (None, "status"):
        reply: Message = getattr(item, field)
        return reply
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
