"""Each rule of a kind, broken on purpose, is caught by the simulation: see `test_mutants`."""

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from trypact_coordinator.core import answers, draft, step, topics
from trypact_coordinator.core.draft import Draft
from trypact_coordinator.core.events import Registered
from trypact_coordinator.core.machine import BRANCH, BranchTrigger, move_without_call
from trypact_coordinator.core.policy import deadline
from trypact_coordinator.core.transaction import (
    NEVER,
    SETTLED,
    Branch,
    BranchSpec,
    BranchState,
    Decision,
    On,
    Operation,
    Role,
    Transaction,
)
from trypact_coordinator.runtime import coordinator
from trypact_coordinator.runtime.decided import Decided, decided

from tests.sim.mutants import caught, resumed_but

# ---------------------------------------------------------------- pivots and budgets


def test_the_pivot_is_sent_without_a_record(monkeypatch: pytest.MonkeyPatch):
    def forgets(self: Draft, pivot: Branch) -> None:
        self.change(deadline_at=NEVER)

    monkeypatch.setattr(Draft, "_pass_the_pivot", forgets)
    caught("pivot: .* the journal does not know")


def test_the_deadline_overrules_the_pivot(monkeypatch: pytest.MonkeyPatch):
    decide_if_due = Draft._decide_if_due

    def overrules(self: Draft) -> None:
        decide_if_due(self)
        due = deadline(self.tx.created_at, self.tx.spec.timeout_ms)
        if not self.tx.decided and self.now >= due:
            self.decide(Decision.CANCEL, "the deadline passed")

    monkeypatch.setattr(Draft, "_decide_if_due", overrules)
    caught("decision: .* cancelled by nobody")


def test_an_operator_overrules_the_pivot(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(step, "_require_cancellable", lambda tx: None)
    caught("decision: .* cancelled by nobody")


def test_the_pivot_does_not_wait_for_the_others(monkeypatch: pytest.MonkeyPatch):
    in_order = draft._in_order

    def impatient(branch: Branch, *rest: Any) -> bool:
        return branch.spec.pivot or in_order(branch, *rest)

    monkeypatch.setattr(draft, "_in_order", impatient)
    caught("order: Try of .*pivot.* before|pivot: .* could be refused")


def test_a_new_term_takes_a_step_after_the_pivot_for_done(monkeypatch: pytest.MonkeyPatch):
    def takes(one: Draft, before: list) -> None:
        for n, branch in enumerate(one.branches):
            if branch.role is Role.FORWARD and branch.state is BranchState.TRYING:
                one.move(n, BranchTrigger.DONE)

    resumed_but(monkeypatch, takes)
    caught("I2: .* nothing stands")


def test_a_refusal_after_the_pivot_ends_its_step(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(answers, "DECIDING", frozenset(Role))
    caught("I2: .* nothing stands")


def test_a_budget_never_ends(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(answers, "_is_spent", lambda one, branch: False)
    caught("budget: .* waits")


def test_who_has_no_budget_is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(answers, "_is_spent", lambda one, branch: True)
    caught("decision: .* cancelled by nobody")


def test_what_was_given_up_is_not_undone(monkeypatch: pytest.MonkeyPatch):
    give_up = answers._give_up

    def forgets(one: Draft, index: int, branch: Branch, operation: Operation) -> None:
        give_up(one, index, branch, operation)
        if one.branches[index].state is BranchState.TRYING:
            one.move(index, BranchTrigger.RELEASE)

    released = (BranchState.TRYING, BranchTrigger.RELEASE)
    monkeypatch.setitem(BRANCH, released, BranchState.CANCELLED)
    monkeypatch.setattr(answers, "_give_up", forgets)
    caught("I2|L2")


def test_a_notice_holds_the_outcome_back(monkeypatch: pytest.MonkeyPatch):
    finish = Draft._finish_if_settled

    def waits(self: Draft) -> None:
        if all(branch.state in SETTLED for branch in self.branches):
            finish(self)

    monkeypatch.setattr(Draft, "_finish_if_settled", waits)
    caught("L4: .* waits for deliveries")


def test_a_topic_forgets_a_subscriber(monkeypatch: pytest.MonkeyPatch):
    for_each = topics._for_each

    def forgets(spec: BranchSpec, actions: Sequence[str]) -> Iterable[BranchSpec]:
        return for_each(spec, actions[:-1])

    monkeypatch.setattr(topics, "_for_each", forgets)
    caught("topic: .* went to")


# ---------------------------------------------------------------- messages and notices


def test_a_delivery_is_for_any_decision(monkeypatch: pytest.MonkeyPatch):
    def settle(role: Role, on: On, decision: Decision, state: BranchState) -> BranchTrigger | None:
        found = move_without_call(role, on, decision, state)
        return None if found is BranchTrigger.DISMISS else found

    monkeypatch.setattr(draft, "move_without_call", settle)
    caught("I3: .* delivered, but the decision is")


def test_a_delay_is_forgotten(monkeypatch: pytest.MonkeyPatch):
    decide = Draft.decide

    def forgets(self: Draft, *args: Any, **kwargs: Any) -> None:
        decide(self, *args, **kwargs)
        for n, branch in enumerate(self.branches):
            if branch.spec.delay_ms and branch.state is BranchState.REGISTERED:
                self.replace(n, due_at=0)

    monkeypatch.setattr(Draft, "decide", forgets)
    caught("delay: .* early")


def test_a_new_term_forgets_a_delay(monkeypatch: pytest.MonkeyPatch):
    def forgets(one: Draft, before: list) -> None:
        for n, branch in enumerate(one.branches):
            if branch.spec.delay_ms and branch.state is BranchState.REGISTERED:
                one.replace(n, due_at=0)

    resumed_but(monkeypatch, forgets)
    caught("delay: .* early")


def test_deliveries_come_in_any_order(monkeypatch: pytest.MonkeyPatch):
    in_order = draft._in_order

    def impatient(branch: Branch, operation: Operation, *rest: Any) -> bool:
        return operation is Operation.DELIVER or in_order(branch, operation, *rest)

    monkeypatch.setattr(draft, "_in_order", impatient)
    caught("order: .* delivered before")


def test_a_message_is_given_up(monkeypatch: pytest.MonkeyPatch):
    ask_again = answers._ask_again

    def gives_up(one: Draft, index: int, branch: Branch, *rest: Any, **more: Any) -> None:
        ask_again(one, index, branch, *rest, **more)
        if branch.role is Role.MESSAGE and branch.attempt > 2:
            one.move(index, BranchTrigger.GIVE_UP)

    monkeypatch.setattr(answers, "_ask_again", gives_up)
    caught("L1: .* ended UNDELIVERED")


def test_a_notice_calls_a_human(monkeypatch: pytest.MonkeyPatch):
    ask_again = answers._ask_again

    def calls(one: Draft, index: int, branch: Branch, *rest: Any, **more: Any) -> None:
        ask_again(one, index, branch, *rest, **more)
        if branch.role is Role.NOTICE and branch.attempt >= one.policy.attempts_until_stuck:
            one.replace(index, stuck=True)

    monkeypatch.setattr(answers, "_ask_again", calls)
    caught("human: .* needs none")


def test_what_came_with_a_try_is_dropped(monkeypatch: pytest.MonkeyPatch):
    registered = step._HANDLERS[Registered]

    def drops(one: Draft, event: Registered) -> None:
        registered(one, Registered(event.branch))

    monkeypatch.setitem(step._HANDLERS, Registered, drops)
    caught("records first: .* was tried")


# ---------------------------------------------------------------- reservations that end


def test_the_end_of_a_reservation_is_ignored(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(answers, "_shorten_deadline", lambda one, branch, expires_at: None)
    caught("expiry: .* is held")


def test_a_new_term_has_the_first_deadline(monkeypatch: pytest.MonkeyPatch):
    def forgets(one: Draft, before: list) -> None:
        if not one.tx.decided and not one.tx.pivot_sent:
            one.change(deadline_at=deadline(one.tx.created_at, one.tx.spec.timeout_ms))

    resumed_but(monkeypatch, forgets)
    caught("expiry: .* is held")


def test_a_reservation_ends_sooner_than_it_said(monkeypatch: pytest.MonkeyPatch):
    shorten = answers._shorten_deadline

    def hurries(one: Draft, branch: Branch, expires_at: int) -> None:
        shorten(one, branch, expires_at - 1_000)

    monkeypatch.setattr(answers, "_shorten_deadline", hurries)
    caught("expiry: .* that nobody asked for")


# ---------------------------------------------------------------- what is told to be over


def test_what_is_final_is_told_to_be_closed(monkeypatch: pytest.MonkeyPatch):
    def hasty(tx: Transaction, flushed: Transaction | None) -> Decided:
        return decided(tx, flushed)._replace(closed=decided(tx, flushed).final)

    monkeypatch.setattr(coordinator, "decided", hasty)
    caught("closed: .* told closed, and has")


def test_what_is_in_memory_is_told_to_be_final(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(coordinator, "decided", lambda tx, flushed: decided(tx, tx))
    caught("closed: .* is not on disk")


def test_nobody_is_told_that_it_is_over(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(coordinator, "decided", lambda tx, flushed: Decided(tx.decision))
    caught("closed: .* nobody says so")
