"""When to ask again, and when to call a human: pure functions of a policy and a count."""

import zlib

import msgspec

MILLISECOND = 1_000
SECOND = 1_000_000


class Policy(msgspec.Struct, frozen=True):
    """The durations and budgets a coordinator runs with."""

    # How long one call may take; a Cancel follows a Try of unknown outcome only after that.
    call_timeout_ms: int = 5_000
    # The decision's deadline for initiators who name none.
    default_timeout_ms: int = 60_000
    backoff_base_ms: int = 100
    backoff_cap_ms: int = 30_000
    # How often a stuck branch is still asked.
    slow_retry_ms: int = 60_000
    # Failing calls of one operation after which a branch is stuck.
    attempts_until_stuck: int = 8
    # Deliveries of a notice before it is given up.
    notice_attempts: int = 3
    # How often a PENDING operation is asked about.
    pending_poll_ms: int = 5_000


def backoff_us(policy: Policy, key: str, attempt: int) -> int:
    """Return how long to wait after failing attempt number `attempt`, in microseconds.

    Exponential with full jitter (Brooker, "Exponential Backoff And Jitter", 2015), between half
    the base and the cap. The jitter is a hash of the branch and the attempt, so that the same
    history always gives the same delay.
    """
    span_ms = min(policy.backoff_cap_ms, policy.backoff_base_ms << min(max(attempt - 1, 0), 32))
    draw = zlib.crc32(f"{key}/{attempt}".encode())
    floor = policy.backoff_base_ms * MILLISECOND // 2
    return max(floor, span_ms * MILLISECOND * draw >> 32)


def slow_retry_us(policy: Policy, key: str, attempt: int) -> int:
    """Return the wait between the calls of a stuck branch, within 10 % of the policy's."""
    draw = zlib.crc32(f"{key}/slow/{attempt}".encode())
    spread = policy.slow_retry_ms * MILLISECOND // 5
    return policy.slow_retry_ms * MILLISECOND - spread // 2 + (spread * draw >> 32)


def deadline(now: int, timeout_ms: int) -> int:
    """Return the instant after which an undecided transaction is cancelled."""
    return now + timeout_ms * MILLISECOND
