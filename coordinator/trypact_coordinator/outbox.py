"""Items on their way out of a stream: whatever is ready at a turn of the loop leaves together.

There is no timer and no waiting for company. A batch is bounded by count and by bytes, well under
what gRPC takes as one message; what is left over is the next batch.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

BATCH_ITEMS_MAX = 256
BATCH_BYTES_MAX = 1024 * 1024


ItemT = TypeVar("ItemT")


class Outbox(Generic[ItemT]):
    """Collects items for one writer, which iterates over their batches."""

    def __init__(self) -> None:
        self._items: deque[tuple[ItemT, int]] = deque()
        # What the writer waits for while there is nothing to write.
        self._waker: asyncio.Future[None] | None = None
        self._closed = False

    def put(self, item: ItemT, size_bytes: int) -> None:
        """Send an item of about that many bytes with whatever else is ready."""
        self._items.append((item, size_bytes))
        if self._waker is not None:
            self._wake(self._waker)

    def drop(self, unwanted: Callable[[ItemT], bool]) -> None:
        """Forget items that have not left yet."""
        self._items = deque(kept for kept in self._items if not unwanted(kept[0]))

    def close(self) -> None:
        """End the iteration once everything before has left."""
        self._closed = True
        if self._waker is not None:
            self._wake(self._waker)

    def __aiter__(self) -> "Outbox[ItemT]":
        return self

    async def __anext__(self) -> list[ItemT]:
        while not self._items:
            if self._closed:
                raise StopAsyncIteration
            self._waker = asyncio.get_running_loop().create_future()
            await self._waker
        items = self._items
        item, size_bytes = items.popleft()
        batch = [item]
        while items and len(batch) < BATCH_ITEMS_MAX:
            size_bytes += items[0][1]
            if size_bytes > BATCH_BYTES_MAX:
                break
            batch.append(items.popleft()[0])
        return batch

    def _wake(self, waker: asyncio.Future[None]) -> None:
        self._waker = None
        if not waker.done():
            waker.set_result(None)
