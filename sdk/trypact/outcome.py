"""How transactions stand and end, as their initiators see it: frozen values."""

from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar, overload

from trypact.errors import CoordinatorFault, UnknownBranch
from trypact.kinds import BranchState, Decision, Kind, State, WordT
from trypact.payload import decode
from trypact.v1 import transaction_pb2

ValueT = TypeVar("ValueT")


class BranchOutcome(NamedTuple):
    """How a branch stands.

    >>> outcome = await client.execute("order", [tcc("inventory.reserve", {"pieces": 2})])
    >>> branch = outcome.branch("reserve")
    >>> str(branch.state), branch.result
    ('confirmed', b'{"pieces":2}')
    """

    id: str
    kind: Kind
    action: str
    state: BranchState
    # What the participant answered to Try or Deliver, undecoded.
    result: bytes = b""
    # Why it refused, or its last error.
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a transaction stands.

    `final` says that every tcc and saga branch is settled; messages and notices may still be on
    their way then.

        >>> outcome = await client.execute("order", [tcc("inventory.reserve", {"pieces": 2})])
        >>> outcome.confirmed, outcome.final, outcome.result("reserve")
        (True, True, {'pieces': 2})
    """

    xid: str
    name: str
    state: State
    decision: Decision
    # Why it was cancelled; empty otherwise.
    reason: str = ""
    # The branch whose refusal decided the cancel; empty otherwise.
    refused_branch_id: str = ""
    branches: tuple[BranchOutcome, ...] = ()

    @property
    def confirmed(self) -> bool:
        """Whether the decision is Confirm."""
        return self.decision is Decision.CONFIRM

    @property
    def cancelled(self) -> bool:
        """Whether the decision is Cancel."""
        return self.decision is Decision.CANCEL

    @property
    def final(self) -> bool:
        """Whether every tcc and saga branch is settled."""
        return self.state is State.CONFIRMED or self.state is State.CANCELLED

    def branch(self, branch_id: str) -> BranchOutcome:
        """Return how one branch stands. Raises UnknownBranch."""
        for branch in self.branches:
            if branch.id == branch_id:
                return branch
        known = ", ".join(repr(branch.id) for branch in self.branches) or "none"
        raise UnknownBranch(f"transaction {self.xid} has no branch {branch_id!r}; it has: {known}")

    @overload
    def result(self, branch_id: str, as_type: type[ValueT]) -> ValueT: ...
    @overload
    def result(self, branch_id: str, as_type: Any = Any) -> Any: ...
    def result(self, branch_id: str, as_type: Any = Any) -> Any:
        """Return what a branch's Try or Deliver answered, as that type.

        Without a type it is JSON's own (None where the participant answered nothing). Raises
        UnknownBranch, and PayloadError where the answer is of another form.
        """
        return decode(self.branch(branch_id).result, as_type)


class Standing(NamedTuple):
    """What is decided about an xid.

    >>> outcome = await client.execute("order", [tcc("inventory.reserve", {"pieces": 2})])
    >>> str((await client.decision(outcome.xid)).decision)
    'confirm'
    """

    decision: Decision
    # Every tcc and saga branch is settled.
    final: bool
    # No participant will be asked for anything any more: its deliveries are over too.
    closed: bool


class Reported(NamedTuple):
    """What a participant's report met.

    >>> outcome = await client.execute("order", [tcc("inventory.reserve", {"pieces": 2})])
    >>> late = await client.report(outcome.xid, "reserve", "try", ok={"pieces": 2})
    >>> str(late.decision), late.accepted
    ('confirm', False)
    """

    # The transaction's decision as it stands, so that a late reporter knows what to undo.
    decision: Decision
    # False if the report came late or twice and changed nothing.
    accepted: bool


class _Words(dict[int, WordT]):
    """The words of a vocabulary by their numbers on the wire."""

    def __init__(self, vocabulary: type[WordT]) -> None:
        super().__init__({word.number: word for word in vocabulary})
        self._name = vocabulary.__name__

    def __missing__(self, number: int) -> WordT:
        raise CoordinatorFault(
            f"the coordinator answered {self._name} {number}, which this version of trypact "
            "does not know; use a newer one"
        )


_KINDS = _Words(Kind)
_STATES = _Words(State)
_DECISIONS = _Words(Decision)
_BRANCH_STATES = _Words(BranchState)


def decision_of(number: int) -> Decision:
    """Read a decision. Raises CoordinatorFault for one that only a newer version understands."""
    return _DECISIONS[number]


def outcome_of(wire: transaction_pb2.TransactionOutcome) -> Outcome:
    """Read an outcome. Raises CoordinatorFault for what only a newer version understands."""
    return Outcome(
        wire.xid,
        wire.name,
        _STATES[wire.state],
        _DECISIONS[wire.decision],
        wire.reason,
        wire.refused_branch_id,
        tuple([branch_outcome_of(branch) for branch in wire.branches]),
    )


def branch_outcome_of(wire: transaction_pb2.BranchOutcome) -> BranchOutcome:
    """Read how a branch stands. Raises CoordinatorFault."""
    # By position: there is one for every branch of every transaction.
    return BranchOutcome(
        wire.id,
        _KINDS[wire.kind],
        wire.action,
        _BRANCH_STATES[wire.state],
        wire.result,
        wire.reason,
    )


# A Try that has no answer, and operations after the decision that have none.
_WITHOUT_TRY = (BranchState.REGISTERED, BranchState.TRYING)
_WITHOUT_END = (
    *_WITHOUT_TRY,
    BranchState.TRIED,
    BranchState.CONFIRMING,
    BranchState.CANCELLING,
)
# Whoever wants to know about more of them looks at the outcome.
_BRANCHES_NAMED_MAX = 3


def standing(outcome: Outcome, took: str) -> str:
    """Say, in a sentence without its end, what a transaction is waiting for after so long."""
    about = f"transaction {outcome.xid} is"
    if outcome.final:
        return f"{about} {outcome.state} by now"
    if outcome.decision is Decision.UNDECIDED:
        return f"{about} undecided {took}{_waited_for(outcome, _WITHOUT_TRY)}"
    return (
        f"{about} decided {outcome.decision} but not settled {took}"
        f"{_waited_for(outcome, _WITHOUT_END)}"
    )


def _waited_for(outcome: Outcome, states: tuple[BranchState, ...]) -> str:
    waiting = [
        branch
        for branch in outcome.branches
        if branch.kind in (Kind.TCC, Kind.SAGA) and branch.state in states
    ]
    named = [
        f"branch {branch.id} ({branch.action}) has no answer yet"
        + (f", it is {branch.state}" if branch.state not in _WITHOUT_TRY else "")
        + (f": {branch.reason}" if branch.reason else "")
        for branch in waiting[:_BRANCHES_NAMED_MAX]
    ]
    if len(waiting) > _BRANCHES_NAMED_MAX:
        named.append(f"and {len(waiting) - _BRANCHES_NAMED_MAX} more")
    return f": {'; '.join(named)}" if named else ""
