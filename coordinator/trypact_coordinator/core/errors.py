"""The coordinator's error tree: one gRPC status, one stable reason and one culprit for each.

    CoordinatorError
    ├── CallerError                     the caller can mend it
    │   ├── InvalidArgument
    │   │   └── LimitExceeded
    │   ├── UnknownParticipant
    │   ├── UnknownAction
    │   ├── KindNotServed
    │   ├── UnknownTopic
    │   ├── ParticipantUnavailable
    │   ├── UnknownTransaction
    │   ├── UnknownBranch
    │   ├── XidConflict
    │   ├── XidInUse
    │   ├── BranchConflict
    │   ├── AlreadyConfirmed
    │   ├── AlreadyCancelled
    │   ├── NotDecided
    │   ├── TryUnsettled
    │   ├── PivotSent
    │   ├── BranchSettled
    │   └── TransactionFrozen
    ├── Overloaded                      try again later
    ├── ShuttingDown
    ├── JournalError                    the journal's host can mend it
    │   ├── JournalUnavailable
    │   ├── JournalLocked
    │   ├── SchemaMismatch
    │   ├── OwnershipLost
    │   ├── RecordRejected
    │   └── UnreadableRow
    └── InvariantViolated               a bug of ours

The docstring of a class is its default message; the first sentence says what, the rest what to do.
"""

from typing import ClassVar, Self


class CoordinatorError(Exception):
    """The coordinator could not do this."""

    # The name of the gRPC status and the google.rpc.ErrorInfo reason.
    status: ClassVar[str] = "INTERNAL"
    reason: ClassVar[str] = "INTERNAL"

    def __init__(self, message: str = "") -> None:
        super().__init__(message or " ".join((type(self).__doc__ or "").split()))


class CallerError(CoordinatorError):
    """The request cannot be carried out as it is."""

    status = "FAILED_PRECONDITION"
    reason = "FAILED_PRECONDITION"


class InvalidArgument(CallerError):
    """A field of the request is not valid."""

    status = "INVALID_ARGUMENT"
    reason = "INVALID_ARGUMENT"

    def __init__(self, field: str, why: str, allowed: str = "") -> None:
        self.field = field
        self.why = why
        self.allowed = allowed
        super().__init__(f"{field}: {why}" + (f"; allowed: {allowed}" if allowed else ""))

    def within(self, where: str) -> Self:
        """Return the same error, of a field of what stands at `where`."""
        return type(self)(f"{where}.{self.field}", self.why, self.allowed)


class LimitExceeded(InvalidArgument):
    """A field of the request is larger than its limit."""

    reason = "LIMIT_EXCEEDED"


class UnknownParticipant(CallerError):
    """No participant of that name is registered."""

    reason = "UNKNOWN_PARTICIPANT"


class UnknownAction(CallerError):
    """The participant has registered no such action."""

    reason = "UNKNOWN_ACTION"


class KindNotServed(CallerError):
    """The action does not serve branches of that kind."""

    reason = "KIND_NOT_SERVED"


class UnknownTopic(CallerError):
    """No participant has subscribed to the topic, so its message would reach nobody."""

    reason = "UNKNOWN_TOPIC"


class ParticipantUnavailable(CallerError):
    """No instance of the participant is alive. Start one, or ask again later."""

    status = "UNAVAILABLE"
    reason = "PARTICIPANT_UNAVAILABLE"


class UnknownTransaction(CallerError):
    """The coordinator has never heard of this xid, or retention has removed it."""

    status = "NOT_FOUND"
    reason = "UNKNOWN_TRANSACTION"


class UnknownBranch(CallerError):
    """The transaction has no branch of that id."""

    status = "NOT_FOUND"
    reason = "UNKNOWN_BRANCH"


class XidConflict(CallerError):
    """This xid already names a transaction with other content."""

    status = "ALREADY_EXISTS"
    reason = "XID_CONFLICT"


class XidInUse(CallerError):
    """Another process has begun an interactive transaction with this xid."""

    status = "ALREADY_EXISTS"
    reason = "XID_IN_USE"


class BranchConflict(CallerError):
    """This branch id already names a branch with other content."""

    status = "ALREADY_EXISTS"
    reason = "BRANCH_CONFLICT"


class AlreadyConfirmed(CallerError):
    """The decision is Confirm, and a decision never changes."""

    reason = "ALREADY_CONFIRMED"


class AlreadyCancelled(CallerError):
    """The decision is Cancel, and a decision never changes."""

    reason = "ALREADY_CANCELLED"


class NotDecided(CallerError):
    """The transaction is not decided yet, and this is only possible after the decision."""

    reason = "NOT_DECIDED"


class TryUnsettled(CallerError):
    """A Try of this transaction has no OK yet, so it cannot be confirmed."""

    reason = "TRY_UNSETTLED"


class PivotSent(CallerError):
    """The pivot was sent, so nothing but its answer decides this transaction any more."""

    reason = "PIVOT_SENT"


class BranchSettled(CallerError):
    """The branch is settled already."""

    reason = "BRANCH_SETTLED"


class TransactionFrozen(CallerError):
    """A violated invariant has stopped this transaction. Report the bug it names."""

    reason = "TRANSACTION_FROZEN"


class Overloaded(CoordinatorError):
    """More comes than can be done; nothing was begun. Ask again after the hinted delay."""

    status = "RESOURCE_EXHAUSTED"
    reason = "OVERLOADED"

    def __init__(self, message: str = "", retry_after_ms: int = 100) -> None:
        self.retry_after_ms = retry_after_ms
        super().__init__(message)


class ShuttingDown(CoordinatorError):
    """This coordinator is stopping and takes no new work. Ask again, or ask another one."""

    status = "UNAVAILABLE"
    reason = "SHUTTING_DOWN"


class JournalError(CoordinatorError):
    """The journal could not be read or written."""

    status = "UNAVAILABLE"
    reason = "JOURNAL_UNAVAILABLE"


class JournalUnavailable(JournalError):
    """The journal does not answer. What was asked is undecided: ask again with the same xid."""


class JournalLocked(JournalError):
    """Another coordinator owns this journal. Stop it first, or use another journal."""

    reason = "JOURNAL_LOCKED"


class SchemaMismatch(JournalError):
    """The journal's schema is of another version. Run `trypact journal migrate`."""

    status = "FAILED_PRECONDITION"
    reason = "SCHEMA_MISMATCH"


class OwnershipLost(JournalError):
    """A newer term owns this journal; this coordinator must stop."""

    reason = "OWNERSHIP_LOST"


class RecordRejected(JournalError):
    """The journal's database refuses this record for good. Nothing of it was written."""

    status = "INTERNAL"
    reason = "RECORD_REJECTED"


class UnreadableRow(JournalError):
    """A row of the journal cannot be decoded. Run `trypact journal verify`."""

    status = "DATA_LOSS"
    reason = "UNREADABLE_ROW"


class InvariantViolated(CoordinatorError):
    """An invariant does not hold. The transaction is frozen; please report this."""

    reason = "INVARIANT_VIOLATED"


def invariant(holds: bool, message: str) -> None:
    """Raise InvariantViolated unless it holds; stays on in production, unlike assert."""
    if not holds:
        raise InvariantViolated(message)
