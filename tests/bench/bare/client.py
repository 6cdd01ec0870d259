"""The bare loop's client: what `trypact.Client.execute` is to the product."""

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

import grpc.aio
from grpc.aio import EOF  # type: ignore[attr-defined]

from tests.bench.bare.stream import Outgoing, open_stream
from tests.bench.bare.wire import WIRES, Branch


class BareClient:
    """Sends orders over one stream; use as an async context."""

    def __init__(self, coordinator: str, wire: str) -> None:
        self._channel = grpc.aio.insecure_channel(coordinator)
        self._wire = WIRES[wire]
        self._outgoing = Outgoing(self._wire.write_orders)
        self._waiting: dict[int, asyncio.Future[bool]] = {}
        self._numbers = itertools.count(1)
        self._loop = asyncio.get_running_loop()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "BareClient":
        stream = open_stream(self._channel)
        self._tasks = [
            self._loop.create_task(self._outgoing.run(stream.write)),
            self._loop.create_task(self._read(stream)),
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._channel.close(None)

    def execute(self, xid: str, branches: Sequence[Branch]) -> "asyncio.Future[bool]":
        """Run a transaction; the future is done when all its branches are."""
        number = next(self._numbers)
        future = self._waiting[number] = self._loop.create_future()
        self._outgoing.put((number, xid, branches))
        return future

    async def _read(self, stream: Any) -> None:
        try:
            while (data := await stream.read()) is not EOF:
                for number, confirmed in self._wire.read_outcomes(data):
                    self._waiting.pop(number).set_result(confirmed)
        finally:
            for future in self._waiting.values():
                future.cancel()
