"""Drive: many calls of the coordinator over one stream, each answered when it is done."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

import grpc

from trypact._outbox import Outbox
from trypact.kinds import Operation, from_wire
from trypact.limits import shortened
from trypact.v1 import participant_pb2, transaction_pb2

logger = logging.getLogger("trypact.participant")

# Calls of one stream without an answer, above which it is not read any further.
CALLS_MAX = 1024


class CallFailed(NamedTuple):
    """Why a call has no answer: what a unary call fails with. To the coordinator it is unknown."""

    status: grpc.StatusCode
    message: str


Attend = Callable[
    [participant_pb2.BranchCall, Operation, int], Awaitable[transaction_pb2.Answer | CallFailed]
]


class Drive:
    """One coordinator's stream.

    Args:
        attend: answers one call.
    """

    def __init__(self, attend: Attend) -> None:
        self._attend = attend
        self._outbox: Outbox[participant_pb2.DriveResponse.Item] = Outbox()
        self._running: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(CALLS_MAX)
        self._finishing = asyncio.Event()

    def finish(self) -> None:
        """Read no more; the stream ends once what has begun is answered."""
        self._finishing.set()

    async def serve(
        self, requests: AsyncIterator[participant_pb2.DriveRequest]
    ) -> AsyncIterator[participant_pb2.DriveResponse]:
        """Yield batches of answers until the coordinator has closed and all are given.

        When it vanishes the calls that have begun still run; their answers are asked for again.
        """
        reading = asyncio.create_task(self._read(requests))
        try:
            async for items in self._outbox:
                yield participant_pb2.DriveResponse(items=items)
                # Only now, so that a coordinator that does not read is not read from either.
                for _ in items:
                    self._room.release()
            await reading
        finally:
            reading.cancel()

    async def _read(self, requests: AsyncIterator[participant_pb2.DriveRequest]) -> None:
        beginning = asyncio.create_task(self._begin(requests))
        finishing = asyncio.create_task(self._finishing.wait())
        try:
            await asyncio.wait((beginning, finishing), return_when=asyncio.FIRST_COMPLETED)
            if beginning.done():
                beginning.result()
            else:
                beginning.cancel()
                await asyncio.wait((beginning,))
            if self._running:
                await asyncio.wait(self._running)
        finally:
            beginning.cancel()
            finishing.cancel()
            self._outbox.close()

    async def _begin(self, requests: AsyncIterator[participant_pb2.DriveRequest]) -> None:
        async for batch in requests:
            for item in batch.items:
                await self._room.acquire()
                task = asyncio.create_task(self._answer(item))
                self._running.add(task)
                task.add_done_callback(self._running.discard)

    async def _answer(self, item: participant_pb2.DriveRequest.Item) -> None:
        call = item.call
        reply = participant_pb2.DriveResponse.Item(
            xid=call.xid,
            branch_id=call.branch_id,
            operation=item.operation,
            attempt=call.attempt,
        )
        operation = from_wire(Operation, item.operation)
        if operation is None:
            reply.error = "INVALID_ARGUMENT: operation is missing"
        else:
            try:
                answer = await self._attend(call, operation, item.decision)
            except Exception as error:  # a call without any reply would keep its room for ever
                logger.exception("a call of %s has no answer", call.xid)
                answer = CallFailed(grpc.StatusCode.INTERNAL, type(error).__name__)
            if isinstance(answer, CallFailed):
                reply.error = shortened(f"{answer.status.name}: {answer.message}")
            else:
                reply.answer.CopyFrom(answer)
        self._outbox.put(reply, reply.ByteSize())
