"""An event loop on virtual time: no sockets, no threads, no clock, one order for each seed.

Time jumps to the next timer whenever nothing is ready. What is ready at the same moment runs in an
order drawn from the seed, because nothing outside one process promises any. Instants are integer
microseconds inside; asyncio sees them as seconds.

It runs by itself (`run_until_complete`: time jumps as soon as nothing is ready), or inside another
loop, which says when it runs (`run_ready`) and when time passes (`jump`).
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

    def __init__(
        self, rng: random.Random, at_each_event: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__()
        self.us = 0
        self.events = 0
        self._rng = rng
        self._at_each_event = at_each_event

    def time(self) -> float:
        """Return the seconds that have passed in here."""
        return self.us / 1e6

    def run_ready(self) -> None:
        """Run what is ready now, and what that makes ready, inside a callback of another loop."""
        outer = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            while self._due():
                self._run_once()
        finally:
            asyncio._set_running_loop(outer)

    def jump(self) -> bool:
        """Let time pass up to the next timer; False if there is none."""
        at_us = self._next_us()
        if at_us is None:
            return False
        self.us = max(self.us, at_us)
        return True

    def _due(self) -> bool:
        ready: Any = self._ready  # type: ignore[attr-defined]
        at_us = self._next_us()
        return bool(ready) or (at_us is not None and at_us <= self.us)

    def _next_us(self) -> int | None:
        """Return the first instant that `time` does not show as before the next timer."""
        scheduled: Any = self._scheduled  # type: ignore[attr-defined]
        while scheduled and scheduled[0]._cancelled:
            heapq.heappop(scheduled)._scheduled = False
        if not scheduled:
            return None
        # Exactly so: who is called too early by a rounding waits for no time at all, for ever.
        at_us = int(scheduled[0]._when * 1e6)
        while at_us / 1e6 < scheduled[0]._when:
            at_us += 1
        return at_us

    def _run_once(self) -> None:
        ready: Any = self._ready  # type: ignore[attr-defined]
        scheduled: Any = self._scheduled  # type: ignore[attr-defined]
        at_us = self._next_us()
        if not ready:
            if at_us is None:
                raise Stalled
            self.us = max(self.us, at_us)
        while scheduled and scheduled[0]._when <= self.time():
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
        """Leave it: cancelled timers are dropped when their time comes."""

    def _process_events(self, event_list: object) -> None:
        raise NotImplementedError

    def _write_to_self(self) -> None:
        """There is no selector to wake."""
