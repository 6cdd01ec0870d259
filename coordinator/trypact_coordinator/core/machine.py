"""The two transition tables. The diagrams in the docs are drawn from them.

One machine serves all kinds: `OPERATIONS` says which operations a branch of each role has before
and after the decision, and the tables say what every answer to them means. A pair that is in no
table is IllegalTransition, which freezes the transaction instead of guessing.
"""

from enum import StrEnum
from typing import NamedTuple

from trypact_coordinator.core.errors import InvariantViolated
from trypact_coordinator.core.transaction import (
    BranchState,
    Decision,
    On,
    Operation,
    Role,
    State,
)


class Trigger(StrEnum):
    """What moves a transaction."""

    DECIDE_CONFIRM = "decide confirm"
    DECIDE_CANCEL = "decide cancel"
    ALL_SETTLED = "all tcc and saga branches settled"


class BranchTrigger(StrEnum):
    """What moves a branch."""

    SEND_TRY = "send try"
    SEND_CONFIRM = "send confirm"
    SEND_CANCEL = "send cancel"
    SEND_DELIVER = "send deliver"
    OK = "ok"
    # OK to a Try that came after Confirm: nothing is left to do.
    DONE = "ok, after the pivot"
    REFUSED = "refused"
    # A new term cannot know whether the last one sent this Try.
    DOUBT = "try may have been sent"
    # Cancelled before it was ever tried: there is nothing to undo.
    RELEASE = "nothing to cancel"
    # Confirmed, and the kind has no Confirm: its Try was the work.
    KEEP = "nothing to confirm"
    # The decision is not the one this delivery is for.
    DISMISS = "not needed"
    GIVE_UP = "give up"
    SKIP = "skip"


class IllegalTransition(InvariantViolated):
    """A state met a trigger that is in no table."""


TRANSACTION: dict[tuple[State, Trigger], State] = {
    (State.TRYING, Trigger.DECIDE_CONFIRM): State.CONFIRMING,
    (State.TRYING, Trigger.DECIDE_CANCEL): State.CANCELLING,
    (State.CONFIRMING, Trigger.ALL_SETTLED): State.CONFIRMED,
    (State.CANCELLING, Trigger.ALL_SETTLED): State.CANCELLED,
}

_B, _T = BranchState, BranchTrigger

BRANCH: dict[tuple[BranchState, BranchTrigger], BranchState] = {
    # Before the decision.
    (_B.REGISTERED, _T.SEND_TRY): _B.TRYING,
    (_B.REGISTERED, _T.DOUBT): _B.TRYING,
    (_B.TRYING, _T.SEND_TRY): _B.TRYING,
    (_B.TRYING, _T.OK): _B.TRIED,
    (_B.TRYING, _T.REFUSED): _B.REFUSED,
    # After Confirm.
    (_B.TRIED, _T.KEEP): _B.CONFIRMED,
    (_B.TRIED, _T.SEND_CONFIRM): _B.CONFIRMING,
    (_B.CONFIRMING, _T.SEND_CONFIRM): _B.CONFIRMING,
    (_B.CONFIRMING, _T.OK): _B.CONFIRMED,
    (_B.TRYING, _T.DONE): _B.CONFIRMED,
    # After Cancel, which goes to every Try that may have run.
    (_B.REGISTERED, _T.RELEASE): _B.CANCELLED,
    (_B.TRYING, _T.SEND_CANCEL): _B.CANCELLING,
    (_B.TRIED, _T.SEND_CANCEL): _B.CANCELLING,
    (_B.CANCELLING, _T.SEND_CANCEL): _B.CANCELLING,
    (_B.CANCELLING, _T.OK): _B.CANCELLED,
    # Deliveries, after either.
    (_B.REGISTERED, _T.DISMISS): _B.NOT_NEEDED,
    (_B.REGISTERED, _T.SEND_DELIVER): _B.DELIVERING,
    (_B.DELIVERING, _T.SEND_DELIVER): _B.DELIVERING,
    (_B.DELIVERING, _T.OK): _B.DELIVERED,
    (_B.DELIVERING, _T.GIVE_UP): _B.UNDELIVERED,
    # By hand, after the decision.
    (_B.REGISTERED, _T.SKIP): _B.SKIPPED,
    (_B.TRYING, _T.SKIP): _B.SKIPPED,
    (_B.TRIED, _T.SKIP): _B.SKIPPED,
    (_B.CONFIRMING, _T.SKIP): _B.SKIPPED,
    (_B.CANCELLING, _T.SKIP): _B.SKIPPED,
    (_B.DELIVERING, _T.SKIP): _B.SKIPPED,
}


class Operations(NamedTuple):
    """Which operation a role has before the decision, and after each decision."""

    before: Operation | None
    on_confirm: Operation | None
    on_cancel: Operation | None


OPERATIONS: dict[Role, Operations] = {
    Role.TCC: Operations(Operation.TRY, Operation.CONFIRM, Operation.CANCEL),
    Role.SAGA: Operations(Operation.TRY, None, Operation.CANCEL),
    Role.MESSAGE: Operations(None, Operation.DELIVER, Operation.DELIVER),
    Role.NOTICE: Operations(None, Operation.DELIVER, Operation.DELIVER),
    Role.PIVOT: Operations(Operation.TRY, None, None),
    Role.FORWARD: Operations(None, Operation.TRY, None),
}

SEND: dict[Operation, BranchTrigger] = {
    Operation.TRY: BranchTrigger.SEND_TRY,
    Operation.CONFIRM: BranchTrigger.SEND_CONFIRM,
    Operation.CANCEL: BranchTrigger.SEND_CANCEL,
    Operation.DELIVER: BranchTrigger.SEND_DELIVER,
}

# Where sending an operation takes a branch, from each state in which it may be sent. What `wanted`
# names is always in it, for that is made of it.
SENT: dict[tuple[BranchState, Operation], BranchState] = {
    (state, operation): BRANCH[state, trigger]
    for operation, trigger in SEND.items()
    for state in BranchState
    if (state, trigger) in BRANCH
}

# The operation whose answer a branch in this state is waiting for.
OPERATION_OF: dict[BranchState, Operation] = {
    BranchState.TRYING: Operation.TRY,
    BranchState.CONFIRMING: Operation.CONFIRM,
    BranchState.CANCELLING: Operation.CANCEL,
    BranchState.DELIVERING: Operation.DELIVER,
}

_DELIVERED_AFTER = {
    On.CONFIRM: (Decision.CONFIRM,),
    On.CANCEL: (Decision.CANCEL,),
    On.ANY: (Decision.CONFIRM, Decision.CANCEL),
}


def next_state(state: State, trigger: Trigger) -> State:
    """Return where a transaction goes. Raises IllegalTransition."""
    try:
        return TRANSACTION[state, trigger]
    except KeyError:
        raise IllegalTransition(f"a {state.name} transaction met: {trigger.value}") from None


def next_branch_state(state: BranchState, trigger: BranchTrigger) -> BranchState:
    """Return where a branch goes. Raises IllegalTransition."""
    try:
        return BRANCH[state, trigger]
    except KeyError:
        raise IllegalTransition(f"a {state.name} branch met: {trigger.value}") from None


def move_without_call(
    role: Role, on: On, decision: Decision, state: BranchState
) -> BranchTrigger | None:
    """Return the trigger that settles a branch at the decision with no call, if there is one."""
    return _SETTLING.get((role, on, decision, state))


def _settling_table() -> dict[tuple[Role, On, Decision, BranchState], BranchTrigger]:
    table: dict[tuple[Role, On, Decision, BranchState], BranchTrigger] = {}
    for role, operations in OPERATIONS.items():
        delivery = operations.on_confirm is Operation.DELIVER
        for on, delivered in _DELIVERED_AFTER.items():
            for decision in (Decision.CONFIRM, Decision.CANCEL):
                key = (role, on, decision)
                if delivery and decision not in delivered:
                    table[*key, BranchState.REGISTERED] = BranchTrigger.DISMISS
                if not delivery and decision is Decision.CANCEL:
                    table[*key, BranchState.REGISTERED] = BranchTrigger.RELEASE
                if operations.on_confirm is None and decision is Decision.CONFIRM:
                    table[*key, BranchState.TRIED] = BranchTrigger.KEEP
    return table


def wanted(role: Role, decision: Decision, state: BranchState) -> Operation | None:
    """Return the operation a branch needs next under a decision, in order or not."""
    return _WANTED.get((role, decision, state))


def _wanted_table() -> dict[tuple[Role, Decision, BranchState], Operation]:
    table: dict[tuple[Role, Decision, BranchState], Operation] = {}
    for role, operations in OPERATIONS.items():
        for decision, operation in (
            (Decision.UNDECIDED, operations.before),
            (Decision.CONFIRM, operations.on_confirm),
            (Decision.CANCEL, operations.on_cancel),
        ):
            if operation is None:
                continue
            for state in BranchState:
                if (state, operation) in SENT:
                    table[role, decision, state] = operation
    return table


_SETTLING = _settling_table()
_WANTED = _wanted_table()
