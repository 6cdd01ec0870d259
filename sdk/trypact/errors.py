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
    │   ├── WrongTable
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

from trypact._coordinator_errors import CoordinatorFault as CoordinatorFault
from trypact._coordinator_errors import CoordinatorUnavailable as CoordinatorUnavailable
from trypact._coordinator_errors import InvariantViolated as InvariantViolated
from trypact._coordinator_errors import JournalLocked as JournalLocked
from trypact._coordinator_errors import JournalUnavailable as JournalUnavailable
from trypact._coordinator_errors import OwnershipLost as OwnershipLost
from trypact._coordinator_errors import RecordRejected as RecordRejected
from trypact._coordinator_errors import SchemaMismatch as SchemaMismatch
from trypact._coordinator_errors import ShuttingDown as ShuttingDown
from trypact._coordinator_errors import Starting as Starting
from trypact._coordinator_errors import TransactionFrozen as TransactionFrozen
from trypact._coordinator_errors import UnreadableRow as UnreadableRow
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
from trypact._participant_errors import WrongTable as WrongTable

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


# ---------------------------------------------------------------- what is refused


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
    """A field of a request, and what is wrong with it.

    >>> errors.FieldViolation("branches[0].after", "names 'pay', which is no branch").field
    'branches[0].after'
    """

    field: str
    description: str


class InvalidRequest(RequestRefused):
    """A field of the request is not valid.

    Attributes:
        violations: what is wrong, field by field.

        >>> try:
        ...     await client.execute("order", [tcc("inventory.reserve", after=["pay"])])
        ... except errors.InvalidRequest as no:
        ...     print(no.violations[0].field, no.violations[0].description)
        branches[0].after names 'pay', which is no branch of the transaction
    """

    code = "INVALID_ARGUMENT"

    def __init__(self, message: str = "", violations: tuple[FieldViolation, ...] = ()) -> None:
        self.violations = violations
        super().__init__(message or "A field of the request is not valid.")


class LimitExceeded(InvalidRequest):
    """A field of the request is larger than its limit.

    >>> tcc("inventory.reserve", {"remark": "x" * 300_000})
    Traceback (most recent call last):
    trypact.errors.LimitExceeded: payload of inventory.reserve: is 300013 bytes long; ...
    """

    code = "LIMIT_EXCEEDED"


class UnknownParticipant(RequestRefused):
    """No participant of that name is registered.

    >>> await client.execute("order", [tcc("inventry.reserve")])
    Traceback (most recent call last):
    trypact.errors.UnknownParticipant: ...
    """

    code = "UNKNOWN_PARTICIPANT"


class UnknownAction(RequestRefused):
    """The participant has registered no such action.

    >>> await client.execute("order", [tcc("inventory.reserv")])
    Traceback (most recent call last):
    trypact.errors.UnknownAction: branch 'reserv': participant 'inventory' has no action ...
    """

    code = "UNKNOWN_ACTION"


class KindNotServed(RequestRefused):
    """The action does not serve branches of that kind.

    >>> await client.execute("order", [message("inventory.reserve")])
    Traceback (most recent call last):
    trypact.errors.KindNotServed: ... inventory.reserve serves no message branches; ...
    """

    code = "KIND_NOT_SERVED"


class UnknownTopic(RequestRefused):
    """No participant has subscribed to the topic, so its message would reach nobody.

    >>> await client.execute("order", [message(topic="order.payed")])
    Traceback (most recent call last):
    trypact.errors.UnknownTopic: branch 'payed': nobody has subscribed to 'order.payed'
    """

    code = "UNKNOWN_TOPIC"


class ParticipantUnavailable(RequestRefused):
    """No instance of the participant is alive.

    >>> issubclass(errors.by_code("PARTICIPANT_UNAVAILABLE"), errors.RequestRefused)
    True
    """

    code = "PARTICIPANT_UNAVAILABLE"


class NoTransaction(RequestRefused):
    """The call belongs to no transaction, and this is only possible in one.

    >>> client.joined()
    Traceback (most recent call last):
    trypact.errors.NoTransaction: The call belongs to no transaction, ...
    """


class UnknownTransaction(RequestRefused):
    """The coordinator has never heard of this xid, or retention has removed it.

    >>> await client.get("order-never-heard-of")
    Traceback (most recent call last):
    trypact.errors.UnknownTransaction: no transaction order-never-heard-of is known
    """

    code = "UNKNOWN_TRANSACTION"


class UnknownBranch(RequestRefused):
    """The transaction has no branch of that id.

    >>> outcome = await client.execute("order", [tcc("inventory.reserve", {"pieces": 1})])
    >>> outcome.branch("ship")
    Traceback (most recent call last):
    trypact.errors.UnknownBranch: transaction ... has no branch 'ship'; it has: 'reserve'
    """

    code = "UNKNOWN_BRANCH"


class XidConflict(RequestRefused):
    """This xid already names a transaction with other content.

    >>> for pieces in (1, 2):
    ...     reserve = tcc("inventory.reserve", {"pieces": pieces})
    ...     _ = await client.execute("order", [reserve], xid="order-20")
    Traceback (most recent call last):
    trypact.errors.XidConflict: ... with other content: branch 'reserve' had another payload
    """

    code = "XID_CONFLICT"


class XidInUse(RequestRefused):
    """Another process has begun an interactive transaction with this xid.

    >>> async with client.transaction("order", xid="order-21") as mine:
    ...     await mine.try_("inventory.reserve", {"pieces": 1})
    ...     async with client.transaction("order", xid="order-21") as another:
    ...         await another.try_("inventory.reserve", {"pieces": 1})
    Traceback (most recent call last):
    trypact.errors.XidInUse: another process has begun transaction order-21
    """

    code = "XID_IN_USE"


class BranchConflict(RequestRefused):
    """This branch id already names a branch with other content.

    >>> async with client.transaction("order", xid="order-22") as tx:
    ...     await tx.try_("inventory.reserve", {"pieces": 1}, id="red")
    ...     await tx.try_("inventory.reserve", {"pieces": 2}, id="red")
    Traceback (most recent call last):
    trypact.errors.BranchConflict: branch id 'red' is used twice in transaction order-22
    """

    code = "BRANCH_CONFLICT"


class AlreadyConfirmed(RequestRefused):
    """The decision is Confirm, and a decision never changes.

    >>> async with client.transaction("order", xid="order-23") as tx:
    ...     _ = await tx.try_("inventory.reserve", {"pieces": 1})
    >>> async with client.joined([("trypact-xid", "order-23"), ("trypact-call", "late")]) as tx:
    ...     await tx.try_("inventory.reserve", {"pieces": 1})
    Traceback (most recent call last):
    trypact.errors.AlreadyConfirmed: The decision is Confirm, and a decision never changes.
    """

    code = "ALREADY_CONFIRMED"


class AlreadyCancelled(RequestRefused):
    """The decision is Cancel, and a decision never changes.

    >>> _ = await client.decision("order-24", settle=True)  # never to happen
    >>> await client.execute("order", [tcc("inventory.reserve", {"pieces": 1})], xid="order-24")
    Traceback (most recent call last):
    trypact.errors.AlreadyCancelled: transaction order-24 was cancelled before it was begun
    """

    code = "ALREADY_CANCELLED"


class NotDecided(RequestRefused):
    """The transaction is not decided yet, and this is only possible after the decision.

    >>> issubclass(errors.by_code("NOT_DECIDED"), errors.RequestRefused)
    True
    """

    code = "NOT_DECIDED"


class TryUnsettled(RequestRefused):
    """A Try of this transaction has no OK yet, so it cannot be confirmed.

    >>> issubclass(errors.by_code("TRY_UNSETTLED"), errors.RequestRefused)
    True
    """

    code = "TRY_UNSETTLED"


class PivotSent(RequestRefused):
    """The pivot was sent, so nothing but its answer decides this transaction any more.

    >>> issubclass(errors.by_code("PIVOT_SENT"), errors.RequestRefused)
    True
    """

    code = "PIVOT_SENT"


class BranchSettled(RequestRefused):
    """The branch is settled already.

    >>> issubclass(errors.by_code("BRANCH_SETTLED"), errors.RequestRefused)
    True
    """

    code = "BRANCH_SETTLED"


# ---------------------------------------------------------------- payloads


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
    """Return the class the coordinator means by a code; None for one of a newer coordinator.

    >>> errors.by_code("XID_CONFLICT")
    <class 'trypact.errors.XidConflict'>
    """
    return _BY_CODE.get(code)


def _with_code(root: type[TrypactError]) -> dict[str, type[TrypactError]]:
    found = {root.code: root} if root.code else {}
    for branch in root.__subclasses__():
        found |= _with_code(branch)
    return found


_BY_CODE = _with_code(TrypactError)
