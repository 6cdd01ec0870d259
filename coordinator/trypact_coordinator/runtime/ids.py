"""Fresh identifiers."""

import os
import time


class Uuid7:
    """UUID version 7 (RFC 9562): 48 bits of milliseconds, 74 random bits."""

    def new(self) -> str:
        """Return a new id in its canonical form of 36 characters."""
        milliseconds = time.time_ns() // 1_000_000
        random = int.from_bytes(os.urandom(10), "big")
        value = (milliseconds & 0xFFFF_FFFF_FFFF) << 80 | random
        value = value & ~(0xF << 76) | 0x7 << 76
        value = value & ~(0x3 << 62) | 0x2 << 62
        digits = f"{value:032x}"
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
