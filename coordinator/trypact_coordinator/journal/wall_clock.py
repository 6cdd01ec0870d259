"""The clock of the journals that have no server: the machine's."""

import time


def wall_clock_us() -> int:
    """Return the wall clock, in microseconds since 1970-01-01T00:00Z."""
    return time.time_ns() // 1_000
