"""What becomes of requests while the coordinator does not read its stream."""

import asyncio
from typing import Any

import pytest
from grpc.aio import EOF  # type: ignore[attr-defined]
from trypact import _execute_stream
from trypact._departures import Departures
from trypact._exchange import Failure
from trypact._execute_stream import ExecuteStream
from trypact.v1 import initiator_pb2

FOR_LONG_S = 60.0


class Unread:
    """A gRPC stream whose other end reads nothing until `read_on` is set, and never replies."""

    def __init__(self) -> None:
        self.writing = asyncio.Event()
        self.read_on = asyncio.Event()
        self.xids: list[str] = []
        self.written = asyncio.Condition()

    async def read(self) -> Any:
        await asyncio.Event().wait()
        return EOF

    async def write(self, data: bytes) -> None:
        self.writing.set()
        await self.read_on.wait()
        items = initiator_pb2.ExecuteStreamRequest.FromString(data).items
        async with self.written:
            self.xids.extend(item.execute.begin.xid for item in items)
            self.written.notify_all()

    async def has_read(self, xid: str) -> None:
        async with self.written:
            await self.written.wait_for(lambda: xid in self.xids)

    def cancel(self) -> None:
        pass


def request(xid: str) -> initiator_pb2.ExecuteRequest:
    return initiator_pb2.ExecuteRequest(begin=initiator_pb2.Begin(xid=xid))


async def test_what_nobody_waits_for_any_more_is_never_sent() -> None:
    unread = Unread()
    stream = ExecuteStream(lambda: unread, ended=lambda failure: None)
    stream.ask(request("in the writer's hand"), FOR_LONG_S)
    await unread.writing.wait()
    late = [stream.ask(request(f"late {number}"), 0.001) for number in range(1000)]
    cancelled = stream.ask(request("cancelled"), FOR_LONG_S)
    cancelled.cancel()
    stream.ask(request("awaited"), FOR_LONG_S)

    replies = await asyncio.gather(*late)
    unread.read_on.set()
    await unread.has_read("awaited")

    assert {reply.status for reply in replies if isinstance(reply, Failure)} == {
        "DEADLINE_EXCEEDED"
    }
    assert unread.xids == ["in the writer's hand", "awaited"]
    await stream.close()


async def test_above_its_bound_nothing_more_is_taken_until_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_execute_stream, "UNSENT_BYTES_MAX", 100)
    unread = Unread()
    stream = ExecuteStream(lambda: unread, ended=lambda failure: None)
    stream.ask(request("in the writer's hand"), FOR_LONG_S)
    await unread.writing.wait()
    short = stream.ask(request("x" * 200), 0.001)

    refused = await stream.ask(request("refused"), FOR_LONG_S)
    await short
    stream.ask(request("taken"), FOR_LONG_S)
    unread.read_on.set()
    await unread.has_read("taken")

    assert isinstance(refused, Failure)
    assert refused.status == "UNAVAILABLE"
    assert "refused" not in unread.xids
    await stream.close()


async def test_departures_know_what_has_not_left() -> None:
    departures: Departures[str] = Departures()
    first, second, _ = departures.put("a", 1), departures.put("b", 10), departures.put("c", 100)
    departures.withdraw(second)
    assert departures.size_bytes == 101

    assert await anext(departures) == ["a", "c"]
    departures.withdraw(first)
    assert departures.size_bytes == 0


async def test_what_does_not_fit_keeps_its_place_in_the_next_batch() -> None:
    departures: Departures[str] = Departures()
    for item, size_bytes in (("a", 600_000), ("b", 600_000), ("c", 1)):
        departures.put(item, size_bytes)

    assert [await anext(departures), await anext(departures)] == [["a"], ["b", "c"]]
