"""Many deadlines, one timer: nearly all of them are called off long before they are due.

A timer of the event loop costs more to make and to cancel than most of what it guards. Here an
alarm is an entry of a dict, and one timer of the loop waits for the earliest. Nothing rings early;
where many are set, one may ring late, by about a microsecond for each that is set.
"""

import asyncio
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)

# What looking at one alarm may cost, so that looking at all of them stays a small part of the
# loop's time.
_SECONDS_FOR_EACH = 2e-6


class Alarms(Generic[KeyT]):
    """Alarms of one event loop, at most one for each key.

    Args:
        ring: called with the key of each alarm whose time has come; it is not set any more then.
    """

    def __init__(self, ring: Callable[[KeyT], None]) -> None:
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._due: dict[KeyT, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")

    def set(self, key: KeyT, seconds: float) -> None:
        """Ring once that much time has passed, instead of when it was to ring before."""
        at = self._due[key] = self._loop.time() + seconds
        if at < self._timer_at:
            self._wait_until(at)

    def cancel(self, key: KeyT) -> None:
        """Do not ring; harmless if it is not set."""
        self._due.pop(key, None)

    def clear(self) -> None:
        """Cancel all of them."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._timer_at = None, float("inf")

    def _wait_until(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at = self._loop.call_at(at, self._look), at

    def _look(self) -> None:
        """Ring what is due, and wait for what is due next."""
        self._timer, self._timer_at = None, float("inf")
        now = self._loop.time()
        try:
            for key in [key for key, at in self._due.items() if at <= now]:
                # What rang before may have cancelled it, or set it anew.
                at = self._due.get(key)
                if at is not None and at <= now:
                    del self._due[key]
                    self._ring(key)
        finally:
            # Also when one of them failed: the others are not to wait for it.
            if self._due:
                pause = len(self._due) * _SECONDS_FOR_EACH
                earliest = max(min(self._due.values()), now + pause)
                if earliest < self._timer_at:
                    self._wait_until(earliest)
