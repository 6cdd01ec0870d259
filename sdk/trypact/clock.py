"""The service's own clock. Nothing is decided by it: it dates fence rows and refuses late Tries."""

import time


def now_us() -> int:
    """Return microseconds since 1970-01-01T00:00Z."""
    return time.time_ns() // 1_000
