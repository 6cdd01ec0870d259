"""Whatever happens in whatever order, the core keeps its promises.

Hypothesis draws a transaction and a history: answers of every kind to calls that are out and to
calls that are not, time, requests, operators, restarts that lose what was not durable.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trypact_coordinator.core.admission import fingerprint
from trypact_coordinator.core.errors import CallerError
from trypact_coordinator.core.events import (
    Answered,
    CommitAsked,
    DecideAct,
    Event,
    Ok,
    PauseAct,
    Pending,
    Refused,
    Registered,
    Reported,
    ResumeAct,
    Resumed,
    Retry,
    RetryAct,
    RollbackAsked,
    SkipAct,
    TimePassed,
    Unknown,
)
from trypact_coordinator.core.limits import TIMELINE_ENTRIES_MAX
from trypact_coordinator.core.outcome import Call, Outcome
from trypact_coordinator.core.policy import Policy
from trypact_coordinator.core.step import begin, freeze, step, tombstone
from trypact_coordinator.core.transaction import (
    IN_FLIGHT,
    PARKED,
    SETTLED,
    BranchSpec,
    BranchState,
    Decision,
    Kind,
    On,
    Operation,
    Spec,
    State,
    Transaction,
)

START = 1_000_000_000
POLICY = Policy(
    call_timeout_ms=50,
    backoff_base_ms=10,
    backoff_cap_ms=100,
    slow_retry_ms=300,
    attempts_until_stuck=2,
    notice_attempts=2,
    pending_poll_ms=30,
)
WAITS_MS = (0, 1, 10, 50, 200, 1000)
ANSWERS = (Ok(b"r"), Ok(b"r"), Refused("no"), Retry(20), Retry(0), Pending(), Unknown("?"))
ACT = {"actor": "ops", "reason": "why"}


@st.composite
def branch_specs(draw: st.DrawFn) -> tuple[BranchSpec, ...]:
    specs: list[BranchSpec] = []
    for n in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(Kind))
        delivery = kind in (Kind.MESSAGE, Kind.NOTICE)
        names = [s.id for s in specs if delivery or not s.is_delivery]
        after = draw(st.lists(st.sampled_from(names), unique=True, max_size=2)) if names else []
        specs.append(
            BranchSpec(
                id=f"b{n}",
                kind=kind,
                action="p.do",
                after=tuple(after),
                on=draw(st.sampled_from(On)) if delivery else On.CONFIRM,
                delay_ms=draw(st.sampled_from((0, 0, 40))) if delivery else 0,
            )
        )
    return tuple(specs)


class World:
    """Steps one transaction and checks every outcome against the promises."""

    def __init__(self, specs: tuple[BranchSpec, ...], interactive: bool, timeout_ms: int) -> None:
        self.now = START
        self.late = specs[-1:] if interactive else ()
        specs = specs[: len(specs) - len(self.late)]
        spec = Spec(
            xid="x",
            name="n",
            timeout_ms=timeout_ms,
            fingerprint=fingerprint("n", timeout_ms, specs),
            interactive=interactive,
        )
        # (call, when its answer is due); and until when a Try of unknown outcome may run.
        self.out: list[tuple[Call, int]] = []
        self.may_run_until: dict[str, int] = {}
        # Calls whose outcome became known while they were out.
        self.told: set[Call] = set()
        self.records: list[Transaction] = []
        self.forced = 0
        # Branches whose Try was sent, ever.
        self.tried: set[str] = set()
        self.tx: Transaction | None = None
        self.take(begin(spec, specs, self.now, 1, POLICY))

    def do(self, event: Event) -> None:
        assert self.tx is not None
        before = self.tx
        try:
            outcome = step(before, event, self.now, POLICY)
        except CallerError:
            return
        self.take(outcome)

    def take(self, outcome: Outcome) -> None:
        before, after = self.tx, outcome.transaction
        if before is not None:
            self.check_what_never_changes(before, after)
            assert after.version == before.version + (outcome.record is not None)
        if outcome.record is not None:
            assert outcome.record.transaction is after
            if outcome.record.forced:
                self.forced = len(self.records)
            self.records.append(after)
            self.check_due(outcome)
        self.check_decision(before, outcome)
        for call in outcome.calls:
            self.check_call(before, after, call)
            answer_due_at = self.now + call.timeout_ms * 1000
            self.out.append((call, answer_due_at))
            if call.operation is Operation.TRY:
                assert call.not_after == answer_due_at
                self.may_run_until[call.branch_id] = answer_due_at
                self.tried.add(call.branch_id)
        self.tx = after
        self.check_wake(outcome)

    def check_what_never_changes(self, before: Transaction, after: Transaction) -> None:
        assert after.spec == before.spec
        if before.decided:
            assert after.decision is before.decision
            assert after.decided_at == before.decided_at
        if before.settled:
            assert after.state is before.state
        assert len(after.branches) >= len(before.branches)
        for one, other in zip(before.branches, after.branches, strict=False):
            assert other.spec == one.spec
            if one.state in SETTLED:
                assert other.state is one.state
            if one.state is BranchState.REGISTERED and one.spec.id in self.tried:
                assert other.state is not BranchState.CANCELLED, "its Try may have run"
        assert len(after.timeline) <= TIMELINE_ENTRIES_MAX

    def check_decision(self, before: Transaction | None, outcome: Outcome) -> None:
        tx = outcome.transaction
        if tx.decided and (before is None or not before.decided):
            assert outcome.record is not None
            assert outcome.record.forced, "the decision is durable before anything follows it"
        if tx.decision is Decision.CONFIRM:
            unconfirmed = {
                BranchState.REGISTERED,
                BranchState.TRYING,
                BranchState.REFUSED,
                BranchState.CANCELLING,
                BranchState.CANCELLED,
            }
            tries = [b for b in tx.branches if not b.spec.is_delivery]
            assert not any(b.state in unconfirmed for b in tries)
        if tx.settled:
            assert all(b.state in SETTLED for b in tx.branches if not b.spec.is_delivery)

    def check_call(self, before: Transaction | None, after: Transaction, call: Call) -> None:
        old = before.branch(call.branch_id) if before else None
        new = after.branch(call.branch_id)
        assert new is not None
        assert new.in_flight
        assert not after.paused
        for other, _ in self.out:
            same = (other.branch_id, other.operation) == (call.branch_id, call.operation)
            assert not same or other in self.told, "one call of an operation at a time"
        assert old is None or old.state not in SETTLED
        assert call.attempt == new.attempt >= 1
        assert call.decision is after.decision
        if call.operation is Operation.TRY:
            assert not after.decided
            named = [after.branch(branch_id) for branch_id in new.spec.after]
            assert all(b is not None and b.state is BranchState.TRIED for b in named)
        elif call.operation is Operation.CONFIRM:
            assert after.decision is Decision.CONFIRM
        elif call.operation is Operation.CANCEL:
            assert after.decision is Decision.CANCEL
            assert self.may_run_until.get(call.branch_id, 0) <= self.now
            self.check_compensated_before(after, call.branch_id)
        else:
            wanted = {On.CONFIRM: Decision.CONFIRM, On.CANCEL: Decision.CANCEL}
            assert wanted.get(new.spec.on, after.decision) is after.decision
            assert self.now >= after.decided_at + new.spec.delay_ms * 1000

    def check_compensated_before(self, tx: Transaction, branch_id: str) -> None:
        branch = tx.branch(branch_id)
        assert branch is not None
        if branch.spec.kind is Kind.SAGA:
            for later in tx.branches:
                if later.spec.kind is Kind.SAGA and branch_id in later.spec.after:
                    assert later.state in SETTLED, "compensated before the step it came after"

    def check_due(self, outcome: Outcome) -> None:
        tx = outcome.transaction
        unfinished = not tx.settled or any(b.state not in SETTLED for b in tx.branches)
        assert (tx.due_at is None) == (not unfinished)
        if tx.frozen:
            assert tx.due_at == PARKED
        elif any(b.in_flight for b in tx.branches):
            assert tx.due_at == IN_FLIGHT
        elif unfinished and not tx.paused:
            assert tx.due_at == outcome.wake_at

    def check_wake(self, outcome: Outcome) -> None:
        tx = outcome.transaction
        in_flight = any(b.in_flight for b in tx.branches)
        unfinished = not tx.settled or any(b.state not in SETTLED for b in tx.branches)
        if outcome.wake_at is not None:
            assert outcome.wake_at > self.now
            assert unfinished
        elif unfinished and not tx.paused and not tx.frozen:
            assert in_flight, "an unfinished transaction always has a way on"
        if not tx.decided and not tx.frozen:
            assert outcome.wake_at is not None
            assert outcome.wake_at <= tx.deadline_at

    def restart(self, index: int, down_ms: int = 0) -> None:
        """Lose what came after one of the durable records, and resume under a new term."""
        assert self.tx is not None
        kept = self.records[max(index % len(self.records), self.forced)]
        self.out.clear()
        self.now += down_ms * 1000
        self.tx = kept
        self.do(Resumed(kept.epoch + 1))

    def answer(self, pick: int, answer: Ok | Refused | Retry | Pending | Unknown) -> None:
        if not self.out:
            return
        call, _ = self.out.pop(pick % len(self.out))
        if type(answer) is not Unknown and call.operation is Operation.TRY:
            self.may_run_until.pop(call.branch_id, None)
        self.do(Answered(call.branch_id, call.operation, call.attempt, answer))

    def stray(self, pick: int, answer: Ok | Refused | Retry | Pending | Unknown) -> None:
        """An answer nobody asked for: another operation, another attempt, once more."""
        assert self.tx is not None
        branch = self.tx.branches[pick % len(self.tx.branches)] if self.tx.branches else None
        if branch is None:
            return
        for operation in Operation:
            definite = isinstance(answer, Ok | Refused)
            if definite and operation is Operation.TRY:
                continue
            if definite:
                self.tell(branch.spec.id)
            self.do(Answered(branch.spec.id, operation, branch.attempt + 1, answer))

    def report(self, pick: int, answer: Ok | Refused) -> None:
        assert self.tx is not None
        if self.tx.branches:
            branch = self.tx.branches[pick % len(self.tx.branches)]
            self.may_run_until.pop(branch.spec.id, None)
            self.tell(branch.spec.id)
            self.do(Reported(branch.spec.id, Operation.TRY, answer))

    def tell(self, branch_id: str) -> None:
        self.told |= {call for call, _ in self.out if call.branch_id == branch_id}

    def pass_time(self, ms: int) -> None:
        """Time passes; calls whose answer is due by then are unknown."""
        until = self.now + ms * 1000
        for call, due_at in [o for o in self.out if o[1] <= until]:
            self.out.remove((call, due_at))
            self.now = max(self.now, due_at)
            self.do(Answered(call.branch_id, call.operation, call.attempt, Unknown("time-out")))
        self.now = until
        self.do(TimePassed())


picks = st.integers(0, 7)
moves = st.one_of(
    st.tuples(st.just("answer"), picks, st.sampled_from(ANSWERS)),
    st.tuples(st.just("answer"), picks, st.just(Ok(b"r"))),
    st.tuples(st.just("stray"), picks, st.sampled_from(ANSWERS)),
    st.tuples(st.just("report"), picks, st.sampled_from([Ok(b"r"), Refused("no")])),
    st.tuples(st.just("pass_time"), st.sampled_from(WAITS_MS)),
    st.tuples(st.just("restart"), picks),
    st.sampled_from(
        [
            ("do", CommitAsked()),
            ("do", RollbackAsked("why")),
            ("do", RetryAct(**ACT)),
            ("do", PauseAct(**ACT)),
            ("do", ResumeAct(**ACT)),
            ("do", ResumeAct(**ACT)),
            ("do", DecideAct(**ACT, decision=Decision.CONFIRM)),
            ("do", DecideAct(**ACT, decision=Decision.CANCEL)),
            ("do", SkipAct(**ACT, branch_id="b0")),
            ("register",),
        ]
    ),
)


@settings(max_examples=400, deadline=None)
@given(branch_specs(), st.booleans(), st.sampled_from((30, 400)), st.lists(moves, max_size=25))
def test_every_history_keeps_every_promise(specs, interactive, timeout_ms, history):
    world = World(specs, interactive, timeout_ms)
    for name, *arguments in history:
        if name == "register":
            for spec in world.late:
                world.do(CommitAsked((spec,)) if spec.is_delivery else Registered(spec))
        else:
            getattr(world, name)(*arguments)


chains = st.lists(st.sampled_from([Kind.TCC, Kind.SAGA]), min_size=1, max_size=3).map(
    lambda kinds: tuple(
        BranchSpec(f"b{n}", kind, "p.do", after=(f"b{n - 1}",) if n else ())
        for n, kind in enumerate(kinds)
    )
)
crashes = st.one_of(
    st.tuples(st.just("answer"), picks, st.just(Ok(b"r"))),
    st.tuples(st.just("answer"), picks, st.just(Unknown("?"))),
    st.tuples(st.just("pass_time"), st.sampled_from((10, 10, 50))),
    st.tuples(st.just("restart"), picks, st.sampled_from((0, 45, 100))),
)


@settings(max_examples=400, deadline=None)
@given(chains, st.lists(crashes, max_size=12))
def test_every_restart_of_a_chain_keeps_every_promise(specs, history):
    world = World(specs, interactive=False, timeout_ms=30)
    for name, *arguments in history:
        getattr(world, name)(*arguments)


@settings(max_examples=100, deadline=None)
@given(branch_specs(), st.lists(moves, max_size=12))
def test_every_history_ends_when_everyone_answers_at_last(specs, history):
    world = World(specs, interactive=False, timeout_ms=400)
    for name, *arguments in history:
        if name != "register":
            getattr(world, name)(*arguments)
    world.do(ResumeAct(**ACT))
    for _ in range(40):
        world.do(RetryAct(**ACT))
        while world.out:
            world.answer(0, Ok(b"r"))
        world.pass_time(400)
    assert world.tx is not None
    assert world.tx.settled
    assert all(branch.state in SETTLED for branch in world.tx.branches)
    assert world.records[-1].due_at is None


def test_a_frozen_transaction_waits_for_nothing():
    spec = BranchSpec("b", Kind.TCC, "p.do")
    outcome = begin(Spec("x", "n", 1000, b""), (spec,), START, 1, POLICY)
    frozen = freeze(outcome.transaction, "broken", START, POLICY)
    assert frozen.record is not None
    assert frozen.record.due_at == PARKED
    assert frozen.wake_at is None
    assert not any(branch.in_flight for branch in frozen.transaction.branches)
    again = step(frozen.transaction, TimePassed(), START + (1 << 50), POLICY)
    assert again.transaction == frozen.transaction
    assert again.record is None


def test_a_tombstone_is_final_with_its_first_record():
    outcome = tombstone("x", START, 1, POLICY)
    assert outcome.record is not None
    assert outcome.record.forced
    assert outcome.record.due_at is None
    assert outcome.transaction.state is State.CANCELLED


@pytest.mark.parametrize("attempts", [3, 3000])
def test_a_timeline_is_bounded_and_keeps_its_beginning(attempts: int):
    spec = BranchSpec("b", Kind.MESSAGE, "p.do")
    tx = begin(Spec("x", "n", 1000, b""), (spec,), START, 1, POLICY).transaction
    now = START
    for n in range(attempts):
        now += 1_000_000
        tx = step(tx, TimePassed(), now, POLICY).transaction
        tx = step(
            tx, Answered("b", Operation.DELIVER, n + 1, Unknown("?")), now, POLICY
        ).transaction
    assert tx.timeline[0].event == "begun"
    assert tx.timeline[-1].event == "deliver unknown"
    assert len(tx.timeline) <= TIMELINE_ENTRIES_MAX
    assert any(entry.event == "omitted" for entry in tx.timeline) == (attempts > 1024)
