"""What a step asks of the shell. The comments on `Outcome` are the contract between the two."""

from enum import Enum

import msgspec

from trypact_coordinator.core.transaction import BranchSpec, Decision, Operation, Transaction


class Record(msgspec.Struct, frozen=True, gc=False):
    """One write to the journal: the whole transaction as it is after the step.

    It is applied only if the journal holds `transaction.version - 1` (nothing at all for
    version 1) under an epoch that is not newer: a compare-and-set.
    """

    transaction: Transaction
    # Somebody waits until it is durable. Otherwise it is lazy: it leaves with the next batch, or
    # alone if none comes for a moment.
    forced: bool
    # Whether branches were admitted, so that what the initiator described must be written too.
    admits: bool = False

    @property
    def due_at(self) -> int | None:
        """When the sweeper must look at the transaction; see `Transaction.due_at`."""
        return self.transaction.due_at


class Call(msgspec.Struct, frozen=True, gc=False):
    """One operation to send to a participant."""

    xid: str
    branch: BranchSpec
    operation: Operation
    attempt: int
    # Which decision a Deliver follows.
    decision: Decision
    # When the shell must have reported an answer, Unknown if none came.
    timeout_ms: int
    # For Try: the instant after which the participant must refuse it unrun. 0 otherwise.
    not_after: int
    # The W3C traceparent of whoever began the transaction.
    trace_parent: str = ""

    @property
    def branch_id(self) -> str:
        """The branch's id."""
        return self.branch.id


class Reply(Enum):
    """A milestone that callers wait for."""

    BRANCH = 1  # a registered branch is TRIED or REFUSED
    DECIDED = 2
    SETTLED = 3


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """The contract of a step.

    The shell owes it four duties, in this order:

    1. Make `record` durable with its compare-and-set. If that fails, forget the transaction and
       everything below, and reload it.
    2. Only then send `calls` and wake whoever waits for `replies`. (A record that is not forced
       allows both at once: nothing that leaves depends on it.)
    3. Turn every answer, time-out, request and act into an event and step again; never act on
       one directly.
    4. Step with `TimePassed` once `wake_at` has come. It is in the record too, so that recovery
       is a query and not a memory.

    While a record is being written, later events of the same transaction wait for it.
    """

    transaction: Transaction
    record: Record | None = None
    calls: tuple[Call, ...] = ()
    replies: tuple[Reply, ...] = ()
    # The next instant at which time alone changes something; None if it never does.
    wake_at: int | None = None
