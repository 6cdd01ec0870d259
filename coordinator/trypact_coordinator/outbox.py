"""Items on their way out of a stream: whatever is ready at a turn of the loop leaves together.

There is no timer and no waiting for company. A batch is bounded by count and by bytes, well under
what gRPC takes as one message; what is left over is the next batch.
"""

import asyncio
from collections.abc import Callable
from itertools import accumulate, compress
from typing import Generic, TypeVar

BATCH_ITEMS_MAX = 256
BATCH_BYTES_MAX = 1024 * 1024


ItemT = TypeVar("ItemT")


class Outbox(Generic[ItemT]):
    """Collects items for one writer, which iterates over their batches."""

    def __init__(self) -> None:
        self._items: list[ItemT] = []
        self._sizes: list[int] = []
        self._bytes = 0
        # What the writer waits for while there is nothing to write.
        self._waker: asyncio.Future[None] | None = None
        self._closed = False

    def __len__(self) -> int:
        """Return how many items have not left."""
        return len(self._items)

    def put(self, item: ItemT, size_bytes: int) -> None:
        """Send an item of about that many bytes with whatever else is ready."""
        self._items.append(item)
        self._sizes.append(size_bytes)
        self._bytes += size_bytes
        if self._waker is not None:
            self._wake(self._waker)

    def drop(self, unwanted: Callable[[ItemT], bool]) -> None:
        """Forget items that have not left yet."""
        kept = [not unwanted(item) for item in self._items]
        self._items = list(compress(self._items, kept))
        self._sizes = list(compress(self._sizes, kept))
        self._bytes = sum(self._sizes)

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
        fit = len(self._items)
        if fit > BATCH_ITEMS_MAX or self._bytes > BATCH_BYTES_MAX:
            fit = self._fit()
        batch, self._items = self._items[:fit], self._items[fit:]
        self._bytes -= sum(self._sizes[:fit])
        del self._sizes[:fit]
        return batch

    def _fit(self) -> int:
        """Return how many of the items make one batch: at least one, however large it is."""
        up_to = accumulate(self._sizes[:BATCH_ITEMS_MAX])
        return max(1, sum(size_bytes <= BATCH_BYTES_MAX for size_bytes in up_to))

    def _wake(self, waker: asyncio.Future[None]) -> None:
        self._waker = None
        if not waker.done():
            waker.set_result(None)
