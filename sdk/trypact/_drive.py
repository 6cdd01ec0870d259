"""Drive: many calls of the coordinator over one stream, each answered when it is done."""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import NamedTuple

import grpc

from trypact._departures import Departures
from trypact.kinds import Operation, from_wire
from trypact.limits import shortened
from trypact.v1 import participant_pb2, transaction_pb2

# Calls of one stream without an answer, above which it is not read any further.
CALLS_MAX = 1024


class CallFailed(NamedTuple):
    """Why a call has no answer: what a unary call fails with. To the coordinator it is unknown."""

    status: grpc.StatusCode
    message: str


Reply = Callable[[transaction_pb2.Answer | CallFailed], None]
# Takes a call, its operation and decision, and what is to be told its answer, exactly once.
Attend = Callable[[participant_pb2.BranchCall, Operation, int, Reply], None]


class Drive:
    """One coordinator's stream.

    Args:
        attend: has one call answered.
    """

    def __init__(self, attend: Attend) -> None:
        self._attend = attend
        self._departures: Departures[participant_pb2.DriveResponse.Item] = Departures()
        # Calls without an answer, and calls whose answer has not left yet either.
        self._open = 0
        self._within = 0
        self._changed = asyncio.Event()
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
            async for items in self._departures:
                yield participant_pb2.DriveResponse(items=items)
                # Only now, so that a coordinator that does not read is not read from either.
                self._within -= len(items)
                self._changed.set()
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
            while self._open:
                await self._change()
        finally:
            beginning.cancel()
            finishing.cancel()
            self._departures.close()

    async def _begin(self, requests: AsyncIterator[participant_pb2.DriveRequest]) -> None:
        async for batch in requests:
            for item in batch.items:
                while self._within >= CALLS_MAX:
                    await self._change()
                self._ask(item)

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _ask(self, item: participant_pb2.DriveRequest.Item) -> None:
        self._within += 1
        self._open += 1
        reply = partial(self._reply, item)
        operation = from_wire(Operation, item.operation)
        if operation is None:
            status = grpc.StatusCode.INVALID_ARGUMENT
            reply(CallFailed(status, "operation is missing"))
        else:
            self._attend(item.call, operation, item.decision, reply)

    def _reply(
        self,
        item: participant_pb2.DriveRequest.Item,
        answer: transaction_pb2.Answer | CallFailed,
    ) -> None:
        call = item.call
        reply = participant_pb2.DriveResponse.Item(
            xid=call.xid,
            branch_id=call.branch_id,
            operation=item.operation,
            attempt=call.attempt,
        )
        if isinstance(answer, CallFailed):
            reply.error = shortened(f"{answer.status.name}: {answer.message}")
        else:
            reply.answer.CopyFrom(answer)
        self._departures.put(reply, reply.ByteSize())
        self._open -= 1
        if not self._open:
            self._changed.set()
