"""The tables: what is in them, and that everything else is refused."""

import itertools

import pytest
from trypact_coordinator.core.machine import (
    BRANCH,
    OPERATION_OF,
    OPERATIONS,
    TRANSACTION,
    BranchTrigger,
    IllegalTransition,
    Trigger,
    move_without_call,
    next_branch_state,
    next_state,
    wanted,
)
from trypact_coordinator.core.transaction import (
    SETTLED,
    BranchState,
    Decision,
    On,
    Operation,
    Role,
    State,
)


@pytest.mark.parametrize("pair", [*itertools.product(State, Trigger)], ids=str)
def test_a_transaction_moves_by_the_table_or_not_at_all(pair: tuple[State, Trigger]):
    if pair in TRANSACTION:
        assert next_state(*pair) is TRANSACTION[pair]
    else:
        with pytest.raises(IllegalTransition, match=pair[0].name):
            next_state(*pair)


def test_a_branch_moves_by_the_table_or_not_at_all():
    refused = 0
    for pair in itertools.product(BranchState, BranchTrigger):
        if pair in BRANCH:
            assert next_branch_state(*pair) is BRANCH[pair]
        else:
            refused += 1
            with pytest.raises(IllegalTransition, match=pair[0].name):
                next_branch_state(*pair)
    assert refused == len(BranchState) * len(BranchTrigger) - len(BRANCH)


def test_a_decision_has_no_way_back():
    for (state, _), to in TRANSACTION.items():
        assert to is not State.TRYING
        confirming = {State.CONFIRMING, State.CONFIRMED}
        assert state is State.TRYING or (state in confirming) == (to in confirming)


def test_a_settled_branch_has_no_way_out_and_every_other_one_has():
    left = {state for state, _ in BRANCH}
    assert left == set(BranchState) - SETTLED


def test_every_branch_state_can_be_reached():
    reached = {BranchState.REGISTERED}
    for _ in BranchState:
        reached |= {to for (state, _), to in BRANCH.items() if state in reached}
    assert reached == set(BranchState)


def test_confirm_follows_only_tried_and_cancel_every_try_that_may_have_run():
    confirmed_from = {s for (s, t) in BRANCH if t is BranchTrigger.SEND_CONFIRM}
    cancelled_from = {s for (s, t) in BRANCH if t is BranchTrigger.SEND_CANCEL}
    assert confirmed_from == {BranchState.TRIED, BranchState.CONFIRMING}
    assert cancelled_from == {BranchState.TRYING, BranchState.TRIED, BranchState.CANCELLING}


def test_only_a_branch_that_was_never_called_is_settled_without_a_call():
    for role, on, decision in itertools.product(Role, On, (Decision.CONFIRM, Decision.CANCEL)):
        for state in BranchState:
            trigger = move_without_call(role, on, decision, state)
            if trigger is None:
                continue
            never_called = state is BranchState.REGISTERED
            kept = trigger is BranchTrigger.KEEP and state is BranchState.TRIED
            assert never_called or (kept and OPERATIONS[role].on_confirm is None)
            assert next_branch_state(state, trigger) in SETTLED


@pytest.mark.parametrize(
    ("role", "decision", "states", "operation"),
    [
        (Role.TCC, Decision.UNDECIDED, "REGISTERED TRYING", Operation.TRY),
        (Role.TCC, Decision.CONFIRM, "TRIED CONFIRMING", Operation.CONFIRM),
        (Role.TCC, Decision.CANCEL, "TRYING TRIED CANCELLING", Operation.CANCEL),
        (Role.SAGA, Decision.UNDECIDED, "REGISTERED TRYING", Operation.TRY),
        (Role.SAGA, Decision.CONFIRM, "", None),
        (Role.SAGA, Decision.CANCEL, "TRYING TRIED CANCELLING", Operation.CANCEL),
        (Role.PIVOT, Decision.UNDECIDED, "REGISTERED TRYING", Operation.TRY),
        (Role.PIVOT, Decision.CONFIRM, "", None),
        (Role.PIVOT, Decision.CANCEL, "", None),
        (Role.FORWARD, Decision.UNDECIDED, "", None),
        (Role.FORWARD, Decision.CONFIRM, "REGISTERED TRYING", Operation.TRY),
        (Role.FORWARD, Decision.CANCEL, "", None),
        (Role.MESSAGE, Decision.UNDECIDED, "", None),
        (Role.MESSAGE, Decision.CONFIRM, "REGISTERED DELIVERING", Operation.DELIVER),
        (Role.NOTICE, Decision.CANCEL, "REGISTERED DELIVERING", Operation.DELIVER),
    ],
)
def test_what_a_branch_needs_next(
    role: Role, decision: Decision, states: str, operation: Operation | None
):
    for state in BranchState:
        expected = operation if state.name in states.split() else None
        assert wanted(role, decision, state) is expected


def test_a_branch_that_waits_for_an_answer_is_in_a_state_named_for_it():
    for state, operation in OPERATION_OF.items():
        assert (state, BranchTrigger.OK) in BRANCH
        assert state.name.startswith(operation.name[:3])
