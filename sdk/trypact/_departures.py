"""Items on their way out of a stream: whatever is ready at a turn of the loop leaves together."""

import asyncio
from collections import OrderedDict
from itertools import count
from typing import Generic, Self, TypeVar

ItemT = TypeVar("ItemT")

# Well under what gRPC takes as one message by default, 4 MiB.
BATCH_ITEMS_MAX = 256
BATCH_BYTES_MAX = 1024 * 1024


class Departures(Generic[ItemT]):
    """Collects items for one writer, which iterates over their batches.

    There is no timer and no waiting for company; what does not fit is the next batch.
    """

    def __init__(self) -> None:
        # By the place each was given: the oldest leaves first, and any can be withdrawn.
        self._items: OrderedDict[int, tuple[ItemT, int]] = OrderedDict()
        self._places = count()
        # Of all items that have not left.
        self.size_bytes = 0
        self._ready = asyncio.Event()
        self._closed = False

    def put(self, item: ItemT, size_bytes: int) -> int:
        """Send an item of about that many bytes with whatever else is ready.

        Returns its place, by which it can be withdrawn.
        """
        place = next(self._places)
        self._items[place] = (item, size_bytes)
        self.size_bytes += size_bytes
        self._ready.set()
        return place

    def withdraw(self, place: int) -> None:
        """Do not send what has this place; harmless when it has left."""
        _, size_bytes = self._items.pop(place, (None, 0))
        self.size_bytes -= size_bytes

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
        _, (item, size_bytes) = self._items.popitem(last=False)
        batch = [item]
        while self._items and len(batch) < BATCH_ITEMS_MAX:
            place, (item, more_bytes) = self._items.popitem(last=False)
            if size_bytes + more_bytes > BATCH_BYTES_MAX:
                self._items[place] = (item, more_bytes)
                self._items.move_to_end(place, last=False)
                break
            size_bytes += more_bytes
            batch.append(item)
        self.size_bytes -= size_bytes
        return batch
