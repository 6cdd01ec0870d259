"""The journal's time, told between its replies by the local monotonic clock."""

import time
from collections.abc import Callable


class JournalClock:
    """Local monotonic time plus an offset that every reply of the journal refreshes.

    Deadlines are stored in the database's time, so that they mean the same to whichever process
    reads them. Between two replies only the monotonic clock advances it, and a step of the
    database's clock to the past stops it instead of turning it back.

    Args:
        monotonic_us: a clock that never runs backwards, in microseconds from any origin.
    """

    def __init__(self, monotonic_us: Callable[[], int] | None = None) -> None:
        self._monotonic_us = monotonic_us or _monotonic_us
        self._offset = 0
        self._latest = 0

    def observe(self, at: int) -> None:
        """Take the database's time from a reply that has just arrived."""
        self._offset = at - self._monotonic_us()

    def now(self) -> int:
        """Return the present instant, in microseconds since 1970-01-01T00:00Z."""
        now = self._monotonic_us() + self._offset
        self._latest = max(self._latest, now)
        return self._latest


def _monotonic_us() -> int:
    return time.monotonic_ns() // 1000
