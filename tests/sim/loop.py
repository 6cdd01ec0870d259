"""An event loop on virtual time: no sockets, no threads, no clock, one order for each seed.

Time jumps to the next timer whenever nothing is ready. What is ready at the same moment runs in an
order drawn from the seed, because nothing outside one process promises any. Instants are integer
microseconds inside; asyncio sees them as seconds.
"""

import asyncio
import heapq
import random
from collections.abc import Callable
from typing import Any


class Stalled(Exception):
    """Nothing is ready and no timer is set, so nothing will ever happen again."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs callbacks in virtual time.

    Args:
        rng: orders what is ready at once.
        at_each_event: called before each callback runs: the places between any two events.
    """

    def __init__(self, rng: random.Random, at_each_event: Callable[[], None]) -> None:
        super().__init__()
        self.us = 0
        self.events = 0
        self._rng = rng
        self._at_each_event = at_each_event

    def time(self) -> float:
        return self.us / 1e6

    def _run_once(self) -> None:
        ready: Any = self._ready  # type: ignore[attr-defined]
        scheduled: Any = self._scheduled  # type: ignore[attr-defined]
        while scheduled and scheduled[0]._cancelled:
            heapq.heappop(scheduled)._scheduled = False
        if not ready:
            if not scheduled:
                raise Stalled
            self.us = max(self.us, -int(-scheduled[0]._when * 1e6 // 1))
        while scheduled and scheduled[0]._when * 1e6 <= self.us + 0.001:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            ready.append(handle)
        turn = list(ready)
        ready.clear()
        if len(turn) > 1:
            self._rng.shuffle(turn)
        try:
            while turn and not self._stopping:  # type: ignore[attr-defined]
                if not turn[-1]._cancelled:
                    self.events += 1
                    self._at_each_event()
                handle = turn.pop()
                if not handle._cancelled:
                    handle._run()
        finally:
            ready.extend(turn)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are dropped when their time comes."""

    def _process_events(self, event_list: object) -> None:
        raise NotImplementedError

    def _write_to_self(self) -> None:
        """There is no selector to wake."""
