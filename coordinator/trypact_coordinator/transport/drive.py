"""One batched stream to one participant: many calls in one message, many answers in another.

A unary call costs each side tens of microseconds, a call in a batch a few. Answers are matched to
their calls by key, in whatever order they come.
"""

import asyncio
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc.aio import EOF  # type: ignore[attr-defined]
from trypact.v1 import participant_pb2

from trypact_coordinator.core import limits
from trypact_coordinator.core.events import Unknown
from trypact_coordinator.core.outcome import Call
from trypact_coordinator.outbox import Outbox
from trypact_coordinator.ports import Done
from trypact_coordinator.text import shorten
from trypact_coordinator.transport import wire

Key = tuple[str, str, int, int]
# A call on its way, who takes its answer, and when its time-out has passed, by the loop's clock.
Sent = tuple[Call, Done, float]

# Time-outs are looked at this often, those of all calls together: that costs less than to note
# one down for each call and to strike it out again.
_LOOK_EVERY_SECONDS = 0.05
# About what a call takes on the wire beside its payload.
_CALL_BYTES = 256


class DriveStream:
    """Calls on their way over one stream, from its opening to its end."""

    def __init__(self) -> None:
        self._outbox: Outbox[Sent] = Outbox()
        self._waiting: dict[Key, Sent] = {}
        self._loop = asyncio.get_running_loop()
        self._look_handle: asyncio.TimerHandle | None = None
        # Anything at all came back.
        self.heard = False

    def __len__(self) -> int:
        """Return how many calls have no answer yet."""
        return len(self._waiting)

    def send(self, call: Call, done: Done, now: float) -> None:
        """Send a call with whatever else is ready; `now` is by the loop's clock."""
        branch = call.branch
        key = (call.xid, branch.id, call.operation, call.attempt)
        if key in self._waiting:
            # Only a transaction that was reloaded sends the same call again.
            earlier, taker, _ = self._waiting[key]
            again = Unknown("ABORTED: the same call was sent again")
            self._loop.call_soon(taker, earlier, again)
        sent = self._waiting[key] = (call, done, now + call.timeout_ms / 1000)
        self._outbox.put(sent, len(branch.payload) + _CALL_BYTES)
        if self._look_handle is None:
            self._look_handle = self._loop.call_later(_LOOK_EVERY_SECONDS, self._look)

    async def run(self, stream: Any) -> tuple[grpc.StatusCode, Unknown]:
        """Carry calls and answers until the stream ends; return its status, and that in words.

        Whoever called takes the calls that have no answer, with `give_up` or `abandon`.
        """
        writing = self._loop.create_task(self._write(stream))
        try:
            while (data := await stream.read()) is not EOF:
                self.heard = True
                if (response := _read(data)) is None:
                    stream.cancel()
                    why = f"DATA_LOSS: {len(data)} bytes that are no DriveResponse"
                    return grpc.StatusCode.DATA_LOSS, Unknown(why)
                for item in response.items:
                    self._take(item)
            code, details = await stream.code(), await stream.details()
        except grpc.aio.AioRpcError as error:
            code, details = error.code(), error.details()
        finally:
            writing.cancel()
        if code is grpc.StatusCode.OK:
            return code, Unknown("UNAVAILABLE: the participant ended the stream")
        return code, wire.failed(code, details)

    def give_up(self, answer: Unknown) -> None:
        """Answer every call that has no answer yet."""
        for call, done in self.abandon():
            done(call, answer)

    def abandon(self) -> list[tuple[Call, Done]]:
        """Return every call that has no answer yet, and forget them."""
        if self._look_handle is not None:
            self._look_handle.cancel()
            self._look_handle = None
        calls = [(call, done) for call, done, _ in self._waiting.values()]
        self._waiting.clear()
        return calls

    async def _write(self, stream: Any) -> None:
        try:
            async for batch in self._outbox:
                now = self._loop.time()
                # A call whose time-out passed before its turn came is not sent at all.
                timely = [call for call, _, due_at in batch if due_at > now]
                if timely:
                    await stream.write(wire.drive_request(timely))
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # the stream has ended, which the reader is told too, with the reason

    def _take(self, item: participant_pb2.DriveResponse.Item) -> None:
        key = (item.xid, item.branch_id, item.operation, item.attempt)
        sent = self._waiting.pop(key, None)
        if sent is None:
            return  # its time-out has passed
        call, done, _ = sent
        answer = wire.decode(item.answer)
        if answer is wire.EMPTY_ANSWER and item.error:
            answer = Unknown(shorten(item.error, limits.REASON_BYTES_MAX))
        done(call, answer)

    def _look(self) -> None:
        """Answer the calls whose time-out has passed."""
        self._look_handle = None
        now = self._loop.time()
        late = [key for key, (_, _, due_at) in self._waiting.items() if due_at <= now]
        if late:
            # Before anything new is sent: a participant that does not read must not collect them.
            self._outbox.drop(lambda sent: sent[2] <= now)
        for key in late:
            call, done, _ = self._waiting.pop(key)
            done(call, Unknown("DEADLINE_EXCEEDED: no answer within the call's time-out"))
        if self._waiting and self._look_handle is None:
            self._look_handle = self._loop.call_later(_LOOK_EVERY_SECONDS, self._look)


def _read(data: bytes) -> participant_pb2.DriveResponse | None:
    try:
        return participant_pb2.DriveResponse.FromString(data)
    except DecodeError:
        return None
