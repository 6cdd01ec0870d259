"""The circuit breaker of one participant: pure, told the time by its caller."""

from enum import Enum

# Turns that are given out, an interval apart and one more to be sure that the one before is over.
TURNS_MAX = 16
_INTERVALS_APART = 2


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
        # When the next that must stay has its turn as the probe.
        self._turn_at = 0
        self._without_turn = 0
        self.state = BreakerState.CLOSED

    def retry_in_us(self, now: int) -> int:
        """Return how long what is new must stay; 0 lets it leave (and makes it the probe).

        Those that must stay have turns one after the other, so there is a probe soon whether one
        waits or thousands do. Who finds no turn left stays for longer than all of those, for each
        that asks again in vain costs a record; it is told when the participant is back.
        """
        if self.state is BreakerState.CLOSED:
            return 0
        turn_at = self._opened_at + self._open_us
        if turn_at <= now:
            # The probe may be lost without an answer; a new one is allowed after an interval.
            self.state = BreakerState.HALF_OPEN
            self._opened_at = now
            return 0
        turn_at = max(turn_at, self._turn_at)
        apart_us = _INTERVALS_APART * self._open_us
        if turn_at - now > TURNS_MAX * apart_us:
            self._without_turn += 1
            return (TURNS_MAX + self._without_turn % TURNS_MAX) * apart_us
        self._turn_at = turn_at + apart_us
        return turn_at - now

    def succeeded(self) -> bool:
        """Note an answer that the participant gave itself; return whether it was missed before."""
        self._failures = 0
        if self.state is BreakerState.CLOSED:
            return False
        self.state = BreakerState.CLOSED
        self._turn_at = 0
        return True

    def failed(self, now: int) -> None:
        """Note an unknown answer."""
        self._failures += 1
        half_open = self.state is BreakerState.HALF_OPEN
        if half_open or self._failures >= self._failures_until_open:
            self.state = BreakerState.OPEN
            self._opened_at = now
