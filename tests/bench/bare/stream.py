"""One side of a batched stream: whatever is ready at a turn of the loop leaves as one message.

Messages are MessagePack lists on gRPC streams of plain bytes; nothing is validated.
"""

import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc
import grpc.aio
import msgspec
import uvloop

# [number of the transaction at the client, xid, [[branch, action, payload], ...]]
Order = tuple[int, str, list[tuple[str, str, bytes]]]
# [key, xid, branch, action, payload]; the key is `number << 4 | index << 1 | confirm`.
Call = tuple[int, str, str, str, bytes]
# [key, answer]
Answer = tuple[int, bytes]
# [number of the transaction at the client, state]
Outcome = tuple[int, int]

ORDERS = msgspec.msgpack.Decoder(list[Order])
CALLS = msgspec.msgpack.Decoder(list[Call])
ANSWERS = msgspec.msgpack.Decoder(list[Answer])
OUTCOMES = msgspec.msgpack.Decoder(list[Outcome])
ENCODER = msgspec.msgpack.Encoder()

METHOD = "/bare.Bare/Drive"
BATCH_MAX = 512

Write = Callable[[bytes], Awaitable[None]]
ItemT = TypeVar("ItemT")


class Outgoing:
    """Items on their way out of a stream."""

    def __init__(self) -> None:
        self._items: list[Any] = []
        self._wake: asyncio.Future[None] | None = None

    def put(self, item: Any) -> None:
        """Send an item with whatever else is ready."""
        self._items.append(item)
        if self._wake is not None:
            self._wake.set_result(None)
            self._wake = None

    async def run(self, write: Write) -> None:
        """Write batches until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            if not self._items:
                self._wake = loop.create_future()
                await self._wake
            items, self._items = self._items, []
            for start in range(0, len(items), BATCH_MAX):
                await write(ENCODER.encode(items[start : start + BATCH_MAX]))


async def serve(attend: Callable[[Any], Awaitable[None]]) -> None:
    """Serve the one method on a free port until the process is killed."""

    async def drive(_: Any, context: Any) -> None:
        await attend(context)

    handler = grpc.stream_stream_rpc_method_handler(drive)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("bare.Bare", {"Drive": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stderr.write(f"listening on 127.0.0.1:{port}\n")
    await server.wait_for_termination()


def open_stream(channel: Any) -> Any:
    """Open the one method."""
    return channel.stream_stream(METHOD)()


def run(main: Any) -> Any:
    """Run a coroutine as the product's processes do: uvloop, and garbage collected rarely."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)
