"""ExecuteStream: many transactions over one stream, each answered when it has ended."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from google.rpc import code_pb2, status_pb2
from trypact.v1 import initiator_pb2

from trypact_coordinator.outbox import Outbox
from trypact_coordinator.server.errors import EXECUTE_STREAM, status_bytes

Execute = Callable[[initiator_pb2.ExecuteRequest], Awaitable[initiator_pb2.ExecuteResponse]]

# Requests of one stream without a reply, above which it is not read any further.
REQUESTS_MAX = 8192

_LATE: bytes = status_pb2.Status(
    code=code_pb2.DEADLINE_EXCEEDED, message="It has not ended within the time its initiator gave."
).SerializeToString()


class ExecuteStream:
    """One initiator's stream.

    Args:
        execute: answers one request, as Execute does.
    """

    def __init__(self, execute: Execute) -> None:
        self._execute = execute
        self._outbox: Outbox[initiator_pb2.ExecuteStreamResponse.Item] = Outbox()
        self._running: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(REQUESTS_MAX)

    async def serve(
        self, requests: AsyncIterator[initiator_pb2.ExecuteStreamRequest]
    ) -> AsyncIterator[initiator_pb2.ExecuteStreamResponse]:
        """Yield batches of replies until the initiator has closed and all are answered.

        When the initiator vanishes its transactions go on; only nobody is told.
        """
        reading = asyncio.create_task(self._read(requests))
        try:
            async for items in self._outbox:
                yield initiator_pb2.ExecuteStreamResponse(items=items)
                # Only now, so that an initiator that does not read is not read from either.
                for _ in items:
                    self._room.release()
            await reading
        finally:
            for task in (reading, *self._running):
                task.cancel()

    async def _read(self, requests: AsyncIterator[initiator_pb2.ExecuteStreamRequest]) -> None:
        try:
            async for batch in requests:
                for item in batch.items:
                    await self._room.acquire()
                    task = asyncio.create_task(self._answer(item))
                    self._running.add(task)
                    task.add_done_callback(self._running.discard)
            if self._running:
                await asyncio.wait(self._running)
        finally:
            self._outbox.close()

    async def _answer(self, item: initiator_pb2.ExecuteStreamRequest.Item) -> None:
        reply = initiator_pb2.ExecuteStreamResponse.Item(id=item.id)
        patience = item.timeout_ms / 1000 if item.timeout_ms > 0 else None
        try:
            async with asyncio.timeout(patience):
                reply.response.CopyFrom(await self._execute(item.request))
        except TimeoutError:
            reply.status = _LATE
        except Exception as error:  # becomes the status that Execute would have ended with
            reply.status = status_bytes(EXECUTE_STREAM, error)
        self._outbox.put(reply, reply.ByteSize())
