"""One batched stream to one participant: many calls in one message, many answers in another.

A unary call costs each side tens of microseconds, a call in a batch a few. Answers are matched to
their calls by key, in whatever order they come.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc.aio import EOF  # type: ignore[attr-defined]
from trypact.v1 import participant_pb2

from trypact_coordinator.alarms import Alarms
from trypact_coordinator.core import limits
from trypact_coordinator.core.events import Answer, Unknown
from trypact_coordinator.core.outcome import Call
from trypact_coordinator.outbox import Outbox
from trypact_coordinator.text import shorten
from trypact_coordinator.transport import wire

Done = Callable[[Answer], None]
Key = tuple[str, str, int, int]

# About what a call takes on the wire beside its payload.
_CALL_BYTES = 256


class DriveStream:
    """Calls on their way over one stream, from its opening to its end."""

    def __init__(self) -> None:
        self._outbox: Outbox[tuple[Key, Call]] = Outbox()
        self._waiting: dict[Key, tuple[Call, Done]] = {}
        self._timeouts: Alarms[Key] = Alarms(self._late)
        self._loop = asyncio.get_running_loop()

    def __len__(self) -> int:
        """Return how many calls have no answer yet."""
        return len(self._waiting)

    def send(self, call: Call, done: Done) -> None:
        """Send a call with whatever else is ready."""
        branch = call.branch
        key = (call.xid, branch.id, call.operation, call.attempt)
        earlier = self._waiting.get(key)
        if earlier is not None:
            # Only a transaction that was reloaded sends the same call again.
            self._loop.call_soon(earlier[1], Unknown("ABORTED: the same call was sent again"))
        self._waiting[key] = (call, done)
        self._timeouts.set(key, call.timeout_ms / 1000)
        self._outbox.put((key, call), len(branch.payload) + _CALL_BYTES)

    async def run(self, stream: Any) -> Unknown | None:
        """Carry calls and answers until the stream ends; return why it did.

        None means that the participant serves no Drive, so that nothing was run. Whoever called
        takes the calls that have no answer, with `give_up` or `abandon`.
        """
        writing = self._loop.create_task(self._write(stream))
        try:
            while (data := await stream.read()) is not EOF:
                if (response := _read(data)) is None:
                    stream.cancel()
                    return Unknown(f"DATA_LOSS: {len(data)} bytes that are no DriveResponse")
                for item in response.items:
                    self._take(item)
            code, details = await stream.code(), await stream.details()
        except grpc.aio.AioRpcError as error:
            code, details = error.code(), error.details()
        finally:
            writing.cancel()
        if code is grpc.StatusCode.UNIMPLEMENTED:
            return None
        if code is grpc.StatusCode.OK:
            return Unknown("UNAVAILABLE: the participant ended the stream")
        return wire.failed(code, details)

    def give_up(self, answer: Unknown) -> None:
        """Answer every call that has no answer yet."""
        for _, done in self.abandon():
            done(answer)

    def abandon(self) -> list[tuple[Call, Done]]:
        """Return every call that has no answer yet, and forget them."""
        calls = list(self._waiting.values())
        self._waiting.clear()
        self._timeouts.clear()
        return calls

    async def _write(self, stream: Any) -> None:
        try:
            async for batch in self._outbox:
                # A call whose time-out passed before its turn came is not sent at all.
                timely = [call for key, call in batch if key in self._waiting]
                if timely:
                    await stream.write(wire.drive_request(timely))
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # the stream has ended, which the reader is told too, with the reason

    def _take(self, item: participant_pb2.DriveResponse.Item) -> None:
        key = (item.xid, item.branch_id, item.operation, item.attempt)
        waiting = self._waiting.pop(key, None)
        if waiting is None:
            return  # its time-out has passed
        self._timeouts.cancel(key)
        if item.HasField("answer"):
            waiting[1](wire.decode(item.answer))
        else:
            waiting[1](Unknown(shorten(item.error or wire.EMPTY, limits.REASON_BYTES_MAX)))

    def _late(self, key: Key) -> None:
        _, done = self._waiting.pop(key)
        done(Unknown("DEADLINE_EXCEEDED: no answer within the call's time-out"))


def _read(data: bytes) -> participant_pb2.DriveResponse | None:
    try:
        return participant_pb2.DriveResponse.FromString(data)
    except DecodeError:
        return None
