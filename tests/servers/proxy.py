"""A TCP proxy that loses what it is told to lose: requests, or the replies to them.

A cut connection is reset for the client, while the server keeps its half and does not notice: the
worst case for whoever waits for the reply to a COMMIT.
"""

import asyncio
from enum import Enum


class Cut(Enum):
    """What the proxy does with the next bytes that a client sends."""

    NOTHING = 0
    # They never arrive.
    REQUEST = 1
    # They arrive, and the reply never comes back.
    REPLY = 2


class Proxy:
    """Forwards connections on a port of its own to another; use as an async context."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._server: asyncio.Server | None = None
        self._halves: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.cut = Cut.NOTHING
        # Only bytes with this in them are cut.
        self.marker = b""
        # How often something was cut.
        self.cuts = 0
        self.port = 0

    async def __aenter__(self) -> "Proxy":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        self.hang_up()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def url(self, url: str) -> str:
        """Return an address of the target's, led through this proxy."""
        return url.replace(f":{self._target}", f":{self.port}")

    def hang_up(self) -> None:
        """End all connections, so that the server notices too."""
        for half in self._halves:
            half.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection("127.0.0.1", self._target)
        self._halves += [writer, ours]
        for pump in (self._forward(reader, writer, ours), self._back(theirs, writer)):
            task = asyncio.create_task(pump)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forward(
        self, client: asyncio.StreamReader, back: asyncio.StreamWriter, to: asyncio.StreamWriter
    ) -> None:
        while data := await client.read(1 << 16):
            cut = Cut.NOTHING
            if self.marker in data:
                cut, self.cut = self.cut, Cut.NOTHING
            if cut is not Cut.REQUEST:
                to.write(data)
                await to.drain()
            if cut is not Cut.NOTHING:
                self.cuts += 1
                back.transport.abort()
                return
        to.close()

    async def _back(self, server: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        while data := await server.read(1 << 16):
            if not to.is_closing():
                to.write(data)
        to.close()
