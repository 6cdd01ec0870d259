"""Each classic bug of this field, planted on purpose, is caught by the simulation.

A mutant that survives means that the simulation is blind there. Each names the oracle that catches
it, so that none is caught for another reason.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace
from trypact_coordinator.core import draft
from trypact_coordinator.core.draft import Draft
from trypact_coordinator.core.events import Answer, Ok
from trypact_coordinator.core.machine import BRANCH, BranchTrigger
from trypact_coordinator.core.transaction import (
    IN_FLIGHT,
    PARKED,
    BranchSpec,
    BranchState,
    Decision,
    Operation,
    State,
    Transaction,
)
from trypact_coordinator.journal import memory
from trypact_coordinator.ports import Verdict, Write
from trypact_coordinator.runtime.dispatcher import Dispatcher
from trypact_coordinator.runtime.driver import Driver
from trypact_coordinator.runtime.sweeper import Sweeper

from tests.sim.faults import FaultyJournal, Network
from tests.sim.mutants import caught, resumed_but
from tests.sim.participants import Held, Key, Row, Site


def test_sending_before_the_record_is_durable(monkeypatch: pytest.MonkeyPatch):
    def obey(self: Driver, slot: Any, outcome: Any, asked: Any) -> None:
        self._release(slot, outcome, asked)
        if outcome.record is not None:
            slot.writing = True
            written = partial(self._written, slot, outcome.record, None, None)
            self._writer.submit(outcome.record, written)

    monkeypatch.setattr(Driver, "_obey", obey)
    caught("records first|I3")


def test_a_late_try_is_accepted(monkeypatch: pytest.MonkeyPatch):
    def late_try(self: Site, key: Key, branch: BranchSpec) -> Answer:
        return self.first_try(key, branch)

    monkeypatch.setattr(Site, "late_try", late_try)
    caught("I6|I2|L2")


def test_an_empty_cancel_leaves_no_fence(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Site, "empty_cancel", lambda self, key: None)
    caught("I2|L2|I3")


def test_fences_are_collected_too_early(monkeypatch: pytest.MonkeyPatch):
    cancel = Site.on_cancel

    def collects(self: Site, key: Key, branch: BranchSpec) -> Answer:
        answer = cancel(self, key, branch)
        self.fence.pop(key)
        return answer

    monkeypatch.setattr(Site, "on_cancel", collects)
    caught("I6|I2|L2|I5")


def test_duplicates_are_not_deduplicated(monkeypatch: pytest.MonkeyPatch):
    def again(self: Site, key: Key, row: Row) -> Answer:
        self.oracle.effect(self.name, key, Operation.TRY)
        return Ok(row.result)

    monkeypatch.setattr(Site, "repeated_try", again)
    caught("I5")


def test_a_repeated_try_loses_the_first_result(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Site, "repeated_try", lambda self, key, row: Ok(b""))
    caught("I5: .* another result")


def test_pending_work_completes_after_its_cancel(monkeypatch: pytest.MonkeyPatch):
    complete = Site.complete

    def completes(self: Site, key: Key, kind: Any) -> Answer | None:
        row = self.fence.get(key)
        if row is not None and row.held is Held.CANCELLED and row.amount:
            self.fence[key] = row._replace(held=Held.PENDING)
        return complete(self, key, kind)

    monkeypatch.setattr(Site, "complete", completes)
    caught("I6|I2|L2|I3")


def test_cancel_forgets_branches_of_unknown_outcome(monkeypatch: pytest.MonkeyPatch):
    call = Draft._call_what_is_ready

    def forgets(self: Draft) -> int | None:
        for n, branch in enumerate(self.branches):
            unknown = branch.state is BranchState.TRYING and not branch.in_flight
            if unknown and self.tx.decision is Decision.CANCEL:
                self.move(n, BranchTrigger.RELEASE)
        return call(self)

    released = (BranchState.TRYING, BranchTrigger.RELEASE)
    monkeypatch.setitem(BRANCH, released, BranchState.CANCELLED)
    monkeypatch.setattr(Draft, "_call_what_is_ready", forgets)
    caught("I2|L2")


def test_a_new_term_does_not_doubt(monkeypatch: pytest.MonkeyPatch):
    def trusts(one: Draft, before: list) -> None:
        for n, branch in enumerate(before):
            if branch.state is BranchState.REGISTERED:
                one.branches[n] = branch

    resumed_but(monkeypatch, trusts)
    caught("I2|L2")


def test_recovery_presumes_cancel(monkeypatch: pytest.MonkeyPatch):
    def presumes(one: Draft, before: list) -> None:
        if not one.tx.decided:
            one.decide(Decision.CANCEL, "found undecided")

    resumed_but(monkeypatch, presumes)
    caught("decision: .* cancelled by nobody")


def test_recovery_decides_again(monkeypatch: pytest.MonkeyPatch):
    def decides(one: Draft, before: list) -> None:
        if one.tx.state is State.CONFIRMING:
            one.change(state=State.TRYING)
            one.decide(Decision.CANCEL, "again")

    resumed_but(monkeypatch, decides)
    caught("I3")


def test_recovery_skips_a_state(monkeypatch: pytest.MonkeyPatch):
    in_flight, due = FaultyJournal.in_flight, FaultyJournal.due

    async def some(
        self: FaultyJournal, epoch: int, after: str, limit: int
    ) -> Sequence[Transaction]:
        found = await in_flight(self, epoch, after, 1000)
        return [tx for tx in found if tx.state is not State.CONFIRMING][:limit]

    monkeypatch.setattr(FaultyJournal, "in_flight", some)
    assert due
    caught("L1|L3")


def test_the_due_time_is_forgotten(monkeypatch: pytest.MonkeyPatch):
    due_at = Draft._due_at

    def forgets(self: Draft, wake_at: int | None) -> int | None:
        found = due_at(self, wake_at)
        return PARKED if found is not None and IN_FLIGHT < found < PARKED else found

    monkeypatch.setattr(Draft, "_due_at", forgets)
    caught("L5")


def test_the_decision_is_not_durable_before_confirm(monkeypatch: pytest.MonkeyPatch):
    decide = Draft.decide

    def lazily(self: Draft, *args: Any, **kwargs: Any) -> None:
        decide(self, *args, **kwargs)
        self._forced = False

    monkeypatch.setattr(Draft, "decide", lazily)
    caught("I3")


def test_confirm_before_every_try_is_ok(monkeypatch: pytest.MonkeyPatch):
    def decide_if_due(self: Draft) -> None:
        if self.tx.auto_commit and any(b.state is BranchState.TRIED for b in self.branches):
            self.decide(Decision.CONFIRM)
        elif self.now >= self.tx.deadline_at:
            self.decide(Decision.CANCEL, "the deadline passed")

    monkeypatch.setattr(Draft, "all_tried", lambda self: True)
    monkeypatch.setattr(Draft, "_decide_if_due", decide_if_due)
    caught("I2: .* confirmed without")


def test_compensation_out_of_order(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(draft, "compensated_first", lambda branches: {})
    caught("order: .* compensated before")


def test_an_old_epoch_is_accepted(monkeypatch: pytest.MonkeyPatch):
    apply = FaultyJournal._apply

    def any_epoch(self: FaultyJournal, write: Write) -> Verdict:
        held = self.store.transactions.get(write.record.transaction.xid)
        if held is not None:
            there, write_id = held
            epoch = min(there.epoch, write.record.transaction.epoch)
            self.store.transactions[there.xid] = (replace(there, epoch=epoch), write_id)
        return apply(self, write)

    monkeypatch.setattr(FaultyJournal, "_apply", any_epoch)
    monkeypatch.setattr(FaultyJournal, "_check_owned", lambda self: None)
    caught("I7")


def test_a_lost_compare_and_set(monkeypatch: pytest.MonkeyPatch):
    """The journal applies whatever it is given, on top of whatever it holds."""

    def apply(self: FaultyJournal, write: Write) -> Verdict:
        tx = write.record.transaction
        self.store.transactions[tx.xid] = (tx, write.write_id)
        return Verdict.APPLIED

    monkeypatch.setattr(FaultyJournal, "_apply", apply)
    assert memory
    caught("I7|I3")


def test_a_delivery_is_dropped_when_its_call_is_lost(monkeypatch: pytest.MonkeyPatch):
    def drops(one: Draft, before: list) -> None:
        for n, branch in enumerate(one.branches):
            if branch.state is BranchState.DELIVERING:
                one.branches[n] = replace(branch, state=BranchState.DELIVERED, in_flight=False)

    resumed_but(monkeypatch, drops)
    caught("I2: .* says DELIVERED and was not")


def test_a_participant_delivers_twice(monkeypatch: pytest.MonkeyPatch):
    def deliver(self: Site, key: Key, branch: BranchSpec) -> Answer:
        self.oracle.effect(self.name, key, Operation.DELIVER)
        return Ok()

    monkeypatch.setattr(Site, "on_deliver", deliver)
    caught("I5")


def test_a_participant_makes_money(monkeypatch: pytest.MonkeyPatch):
    arrive = Network.arrive

    def leaks(self: Network, call: Any) -> Answer:
        answer = arrive(self, call)
        if call.operation is Operation.CANCEL and self.site.up:
            self.site.account.available += 1
        return answer

    monkeypatch.setattr(Network, "arrive", leaks)
    caught("I1")


def test_an_answer_that_comes_during_a_write_is_dropped(monkeypatch: pytest.MonkeyPatch):
    answered = Driver._answered

    def drops(self: Driver, xid: str, event: Any) -> None:
        if xid in self and not self._slots[xid].writing:
            answered(self, xid, event)

    monkeypatch.setattr(Driver, "_answered", drops)
    caught("L1|L3")


def test_the_sweeper_forgets_timers(monkeypatch: pytest.MonkeyPatch):
    async def nothing(self: Sweeper) -> None:
        pass

    monkeypatch.setattr(Sweeper, "_take_up_due", nothing)
    caught("L1|L3")


def test_a_lane_that_leaks_its_room(monkeypatch: pytest.MonkeyPatch):
    send = Dispatcher._send

    def leaks(self: Dispatcher, lane: Any, call: Any, now: int) -> None:
        send(self, lane, call, now)
        if call.operation is Operation.CANCEL:
            lane.in_flight += 1

    monkeypatch.setattr(Dispatcher, "_send", leaks)
    caught("L1|L3|I8")


def test_a_lane_without_a_bound(monkeypatch: pytest.MonkeyPatch):
    def dispatch(self: Dispatcher, calls: Any) -> None:
        for call in calls:
            self._send(self._lane_of_action(call.branch.action), call, self._clock.now())

    monkeypatch.setattr(Dispatcher, "dispatch", dispatch)
    caught("I8: .* calls in flight")
