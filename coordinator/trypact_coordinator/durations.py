"""Durations and instants as people write and read them: `250ms`, `5s`, `1h30m`, `3 minutes ago`."""

import re

_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")

DURATION_ALLOWED = "a duration such as 250ms, 5s, 10m, 1h30m or 2d"


def parse_ms(text: str) -> int:
    """Return the milliseconds of a written duration.

    Raises ValueError, whose text says what is allowed.
    """
    parts = _PART.findall(text.strip())
    if not parts or "".join(number + unit for number, unit in parts) != text.strip():
        raise ValueError(f"{text!r} is not {DURATION_ALLOWED}")
    return round(sum(float(number) * _UNITS_MS[unit] for number, unit in parts))


def write_ms(duration_ms: int) -> str:
    """Write a duration so that `parse_ms` reads it back: `1h30m`, `5s`, `250ms`, `0ms`."""
    parts = []
    for unit in ("d", "h", "m", "s", "ms"):
        count, duration_ms = divmod(duration_ms, _UNITS_MS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0ms"


def in_words(duration_us: int) -> str:
    """Say a duration in the one or two units that matter: `3 minutes`, `1 hour 5 minutes`."""
    seconds = max(duration_us, 0) / 1_000_000
    if seconds < 1:
        return f"{max(duration_us, 0) // 1_000} ms"
    if seconds < 60:
        return _count(int(seconds), "second")
    if seconds < 3_600:
        return _count(int(seconds // 60), "minute")
    hours, minutes = divmod(int(seconds // 60), 60)
    if hours < 24:
        return _count(hours, "hour") + (f" {_count(minutes, 'minute')}" if minutes else "")
    days, hours = divmod(hours, 24)
    return _count(days, "day") + (f" {_count(hours, 'hour')}" if hours else "")


def briefly(duration_us: int) -> str:
    """Say a duration in at most four characters or so, for tables: `250ms`, `3s`, `5m`, `2d`."""
    milliseconds = abs(duration_us) // 1_000
    for unit in ("d", "h", "m", "s"):
        if milliseconds >= _UNITS_MS[unit]:
            return f"{milliseconds // _UNITS_MS[unit]}{unit}"
    return f"{milliseconds}ms"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
