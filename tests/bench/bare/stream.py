"""One side of a batched stream: whatever is ready at a turn of the loop leaves as one message."""

import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

import grpc
import grpc.aio
import uvloop

METHOD = "/bare.Bare/Drive"
BATCH_MAX = 512

ResultT = TypeVar("ResultT")


class Outgoing:
    """Items on their way out of a stream.

    Args:
        encode: makes a message of them.
    """

    def __init__(self, encode: Callable[[Sequence[Any]], bytes]) -> None:
        self._encode = encode
        self._items: list[Any] = []
        self._wake: asyncio.Future[None] | None = None

    def put(self, item: Any) -> None:
        """Send an item with whatever else is ready."""
        self._items.append(item)
        if self._wake is not None:
            self._wake.set_result(None)
            self._wake = None

    async def run(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Write batches until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            if not self._items:
                self._wake = loop.create_future()
                await self._wake
            items, self._items = self._items, []
            for start in range(0, len(items), BATCH_MAX):
                await write(self._encode(items[start : start + BATCH_MAX]))


async def serve(attend: Callable[[Any], Awaitable[None]]) -> None:
    """Serve the one method, as bytes, on a free port until the process is killed."""

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


def run(main: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Run a coroutine as the product's processes do: uvloop, and garbage collected rarely."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)
