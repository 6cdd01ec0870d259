"""Answers that come at the same moment are one step, and end as they would one after another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trypact_coordinator.core.errors import TryUnsettled
from trypact_coordinator.core.events import Answered, CommitAsked, Ok, Pending, Refused, Unknown
from trypact_coordinator.core.outcome import Outcome
from trypact_coordinator.core.policy import Policy
from trypact_coordinator.core.step import begin, step, step_together
from trypact_coordinator.core.transaction import (
    BranchSpec,
    BranchState,
    Kind,
    Operation,
    Spec,
    Transaction,
)

NOW = 1_000_000
BRANCHES = tuple(BranchSpec(f"b{number}", Kind.TCC, "inventory.reserve") for number in range(4))
ANSWERS = st.sampled_from([Ok(b"1"), Refused("no"), Pending(), Unknown("lost")])


def begun() -> Outcome:
    return begin(Spec("x", "test", 60_000, b"f"), BRANCHES, NOW, 1, Policy())


def answers_to(outcome: Outcome, answers: list[object]) -> list[Answered]:
    return [
        Answered(call.branch_id, call.operation, call.attempt, answer)  # type: ignore[arg-type]
        for call, answer in zip(outcome.calls, answers, strict=True)
    ]


def known(tx: Transaction) -> list[tuple[bool, bytes]]:
    """What was learnt of each branch: whether it may hold anything, and its result."""
    free = (BranchState.REFUSED, BranchState.CANCELLED)
    return [(branch.state in free, branch.result) for branch in tx.branches]


@given(st.lists(ANSWERS, min_size=4, max_size=4))
def test_the_decision_is_that_of_the_same_answers_one_by_one(answers: list[object]) -> None:
    opened = begun()
    events = answers_to(opened, answers)

    one_by_one = opened.transaction
    for event in events:
        one_by_one = step(one_by_one, event, NOW, Policy()).transaction
    together = step_together(opened.transaction, events, NOW, Policy()).transaction

    assert together.decision is one_by_one.decision
    assert together.refused_branch_id == one_by_one.refused_branch_id
    assert known(together) == known(one_by_one)


def test_four_answers_need_one_record() -> None:
    opened = begun()

    decided = step_together(opened.transaction, answers_to(opened, [Ok()] * 4), NOW, Policy())
    finished = step_together(decided.transaction, answers_to(decided, [Ok()] * 4), NOW, Policy())

    assert [call.operation for call in decided.calls] == [Operation.CONFIRM] * 4
    assert [o.transaction.version for o in (opened, decided, finished)] == [1, 2, 3]
    assert finished.transaction.settled


def test_nothing_of_any_event_happens_when_one_is_not_allowed() -> None:
    spec = Spec("x", "test", 60_000, b"f", interactive=True)
    opened = begin(spec, BRANCHES, NOW, 1, Policy())
    first = answers_to(opened, [Ok()] * 4)[0]

    with pytest.raises(TryUnsettled):
        step_together(opened.transaction, [first, CommitAsked()], NOW, Policy())

    assert opened.transaction.branches[0].state is BranchState.TRYING
