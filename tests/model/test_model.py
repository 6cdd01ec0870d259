"""Every reachable state keeps the invariants, and every planted bug is found.

`TRYPACT_MODEL_BRANCHES=4` explores four branches instead of three (minutes instead of seconds).
"""

import os
from collections.abc import Iterator

import pytest
from msgspec.structs import replace
from trypact_coordinator.core import answers, draft, machine, step
from trypact_coordinator.core.draft import Draft
from trypact_coordinator.core.events import Answer, Ok, TimePassed
from trypact_coordinator.core.machine import BRANCH, BranchTrigger, move_without_call
from trypact_coordinator.core.transaction import (
    NEVER,
    PARKED,
    Branch,
    BranchState,
    Decision,
    On,
    Operation,
    Role,
    State,
)

from tests.model.configurations import configurations, message, pivot, saga, tcc
from tests.model.explorer import explore
from tests.model.protocol import Model
from tests.model.world import POLICY, Config, Fence, Violation, World
from tests.sim.mutants import resumed_but

BRANCHES = int(os.environ.get("TRYPACT_MODEL_BRANCHES", "3"))


CONFIGS = configurations(BRANCHES)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.timeout(1800)
def test_every_reachable_state_keeps_the_invariants(name: str):
    found = explore(Model(CONFIGS[name]))
    assert found.states > 1000, "the model does something"


SMALL = Config((tcc("a"), tcc("b", "a")), faults=2)
SAGAS = Config((saga("a"), saga("b", "a")), faults=1)
PARALLEL = Config((tcc("a"), tcc("b")), faults=1)


def must_find(model: Model, why: str) -> None:
    with pytest.raises(Violation, match=why):
        explore(model, sample=1)


def test_confirm_before_every_try_is_ok_is_found(monkeypatch: pytest.MonkeyPatch):
    def decide_if_due(self: Draft) -> None:
        if any(b.state is BranchState.TRIED for b in self.branches):
            self.decide(Decision.CONFIRM)

    monkeypatch.setattr(Draft, "all_tried", lambda self: True)
    monkeypatch.setattr(Draft, "_decide_if_due", decide_if_due)
    must_find(Model(PARALLEL), "I2: confirmed, but|never ends")


def test_a_cancel_that_skips_unknown_tries_is_found(monkeypatch: pytest.MonkeyPatch):
    call = Draft._call_what_is_ready

    def skips(self: Draft) -> int | None:
        for n, branch in enumerate(self.branches):
            unknown = branch.state is BranchState.TRYING and not branch.in_flight
            if unknown and self.tx.decision is Decision.CANCEL:
                self.move(n, BranchTrigger.RELEASE)
        return call(self)

    released = (BranchState.TRYING, BranchTrigger.RELEASE)
    monkeypatch.setitem(BRANCH, released, BranchState.CANCELLED)
    monkeypatch.setattr(Draft, "_call_what_is_ready", skips)
    must_find(Model(PARALLEL), "I2: cancelled, but . is TRIED")


def test_a_recovery_without_doubt_is_found(monkeypatch: pytest.MonkeyPatch):
    def forget(one: Draft, before: list) -> None:
        for n, branch in enumerate(before):
            if branch.state is BranchState.REGISTERED:
                one.branches[n] = branch

    resumed_but(monkeypatch, forget)
    must_find(Model(SMALL), "I2: cancelled, but b is TRIED")


def test_a_recovery_that_trusts_the_record_for_what_is_running_is_found(
    monkeypatch: pytest.MonkeyPatch,
):
    def trust(one: Draft, before: list) -> None:
        for n, branch in enumerate(before):
            if branch.state is BranchState.TRYING and not branch.in_flight:
                one.replace(n, quiet_at=branch.quiet_at)

    resumed_but(monkeypatch, trust)
    must_find(Model(Config((tcc("a"),), faults=3)), "while its Try may be running")


def test_a_recovery_that_presumes_cancel_is_found(monkeypatch: pytest.MonkeyPatch):
    def presume(one: Draft, before: list) -> None:
        if not one.tx.decided:
            one.decide(Decision.CANCEL, "found undecided")

    resumed_but(monkeypatch, presume)
    must_find(Model(PARALLEL), "decided by nobody")


def test_a_recovery_that_decides_again_is_found(monkeypatch: pytest.MonkeyPatch):
    def decide_again(one: Draft, before: list) -> None:
        if one.tx.state is State.CONFIRMING:
            one.change(state=State.TRYING)
            one.decide(Decision.CANCEL, "again")

    resumed_but(monkeypatch, decide_again)
    must_find(Model(PARALLEL), "I3: CANCEL after CONFIRM")


def test_a_recovery_that_forgets_a_state_is_found(monkeypatch: pytest.MonkeyPatch):
    class Forgets(Model):
        def restarts(self, world: World) -> Iterator[tuple[str, World]]:
            if world.durable.state is not State.CONFIRMING:
                yield from super().restarts(world)

    must_find(Forgets(PARALLEL), "L1: it never ends")


def test_a_cancel_that_does_not_wait_for_a_running_try_is_found(
    monkeypatch: pytest.MonkeyPatch,
):
    call = Draft._call_what_is_ready

    def impatient(self: Draft) -> int | None:
        if self.tx.decision is Decision.CANCEL:
            for n, branch in enumerate(self.branches):
                if branch.state is BranchState.TRYING:
                    self.replace(n, quiet_at=0)
        return call(self)

    monkeypatch.setattr(Draft, "_call_what_is_ready", impatient)
    must_find(Model(SMALL), "while its Try may be running")


def test_a_decision_that_is_not_durable_before_confirm_is_found(
    monkeypatch: pytest.MonkeyPatch,
):
    decide = Draft.decide

    def lazily(self: Draft, *args: object, **kwargs: object) -> None:
        decide(self, *args, **kwargs)
        self._forced = False

    monkeypatch.setattr(Draft, "decide", lazily)
    must_find(Model(PARALLEL), "before the decision was durable")


def test_a_decision_that_is_told_before_it_is_durable_is_found():
    class Tells(Model):
        def steps(self, world: World, event: object, label: str):
            for what, to in super().steps(world, event, label):
                early = "crash before" in what and event_decides(world, event)
                yield what, self.told(to, early) if early else to

    def event_decides(world: World, event: object) -> Decision | None:
        after = step.step(world.tx, event, 1_000_000_000, POLICY).transaction
        return after.decision if after.decided and not world.tx.decided else None

    must_find(Tells(PARALLEL), "I3: ")


def test_compensation_out_of_order_is_found(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(draft, "compensated_first", lambda branches: {})
    must_find(Model(SAGAS), "compensated before the one that came after")


def test_a_saga_that_is_not_compensated_is_found(monkeypatch: pytest.MonkeyPatch):
    def settle(role: Role, on: On, decision: Decision, state: BranchState):
        if role is Role.SAGA and state is BranchState.TRIED and decision is Decision.CANCEL:
            return BranchTrigger.KEEP
        return move_without_call(role, on, decision, state)

    monkeypatch.setattr(draft, "move_without_call", settle)
    must_find(Model(SAGAS), "I2: cancelled, but a is TRIED")


def test_a_due_time_that_is_forgotten_is_found(monkeypatch: pytest.MonkeyPatch):
    due_at = Draft._due_at

    def forgets(self: Draft, wake_at: int | None) -> int | None:
        found = due_at(self, wake_at)
        return found if not found else None

    monkeypatch.setattr(Draft, "_due_at", forgets)
    must_find(Model(PARALLEL), "never looked at again")


def test_a_parked_timer_is_found(monkeypatch: pytest.MonkeyPatch):
    due_at = Draft._due_at

    def parks(self: Draft, wake_at: int | None) -> int | None:
        return due_at(self, wake_at) and PARKED

    monkeypatch.setattr(Draft, "_due_at", parks)
    must_find(Model(PARALLEL), "never looked at again")


def test_a_timer_that_overrules_the_decision_is_found(monkeypatch: pytest.MonkeyPatch):
    def overrules(one: Draft, event: TimePassed) -> None:
        if one.tx.state is State.CONFIRMING:
            one.change(state=State.TRYING)
            one.decide(Decision.CANCEL, "the deadline passed")

    monkeypatch.setitem(step._HANDLERS, TimePassed, overrules)
    must_find(Model(PARALLEL), "I3: CANCEL after CONFIRM")


def test_a_late_try_that_is_accepted_after_cancel_is_found():
    class Accepts(Model):
        def apply_late_try(self, fence: Fence) -> Iterator[tuple[Fence, Answer]]:
            yield Fence.TRIED, Ok()

    must_find(Accepts(PARALLEL), "I2: cancelled, but . is TRIED")


def test_an_empty_cancel_that_leaves_no_fence_is_found():
    class Forgets(Model):
        def apply_cancel(self, fence: Fence) -> Fence:
            return Fence.NONE if fence is Fence.NONE else super().apply_cancel(fence)

    must_find(Forgets(PARALLEL), "I2: cancelled, but . is TRIED")


def test_a_participant_that_forgets_its_fence_is_found():
    class Collects(Model):
        def apply_cancel(self, fence: Fence) -> Fence:
            return Fence.NONE

    must_find(Collects(PARALLEL), "I2: cancelled, but . is TRIED")


def test_a_cancel_that_leaves_pending_work_running_is_found():
    class Leaves(Model):
        def apply_cancel(self, fence: Fence) -> Fence:
            return fence if fence is Fence.PENDING else super().apply_cancel(fence)

    must_find(Leaves(PARALLEL._replace(pending=True)), "I2: cancelled, but . is")


def test_a_refusal_that_is_taken_for_ok_is_found(monkeypatch: pytest.MonkeyPatch):
    pair = (BranchState.TRYING, BranchTrigger.REFUSED)
    monkeypatch.setitem(BRANCH, pair, BranchState.TRIED)
    must_find(Model(PARALLEL), "I4: Confirm met REFUSED")


def test_a_crash_that_loses_a_delivery_is_found(monkeypatch: pytest.MonkeyPatch):
    def skip(one: Draft, before: list) -> None:
        for n, branch in enumerate(one.branches):
            if branch.state is BranchState.DELIVERING:
                one.branches[n] = replace(branch, state=BranchState.DELIVERED, in_flight=False)

    resumed_but(monkeypatch, skip)
    only = Config((tcc("a"), message("m")), faults=2)
    must_find(Model(only), "a delivery that never arrived")


PIVOT = Config((tcc("a"), pivot("p", "a"), saga("f", "p")), faults=1)


def test_a_pivot_that_is_sent_without_a_record_is_found(monkeypatch: pytest.MonkeyPatch):
    def forgets(self: Draft, branch: Branch) -> None:
        self.change(deadline_at=NEVER)

    monkeypatch.setattr(Draft, "_pass_the_pivot", forgets)
    must_find(Model(PIVOT), "I2: cancelled, but p is TRIED")


def test_a_deadline_that_overrules_the_pivot_is_found(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Draft, "_pass_the_pivot", lambda self, branch: self.force())
    must_find(Model(PIVOT), "I2: cancelled, but p is TRIED|never ends")


def test_an_operator_who_overrules_the_pivot_is_found(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(step, "_require_cancellable", lambda tx: None)
    must_find(Model(PIVOT._replace(operator=True)), "I2: cancelled, but p is TRIED|never ends")


def test_a_pivot_that_does_not_wait_for_the_others_is_found(monkeypatch: pytest.MonkeyPatch):
    in_order = draft._in_order

    def impatient(branch: Branch, *rest: object) -> bool:
        return branch.spec.pivot or in_order(branch, *rest)

    monkeypatch.setattr(draft, "_in_order", impatient)
    must_find(Model(PIVOT), "the pivot took effect while a was")


def test_a_step_after_the_pivot_that_does_not_wait_for_it_is_found(
    monkeypatch: pytest.MonkeyPatch,
):
    undecided = (Role.FORWARD, Decision.UNDECIDED, BranchState.REGISTERED)
    monkeypatch.setitem(machine._WANTED, undecided, Operation.TRY)
    in_order = draft._in_order
    monkeypatch.setattr(
        draft, "_in_order", lambda one, *rest: one.role is Role.FORWARD or in_order(one, *rest)
    )
    must_find(Model(PIVOT), "f came before the decision was durable")


def test_a_refusal_after_the_pivot_that_ends_its_step_is_found(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(answers, "DECIDING", frozenset(Role))
    must_find(Model(PIVOT), "I2: confirmed, but f is NONE")


def test_a_compensated_pivot_is_found(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Draft, "_pass_the_pivot", lambda self, branch: None)
    for state in (BranchState.TRYING, BranchState.TRIED):
        cancelling = (Role.PIVOT, Decision.CANCEL, state)
        monkeypatch.setitem(machine._WANTED, cancelling, Operation.CANCEL)
    must_find(Model(PIVOT), "Cancel of p, which has none")


def test_a_budget_that_forgets_what_may_have_run_is_found(monkeypatch: pytest.MonkeyPatch):
    give_up = answers._give_up

    def forgets(one: Draft, index: int, branch: Branch, operation: Operation) -> None:
        give_up(one, index, branch, operation)
        one.move(index, BranchTrigger.RELEASE)

    released = (BranchState.TRYING, BranchTrigger.RELEASE)
    monkeypatch.setitem(BRANCH, released, BranchState.CANCELLED)
    monkeypatch.setattr(answers, "_give_up", forgets)
    must_find(Model(Config((saga("a", attempts=1),), faults=2)), "I2: cancelled, but a is TRIED")


def test_a_budget_of_who_has_none_is_found(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(answers, "_is_spent", lambda one, branch: True)
    must_find(Model(Config((saga("a"),), faults=2)), "decided by nobody")


def test_a_reservation_that_lengthens_the_deadline_is_found(monkeypatch: pytest.MonkeyPatch):
    def lengthens(one: Draft, branch: Branch, expires_at: int) -> None:
        one.change(deadline_at=expires_at)

    monkeypatch.setattr(answers, "_shorten_deadline", lengthens)
    must_find(Model(PARALLEL._replace(expires=True)), "later than the initiator said")
