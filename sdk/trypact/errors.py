"""What can go wrong for a service that uses trypact, in one tree.

    TrypactError
    ├── TransactionCancelled            a business no: everything was given back
    ├── BranchRefused                   the same, told by one Try of an interactive transaction
    ├── OutcomeUnknown                  nobody knows yet: ask again with the same xid
    ├── CoordinatorUnavailable          no coordinator answers
    │   ├── Starting
    │   ├── ShuttingDown
    │   └── JournalUnavailable
    │       ├── JournalLocked
    │       └── OwnershipLost
    ├── Overloaded                      nothing was begun: try again later
    ├── RequestRefused                  the caller can mend it; nothing changed
    │   ├── InvalidRequest
    │   │   └── LimitExceeded
    │   ├── UnknownParticipant
    │   ├── UnknownAction
    │   ├── KindNotServed
    │   ├── UnknownTopic
    │   ├── ParticipantUnavailable
    │   ├── NoTransaction
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
    │   └── BranchSettled
    ├── CoordinatorFault                the coordinator's operator can mend it
    │   ├── SchemaMismatch
    │   ├── RecordRejected
    │   ├── UnreadableRow
    │   ├── TransactionFrozen
    │   └── InvariantViolated
    ├── PayloadError                    a payload cannot be written or read
    ├── ParticipantError                a participant's own side
    │   ├── EndpointTaken
    │   ├── ResultTooLarge
    │   ├── TryTooLate
    │   ├── FenceUnavailable
    │   └── NotPending
    │       └── CancelledMeanwhile
    └── HandlerAnswer                   raised by handlers on purpose, not failures
        ├── Refuse
        └── RetryLater

The first paragraph of a class's docstring is its default message. A class with a `code` is what
the coordinator means by that google.rpc.ErrorInfo reason.

    >>> issubclass(errors.XidConflict, errors.RequestRefused), errors.XidConflict.code
    (True, 'XID_CONFLICT')
"""

from typing import TYPE_CHECKING, NamedTuple

from trypact._error import TrypactError as TrypactError
from trypact._participant_errors import CancelledMeanwhile as CancelledMeanwhile
from trypact._participant_errors import EndpointTaken as EndpointTaken
from trypact._participant_errors import FenceUnavailable as FenceUnavailable
from trypact._participant_errors import HandlerAnswer as HandlerAnswer
from trypact._participant_errors import NotPending as NotPending
from trypact._participant_errors import ParticipantError as ParticipantError
from trypact._participant_errors import Refuse as Refuse
from trypact._participant_errors import ResultTooLarge as ResultTooLarge
from trypact._participant_errors import RetryLater as RetryLater
from trypact._participant_errors import TryTooLate as TryTooLate

if TYPE_CHECKING:
    from trypact.outcome import Outcome


# ---------------------------------------------------------------- how transactions end


class TransactionCancelled(TrypactError):
    """The transaction was cancelled: whatever was reserved is given back.

    Attributes:
        outcome: how the transaction and its branches stand.
        refused_branch_id: the branch that refused; empty if something else decided.
        reason: the reason it gave, or what decided instead ("the deadline passed").

        >>> try:
        ...     await client.execute("order", [tcc("inventory.reserve", {"pieces": 99})])
        ... except TransactionCancelled as no:
        ...     print(no.refused_branch_id, no.reason, no.outcome.state)
        reserve out_of_stock cancelled
    """

    def __init__(self, outcome: "Outcome") -> None:
        self.outcome = outcome
        self.refused_branch_id = outcome.refused_branch_id
        self.reason = outcome.reason
        by = f" by branch {outcome.refused_branch_id!r}" if outcome.refused_branch_id else ""
        super().__init__(f"transaction {outcome.xid} was cancelled{by}: {outcome.reason}")

    def __reduce__(self) -> tuple[type, tuple["Outcome"]]:
        return type(self), (self.outcome,)

    @property
    def xid(self) -> str:
        """The transaction's id."""
        return self.outcome.xid


class BranchRefused(TrypactError):
    """A participant refused the Try of a branch; the transaction is being cancelled.

    Attributes: `xid`, `branch_id`, `action`, and `reason`, the participant's.

        >>> async with client.transaction("order") as tx:
        ...     await tx.try_("inventory.reserve", {"pieces": 99})
        Traceback (most recent call last):
        trypact.errors.BranchRefused: inventory.reserve refused branch 'reserve' of ...
    """

    def __init__(self, xid: str, branch_id: str, action: str, reason: str) -> None:
        self.xid = xid
        self.branch_id = branch_id
        self.action = action
        self.reason = reason
        super().__init__(f"{action} refused branch {branch_id!r} of transaction {xid}: {reason}")

    def __reduce__(self) -> tuple[type, tuple[str, str, str, str]]:
        return type(self), (self.xid, self.branch_id, self.action, self.reason)


class OutcomeUnknown(TrypactError):
    """The transaction may be confirmed, cancelled, running, or never begun.

    Asking again is safe and is the way to find out: the same `execute` with the same xid,
    `wait(xid)`, or `decision(xid, settle=True)` to make sure that it never happens.

    Attributes:
        xid: the transaction.
        reason: what stood in the way of an answer.
        outcome: how it stood when the patience ended; None where nobody said.

        >>> look = tcc("inventory.reserve", {"pieces": 2, "look": True})
        >>> async with Client("127.0.0.1:7000", patience=0.3) as hasty:
        ...     await hasty.execute("order", [look], xid="order-17")
        Traceback (most recent call last):
        trypact.errors.OutcomeUnknown: transaction order-17 is undecided after ...
    """

    def __init__(self, xid: str, reason: str, outcome: "Outcome | None" = None) -> None:
        self.xid = xid
        self.reason = reason
        self.outcome = outcome
        unknown = f"the outcome of transaction {xid} is unknown: " if outcome is None else ""
        super().__init__(f"{unknown}{reason}; ask again with this xid")

    def __reduce__(self) -> tuple[type, tuple[str, str, "Outcome | None"]]:
        return type(self), (self.xid, self.reason, self.outcome)


# ---------------------------------------------------------------- the coordinator


class CoordinatorUnavailable(TrypactError):
    """The coordinator does not answer.

    >>> async with Client("127.0.0.1:1", patience=0.1) as lonely:
    ...     await lonely.ping()
    Traceback (most recent call last):
    trypact.errors.CoordinatorUnavailable: the coordinator at 127.0.0.1:1 does not answer (...)
    """


class Starting(CoordinatorUnavailable):
    """This coordinator is starting and takes no work yet."""

    code = "STARTING"


class ShuttingDown(CoordinatorUnavailable):
    """This coordinator is stopping and takes no new work."""

    code = "SHUTTING_DOWN"


class JournalUnavailable(CoordinatorUnavailable):
    """The coordinator's journal does not answer."""

    code = "JOURNAL_UNAVAILABLE"


class JournalLocked(JournalUnavailable):
    """Another coordinator owns the journal."""

    code = "JOURNAL_LOCKED"


class OwnershipLost(JournalUnavailable):
    """A newer coordinator owns the journal."""

    code = "OWNERSHIP_LOST"


class Overloaded(TrypactError):
    """Too many transactions are in flight; nothing was begun.

    Attributes:
        retry_after: the coordinator's hint, in seconds.

        >>> Overloaded(retry_after=0.5).retry_after
        0.5
    """

    code = "OVERLOADED"

    def __init__(self, message: str = "", retry_after: float = 0.1) -> None:
        self.retry_after = retry_after
        super().__init__(message or "Too many transactions are in flight; nothing was begun.")


class RequestRefused(TrypactError):
    """The request cannot be carried out as it is; it changed nothing.

    >>> await client.execute("order", [tcc("stock.reserve")])
    Traceback (most recent call last):
    trypact.errors.UnknownParticipant: ...
    """


class FieldViolation(NamedTuple):
    """A field of a request, and what is wrong with it."""

    field: str
    description: str


class InvalidRequest(RequestRefused):
    """A field of the request is not valid.

    Attributes:
        violations: what is wrong, field by field.
    """

    code = "INVALID_ARGUMENT"

    def __init__(self, message: str = "", violations: tuple[FieldViolation, ...] = ()) -> None:
        self.violations = violations
        super().__init__(message or "A field of the request is not valid.")


class LimitExceeded(InvalidRequest):
    """A field of the request is larger than its limit."""

    code = "LIMIT_EXCEEDED"


class UnknownParticipant(RequestRefused):
    """No participant of that name is registered."""

    code = "UNKNOWN_PARTICIPANT"


class UnknownAction(RequestRefused):
    """The participant has registered no such action."""

    code = "UNKNOWN_ACTION"


class KindNotServed(RequestRefused):
    """The action does not serve branches of that kind."""

    code = "KIND_NOT_SERVED"


class UnknownTopic(RequestRefused):
    """No participant has subscribed to the topic, so its message would reach nobody."""

    code = "UNKNOWN_TOPIC"


class ParticipantUnavailable(RequestRefused):
    """No instance of the participant is alive."""

    code = "PARTICIPANT_UNAVAILABLE"


class NoTransaction(RequestRefused):
    """The call belongs to no transaction, and this is only possible in one.

    >>> client.joined()
    Traceback (most recent call last):
    trypact.errors.NoTransaction: The call belongs to no transaction, ...
    """


class UnknownTransaction(RequestRefused):
    """The coordinator has never heard of this xid, or retention has removed it."""

    code = "UNKNOWN_TRANSACTION"


class UnknownBranch(RequestRefused):
    """The transaction has no branch of that id."""

    code = "UNKNOWN_BRANCH"


class XidConflict(RequestRefused):
    """This xid already names a transaction with other content."""

    code = "XID_CONFLICT"


class XidInUse(RequestRefused):
    """Another process has begun an interactive transaction with this xid."""

    code = "XID_IN_USE"


class BranchConflict(RequestRefused):
    """This branch id already names a branch with other content."""

    code = "BRANCH_CONFLICT"


class AlreadyConfirmed(RequestRefused):
    """The decision is Confirm, and a decision never changes."""

    code = "ALREADY_CONFIRMED"


class AlreadyCancelled(RequestRefused):
    """The decision is Cancel, and a decision never changes."""

    code = "ALREADY_CANCELLED"


class NotDecided(RequestRefused):
    """The transaction is not decided yet, and this is only possible after the decision."""

    code = "NOT_DECIDED"


class TryUnsettled(RequestRefused):
    """A Try of this transaction has no OK yet, so it cannot be confirmed."""

    code = "TRY_UNSETTLED"


class PivotSent(RequestRefused):
    """The pivot was sent, so nothing but its answer decides this transaction any more."""

    code = "PIVOT_SENT"


class BranchSettled(RequestRefused):
    """The branch is settled already."""

    code = "BRANCH_SETTLED"


class CoordinatorFault(TrypactError):
    """The coordinator failed, and says so."""

    code = "INTERNAL"


class SchemaMismatch(CoordinatorFault):
    """The journal's schema is of another version than the coordinator."""

    code = "SCHEMA_MISMATCH"


class RecordRejected(CoordinatorFault):
    """The journal's database refuses to write this transaction."""

    code = "RECORD_REJECTED"


class UnreadableRow(CoordinatorFault):
    """The journal's row of this transaction is damaged; its operator must look at it."""

    code = "UNREADABLE_ROW"


class TransactionFrozen(CoordinatorFault):
    """A violated invariant has stopped this transaction; its operator must look at it."""

    code = "TRANSACTION_FROZEN"


class InvariantViolated(CoordinatorFault):
    """An invariant does not hold; the coordinator froze the transaction."""

    code = "INVARIANT_VIOLATED"


# ---------------------------------------------------------------- payloads and participants


class PayloadError(TrypactError):
    """A payload cannot be written or read.

    Attributes:
        field: the path of what is wrong, "lines[0].sku"; empty for the payload as a whole.
        why: what is wrong with it.

        >>> tcc("inventory.reserve", {"pieces": {1, 2}})
        Traceback (most recent call last):
        trypact.errors.PayloadError: payload.pieces: is set, which has no form in JSON (of ...)
    """

    def __init__(self, field: str, why: str) -> None:
        self.field = field
        self.why = why
        super().__init__(f"{field}: {why}" if field else why)

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.field, self.why)


def by_code(code: str) -> type[TrypactError] | None:
    """Return the class the coordinator means by a code; None for one of a newer coordinator."""
    return _BY_CODE.get(code)


def _with_code(root: type[TrypactError]) -> dict[str, type[TrypactError]]:
    found = {root.code: root} if root.code else {}
    for branch in root.__subclasses__():
        found |= _with_code(branch)
    return found


_BY_CODE = _with_code(TrypactError)
