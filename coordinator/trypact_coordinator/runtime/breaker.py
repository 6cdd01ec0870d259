"""The circuit breaker of one participant: pure, told the time by its caller."""

from enum import Enum


class BreakerState(Enum):
    """CLOSED lets all through, OPEN nothing new, HALF_OPEN one call as a probe."""

    CLOSED = 1
    OPEN = 2
    HALF_OPEN = 3


class Breaker:
    """Opens after consecutive failures; after a while lets one probe find out.

    Only what is new asks for permission: a pivot, and what comes after the decision, always
    leaves, and its answers count as probes. Instants are microseconds.
    """

    def __init__(self, failures_until_open: int, open_us: int) -> None:
        self._failures_until_open = failures_until_open
        self._open_us = open_us
        self._failures = 0
        self._opened_at = 0
        self.state = BreakerState.CLOSED

    def retry_in_us(self, now: int) -> int:
        """Return how long what is new must stay; 0 lets it leave (and makes it the probe)."""
        if self.state is BreakerState.CLOSED:
            return 0
        left_us = self._opened_at + self._open_us - now
        if left_us > 0:
            return left_us
        # The probe may be lost without an answer, so a new one is allowed after another interval.
        self.state = BreakerState.HALF_OPEN
        self._opened_at = now
        return 0

    def succeeded(self) -> None:
        """Note an answer that the participant gave itself."""
        self._failures = 0
        self.state = BreakerState.CLOSED

    def failed(self, now: int) -> None:
        """Note an unknown answer."""
        self._failures += 1
        half_open = self.state is BreakerState.HALF_OPEN
        if half_open or self._failures >= self._failures_until_open:
            self.state = BreakerState.OPEN
            self._opened_at = now
