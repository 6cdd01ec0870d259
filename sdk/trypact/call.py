"""One call of the coordinator, as a handler sees it, and the answers to it."""

import math
from dataclasses import dataclass
from enum import Enum
from typing import Final, Generic, NamedTuple, TypeVar

from trypact.kinds import Decision, Kind, Operation

RequestT = TypeVar("RequestT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Call(Generic[RequestT]):
    """What a handler is asked to do. The same request rides on every call of a branch.

    >>> call = Call("xid", "stock", "inventory.reserve", Kind.TCC, Operation.TRY, {"pieces": 2})
    >>> call.request["pieces"], str(call.operation), call.attempt
    (2, 'try', 1)
    """

    xid: str
    branch_id: str
    # "participant.verb".
    action: str
    kind: Kind
    operation: Operation
    request: RequestT
    # 1 for the first call of this operation.
    attempt: int = 1
    # For Deliver: the decision it follows.
    decision: Decision = Decision.UNDECIDED
    # The initiator's W3C traceparent; empty if it sent none.
    trace_parent: str = ""


class FencedCall(NamedTuple):
    """The part of a call that its fence needs: a key, and what is asked for."""

    xid: str
    branch_id: str
    action: str
    kind: Kind
    operation: Operation
    # Microseconds since 1970-01-01T00:00Z after which a Try is not run any more; 0 for never.
    not_after_us: int = 0


class Arrived(NamedTuple):
    """A call as it came over the wire, its request undecoded."""

    fenced: FencedCall
    payload: bytes
    attempt: int
    decision: Decision
    trace_parent: str


class PendingType(Enum):
    """The type of PENDING.

    >>> def approve(call, connection):
    ...     return PENDING  # a human looks at it, and `client.report` tells
    """

    PENDING = "pending"


# Returned by a handler: accepted, and completed later by `participant.reporter(client)`.
PENDING: Final = PendingType.PENDING


class Reserved(Generic[ResultT]):
    """Returned by the Try of a tcc branch: reserved, and not for longer than this.

        return Reserved(Held(seat), expires_in=15 * 60)

    The transaction is decided by then, as if its own timeout were as short. What is reserved stays
    so until Confirm or Cancel arrives, which may be later: never give it up unasked.

    Args:
        result: what Try answers.
        expires_in: seconds from now, by this service's clock.

    Raises ValueError for no time at all, and for ever.

        >>> def try_(call, connection):
        ...     return Reserved({"number": 12}, expires_in=600.0)
    """

    __slots__ = ("expires_in", "result")

    def __init__(self, result: ResultT, *, expires_in: float) -> None:
        if not 0 < expires_in < math.inf:
            raise ValueError(f"expires_in: {expires_in} s; allowed: more than 0, and an end")
        self.result = result
        self.expires_in = expires_in


class Ok(NamedTuple):
    """Done, or done before; the result is that of the first time."""

    result: bytes = b""


class Refused(NamedTuple):
    """A business no."""

    reason: str


class Pending(NamedTuple):
    """Accepted, and not done yet."""


Answer = Ok | Refused | Pending
