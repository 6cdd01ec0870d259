"""The journal's time, told between its replies by the local monotonic clock."""

import time
from collections.abc import Callable


class JournalClock:
    """Local monotonic time plus an offset that every reply of the journal refreshes.

    Deadlines are stored in the database's time, so that they mean the same to whichever process
    reads them. Between two replies only the monotonic clock advances it, and a step of the
    database's clock to the past stops it instead of turning it back.

    Args:
        monotonic_ns: a clock that never runs backwards, in nanoseconds from any origin.
    """

    def __init__(self, monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._monotonic_ns = monotonic_ns
        self._offset = 0
        self._latest = 0

    def observe(self, at: int) -> None:
        """Take the database's time from a reply that has just arrived."""
        self._offset = at - self._monotonic_ns() // 1000

    def elapsed(self) -> float:
        """Return seconds of the local clock alone, from any origin: for what is only a duration."""
        return self._monotonic_ns() / 1e9

    def now(self) -> int:
        """Return the present instant, in microseconds since 1970-01-01T00:00Z."""
        now = self._monotonic_ns() // 1000 + self._offset
        if now < self._latest:
            return self._latest
        self._latest = now
        return now
