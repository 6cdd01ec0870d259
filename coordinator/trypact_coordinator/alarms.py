"""Many deadlines, one timer: nearly all of them are called off long before they are due.

A timer of the event loop costs more to make and to cancel than most of what it guards. Here an
alarm is an entry of a dict and of a heap, and one timer of the loop waits for the earliest. What is
called off leaves the dict at once, and the heap when its time comes or most of the heap is such.
"""

import asyncio
from collections.abc import Callable, Hashable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)

# Entries that were called off are swept out once they outnumber the others by so many.
_CALLED_OFF_MAX = 64


class Alarms(Generic[KeyT]):
    """Alarms of one event loop, at most one for each key.

    Args:
        ring: called with the key of each alarm whose time has come; it is not set any more then.
    """

    def __init__(self, ring: Callable[[KeyT], None]) -> None:
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._due: dict[KeyT, float] = {}
        # The earliest first; one that is not what `_due` says was called off, or set anew.
        self._queue: list[tuple[float, int, KeyT]] = []
        self._order = count()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")

    def set(self, key: KeyT, seconds: float) -> None:
        """Ring once that much time has passed, instead of when it was to ring before."""
        at = self._due[key] = self._loop.time() + seconds
        heappush(self._queue, (at, next(self._order), key))
        if len(self._queue) > 2 * len(self._due) + _CALLED_OFF_MAX:
            self._queue = [entry for entry in self._queue if self._is_set(entry)]
            heapify(self._queue)
        if at < self._timer_at:
            self._wait_until(at)

    def cancel(self, key: KeyT) -> None:
        """Do not ring; harmless if it is not set."""
        self._due.pop(key, None)

    def clear(self) -> None:
        """Cancel all of them."""
        self._due.clear()
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._timer_at = None, float("inf")

    def _is_set(self, entry: tuple[float, int, KeyT]) -> bool:
        return self._due.get(entry[2]) == entry[0]

    def _wait_until(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at = self._loop.call_at(at, self._look), at

    def _look(self) -> None:
        """Ring what is due, and wait for what is due next."""
        self._timer, self._timer_at = None, float("inf")
        now = self._loop.time()
        queue, due = self._queue, []
        while queue and queue[0][0] <= now:
            due.append(heappop(queue))
        due.reverse()
        try:
            while due:
                entry = due.pop()
                # What rang before may have cancelled it, or set it anew.
                if self._is_set(entry):
                    del self._due[entry[2]]
                    self._ring(entry[2])
        finally:
            # Also when one of them failed: the others are not to wait for it.
            for entry in due:
                heappush(self._queue, entry)
            self._wait_for_next()

    def _wait_for_next(self) -> None:
        queue = self._queue
        while queue and not self._is_set(queue[0]):
            heappop(queue)
        if queue and queue[0][0] < self._timer_at:
            self._wait_until(queue[0][0])
