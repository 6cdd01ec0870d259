"""Ids that are chosen before the first send, so that a repeated call is the same transaction."""

import os

from trypact.clock import now_us


def new_xid() -> str:
    """Return a fresh UUID of version 7 (RFC 9562): unguessable, and sorts roughly by time.

    For business that has no id of its own which could be written down before the first call.

    >>> xid = new_xid()
    >>> (await client.execute("order", [tcc("inventory.reserve", {"pieces": 2})], xid=xid)).state
    <State.CONFIRMED: 'confirmed'>
    """
    value = (now_us() // 1_000 & 0xFFFF_FFFF_FFFF) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    digits = f"{value:032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
