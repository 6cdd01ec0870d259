"""Items on their way out of a stream: whatever is ready at a turn of the loop leaves together."""

import asyncio
from collections import deque
from typing import Generic, Self, TypeVar

ItemT = TypeVar("ItemT")

# Well under what gRPC takes as one message by default, 4 MiB.
BATCH_ITEMS_MAX = 256
BATCH_BYTES_MAX = 1024 * 1024


class Outbox(Generic[ItemT]):
    """Collects items for one writer, which iterates over their batches.

    There is no timer and no waiting for company; what does not fit is the next batch.
    """

    def __init__(self) -> None:
        self._items: deque[tuple[ItemT, int]] = deque()
        self._ready = asyncio.Event()
        self._closed = False

    def put(self, item: ItemT, size_bytes: int) -> None:
        """Send an item of about that many bytes with whatever else is ready."""
        self._items.append((item, size_bytes))
        self._ready.set()

    def close(self) -> None:
        """End the iteration once everything before has left."""
        self._closed = True
        self._ready.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[ItemT]:
        while not self._items:
            if self._closed:
                raise StopAsyncIteration
            self._ready.clear()
            await self._ready.wait()
        item, size_bytes = self._items.popleft()
        batch = [item]
        while self._items and len(batch) < BATCH_ITEMS_MAX:
            size_bytes += self._items[0][1]
            if size_bytes > BATCH_BYTES_MAX:
                break
            batch.append(self._items.popleft()[0])
        return batch
