"""One call of the coordinator, as a handler sees it, and the answers to it."""

from dataclasses import dataclass
from enum import Enum
from typing import Final, Generic, NamedTuple, TypeVar

from trypact.kinds import Decision, Kind, Operation

RequestT = TypeVar("RequestT")


@dataclass(frozen=True, slots=True)
class Call(Generic[RequestT]):
    """What a handler is asked to do. The same request rides on every call of a branch."""

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
    """The type of PENDING."""

    PENDING = "pending"


# Returned by a handler: accepted, and completed later by `fence.complete` and a report.
PENDING: Final = PendingType.PENDING


class Ok(NamedTuple):
    """Done, or done before; the result is that of the first time."""

    result: bytes = b""


class Refused(NamedTuple):
    """A business no."""

    reason: str


class Pending(NamedTuple):
    """Accepted, and not done yet."""


Answer = Ok | Refused | Pending
