"""What a fence keeps of an answer: its result, and until when what was reserved holds.

To a fence a result is bytes. Almost always they are the result itself; one that expires is put
into a frame, so that whoever asks again is told the same instant as the first time.
"""

from typing import Any, NamedTuple

from trypact.call import Reserved
from trypact.clock import now_us
from trypact.errors import ParticipantError, ResultTooLarge
from trypact.limits import RESULT_BYTES_MAX
from trypact.payload import encode

# No JSON begins like this. Bytes of a service's own may; they are put into a frame too.
_MARK = b"\xff\x00trypact-expires"
_INSTANT_BYTES = 8


class Framed(NamedTuple):
    """A result, and what is known of it beside."""

    result: bytes
    # Microseconds since 1970-01-01T00:00Z; 0 for never.
    expires_at_us: int = 0


def read(result: Any, whose: str, *, reserves: bool) -> Framed:
    """Return a result, whatever value that is, as it travels.

    Args:
        result: what a handler or an effect has returned, or what has been reported.
        whose: who that was, for the error.
        reserves: whether it may be a `Reserved`.

    Raises ParticipantError for a `Reserved` where nothing is reserved, and PayloadError for what
    cannot be encoded.
    """
    if isinstance(result, Framed):
        return result
    if not isinstance(result, Reserved):
        return Framed(encode(result))
    if not reserves:
        raise ParticipantError(
            f"{whose} answered Reserved; allowed: in the Try of a tcc branch, which alone reserves"
        )
    return Framed(encode(result.result), now_us() + round(result.expires_in * 1_000_000))


def kept(result: Any, whose: str, *, reserves: bool) -> bytes:
    """Return what a fence keeps of a result; see `read`, and raises ResultTooLarge besides."""
    data, expires_at_us = read(result, whose, reserves=reserves)
    if len(data) > RESULT_BYTES_MAX:
        raise ResultTooLarge(
            f"the result of {whose} is {len(data)} bytes long; allowed: at most {RESULT_BYTES_MAX}"
        )
    return framed(data, expires_at_us)


def framed(result: bytes, expires_at_us: int = 0) -> bytes:
    """Return the bytes that a fence keeps."""
    if not expires_at_us and not result.startswith(_MARK):
        return result
    return _MARK + expires_at_us.to_bytes(_INSTANT_BYTES, "big") + result


def unframed(kept: bytes) -> Framed:
    """Return what `framed` was given."""
    if not kept.startswith(_MARK):
        return Framed(kept)
    start = len(_MARK) + _INSTANT_BYTES
    return Framed(kept[start:], int.from_bytes(kept[len(_MARK) : start], "big"))
