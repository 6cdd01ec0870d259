"""What may happen next, and what must never be: the protocol's model around the real `step`.

The core is not modelled: it is called. What is modelled is everything it must survive:

* the network: a call may go astray, its request delivered late, twice or never, its answer lost;
* the coordinator: it may crash before or after any record is durable, or at any other moment,
  losing its memory and what was lazy; a new term loads the last durable record;
* the participants: one fence for each branch, which may refuse, ask to wait, or answer PENDING;
* time: in ticks, passing at any moment; a call has an answer, Unknown at the latest, within its
  time-out, and a timer fires when it is due;
* the initiator and the operator, at any moment.

Faults come out of a budget.
"""

from collections.abc import Iterator

from trypact_coordinator.core import step as core
from trypact_coordinator.core.errors import CallerError
from trypact_coordinator.core.events import (
    Answer,
    Answered,
    CommitAsked,
    DecideAct,
    Event,
    Ok,
    Pending,
    Refused,
    Reported,
    Resumed,
    Retry,
    RollbackAsked,
    TimePassed,
    Unknown,
)
from trypact_coordinator.core.machine import OPERATION_OF
from trypact_coordinator.core.order import roles_of
from trypact_coordinator.core.outcome import Outcome
from trypact_coordinator.core.transaction import (
    NEVER,
    PARKED,
    SETTLED,
    UNDOABLE,
    Branch,
    BranchSpec,
    BranchState,
    Decision,
    Kind,
    Operation,
    Role,
    Spec,
    State,
    Transaction,
)

from tests.model.world import (
    CALL_TICKS,
    DEADLINE_TICKS,
    NOW,
    POLICY,
    TICK,
    Config,
    Fence,
    Violation,
    World,
    aged,
    earlier,
    plain,
    rel,
)


class Model:
    """The next-state relation and the invariants. Tests plant bugs by overriding its methods."""

    def __init__(self, config: Config) -> None:
        self.config = config
        specs = config.branches + config.deliveries
        self.index = {spec.id: n for n, spec in enumerate(specs)}
        self.specs = specs
        self.roles = roles_of(specs)
        # (earlier, later) saga steps, transitively through any branches.
        self.saga_pairs = [
            (self.index[a.id], self.index[b.id])
            for a in specs
            for b in specs
            if a.kind is b.kind is Kind.SAGA and self._comes_after(b, a.id)
        ]

    def _comes_after(self, spec: BranchSpec, earlier_id: str) -> bool:
        return any(
            named == earlier_id or self._comes_after(self.specs[self.index[named]], earlier_id)
            for named in spec.after
        )

    # ------------------------------------------------------------ the coordinator

    def start(self) -> World:
        spec = Spec("x", "n", DEADLINE_TICKS, b"", interactive=self.config.interactive)
        outcome = core.begin(spec, self.config.branches, NOW, 1, POLICY)
        assert outcome.record is not None
        count = len(self.specs)
        world = World(
            tx=None,
            wake_at=None,
            durable=plain(outcome.transaction),
            fences=(Fence.NONE,) * count,
            astray=(frozenset(),) * count,
            lost=(False,) * count,
            running_until=(0,) * count,
            faults=self.config.faults,
            verdict=Decision.UNDECIDED,
            cancel_asked=False,
        )
        return self.released(world, outcome)

    def steps(self, world: World, event: Event, label: str) -> Iterator[tuple[str, World]]:
        """Step the core; whoever writes a record may crash before and after."""
        assert world.tx is not None
        try:
            outcome = core.step(world.tx, event, NOW, POLICY)
        except CallerError:
            return
        self.check_reason(world, outcome)
        record = outcome.record
        if record is None:
            yield label, self.released(world, outcome)
            return
        if record.transaction.version != world.tx.version + 1:
            raise Violation("a record skipped a version")
        durable = plain(record.transaction)
        written = self.told(world._replace(durable=durable), durable.decision)
        if world.faults:
            yield f"{label}; crash before the record", self.crashed(world)
            yield f"{label}; crash after the record", self.crashed(written)
        yield label, self.released(written, outcome)
        if not record.forced:
            yield f"{label}; not durable yet", self.released(world, outcome)

    def released(self, world: World, outcome: Outcome) -> World:
        """The calls leave and the replies are given."""
        tx = outcome.transaction
        if outcome.replies and tx.decided:
            world = self.told(world, tx.decision)
        lost, running = list(world.lost), list(world.running_until)
        for call in outcome.calls:
            n = self.index[call.branch_id]
            lost[n] = False
            if call.operation is Operation.TRY:
                running[n] = NOW + CALL_TICKS * TICK
            elif call.operation is Operation.CANCEL and running[n]:
                raise Violation(f"Cancel of {call.branch_id} while its Try may be running")
        wake_at = None if outcome.wake_at is None else rel(outcome.wake_at)
        return world._replace(
            tx=plain(tx), wake_at=wake_at, lost=tuple(lost), running_until=tuple(running)
        )

    def told(self, world: World, decision: Decision) -> World:
        if decision is Decision.UNDECIDED or decision is world.verdict:
            return world
        if world.verdict is not Decision.UNDECIDED:
            raise Violation(f"I3: {decision.name} after {world.verdict.name}")
        return world._replace(verdict=decision)

    def crashed(self, world: World) -> World:
        """Memory is gone; the requests that were out may still arrive."""
        assert world.tx is not None
        astray = list(world.astray)
        for branch in world.tx.branches:
            if branch.in_flight:
                operation = OPERATION_OF[branch.state]
                astray[self.index[branch.spec.id]] |= {operation}
        return world._replace(
            tx=None,
            wake_at=None,
            astray=tuple(astray),
            lost=(False,) * len(self.specs),
            faults=world.faults - 1,
        )

    def restarts(self, world: World) -> Iterator[tuple[str, World]]:
        """A new term finds the transaction once it is due."""
        due_at = world.durable.due_at
        if due_at is None or due_at > 1:
            return
        up = world._replace(tx=world.durable)
        yield from self.steps(up, Resumed(1), "restart")

    # ------------------------------------------------------------ the participants

    def apply(self, n: int, operation: Operation, fence: Fence) -> Iterator[tuple[Fence, Answer]]:
        """What the fence of branch `n` may make of a request."""
        if operation is Operation.TRY and self.roles[n] is Role.FORWARD:
            yield from self.apply_forward(fence)
        elif operation is Operation.TRY:
            yield from self.apply_try(fence)
        elif operation is Operation.CONFIRM:
            if fence not in (Fence.TRIED, Fence.CONFIRMED):
                raise Violation(f"I4: Confirm met {fence.name}")
            yield Fence.CONFIRMED, Ok()
        elif operation is Operation.CANCEL:
            if fence is Fence.CONFIRMED:
                raise Violation("I4: Cancel after Confirm")
            if self.roles[n] not in UNDOABLE:
                raise Violation(f"Cancel of {self.specs[n].id}, which has none")
            yield self.apply_cancel(fence), Ok()
        else:
            yield Fence.DELIVERED, Ok()

    def apply_try(self, fence: Fence) -> Iterator[tuple[Fence, Answer]]:
        if fence is Fence.NONE:
            yield Fence.TRIED, Ok()
            yield Fence.REFUSED, Refused("no")
            if self.config.expires:
                yield Fence.TRIED, Ok(expires_at_us=NOW + TICK)
                yield Fence.TRIED, Ok(expires_at_us=NOW + 2 * DEADLINE_TICKS * TICK)
            if self.config.pending:
                yield Fence.PENDING, Pending()
        elif fence is Fence.PENDING:
            yield Fence.PENDING, Pending()
        elif fence in (Fence.TRIED, Fence.CONFIRMED):
            yield fence, Ok()
        elif fence is Fence.REFUSED:
            yield fence, Refused("no")
        else:
            yield from self.apply_late_try(fence)

    def apply_forward(self, fence: Fence) -> Iterator[tuple[Fence, Answer]]:
        """A step after the pivot; it may say no for now, and nothing comes of that."""
        yield Fence.TRIED, Ok()
        if fence is not Fence.TRIED:
            yield fence, Refused("not yet")

    def apply_late_try(self, fence: Fence) -> Iterator[tuple[Fence, Answer]]:
        yield fence, Refused("already cancelled")

    def apply_cancel(self, fence: Fence) -> Fence:
        return fence if fence is Fence.REFUSED else Fence.CANCELLED

    def with_fence(self, world: World, n: int, fence: Fence) -> World:
        """Change one fence; checks what an effect may presuppose."""
        if world.fences[n] is fence:
            return world
        if fence is Fence.CONFIRMED and world.durable.decision is not Decision.CONFIRM:
            raise Violation("Confirm took effect before the decision was durable")
        if fence is Fence.CANCELLED and world.durable.decision is not Decision.CANCEL:
            raise Violation("Cancel took effect before the decision was durable")
        if fence in (Fence.TRIED, Fence.PENDING):
            self._check_place(world, n)
        fences = (*world.fences[:n], fence, *world.fences[n + 1 :])
        if fence is Fence.CANCELLED and world.fences[n] is Fence.TRIED:
            for first, later in self.saga_pairs:
                if first == n and fences[later] in (Fence.TRIED, Fence.PENDING):
                    raise Violation("a step was compensated before the one that came after it")
        return world._replace(fences=fences)

    def _check_place(self, world: World, n: int) -> None:
        """A pivot comes after all that can be refused, and all that cannot after the decision."""
        if self.roles[n] is Role.FORWARD and world.durable.decision is not Decision.CONFIRM:
            raise Violation(f"{self.specs[n].id} came before the decision was durable")
        if self.roles[n] is Role.PIVOT:
            for role, spec, fence in zip(self.roles, self.specs, world.fences, strict=True):
                if role in UNDOABLE and fence is not Fence.TRIED:
                    raise Violation(f"the pivot took effect while {spec.id} was {fence.name}")

    # ------------------------------------------------------------ what may happen next

    def successors(self, world: World) -> Iterator[tuple[str, World]]:
        yield from self._stragglers(world)
        if world.tx is None:
            yield from self.restarts(world)
            yield "tick while down", self.ticked(world)
            return
        yield from self._answers(world)
        yield from self._requests(world)
        if world.faults:
            yield "crash", self.crashed(world)
        if world.wake_at == 0:
            yield from self.steps(world, TimePassed(), "time passed")
        elif not any(b.in_flight and not b.due_at for b in world.tx.branches):
            yield "tick", self.ticked(world)

    def ticked(self, world: World) -> World:
        return world._replace(
            tx=world.tx and aged(world.tx),
            durable=aged(world.durable),
            wake_at=world.wake_at and earlier(world.wake_at),
            running_until=tuple(map(earlier, world.running_until)),
        )

    def _stragglers(self, world: World) -> Iterator[tuple[str, World]]:
        for n, operations in enumerate(world.astray):
            for operation in sorted(operations):
                for fence, _ in self.apply(n, operation, world.fences[n]):
                    label = f"{operation.name} of {self.specs[n].id} arrives late"
                    yield label, self.with_fence(world, n, fence)
        for n, fence in enumerate(world.fences):
            if fence is Fence.PENDING:
                done = self.with_fence(world, n, Fence.TRIED)
                branch_id = self.specs[n].id
                yield f"pending {branch_id} completes", done
                if world.tx is not None:
                    reported = Reported(branch_id, Operation.TRY, Ok())
                    done = self.answered(done, n)
                    yield from self.steps(done, reported, f"{branch_id} completes and reports")

    def _answers(self, world: World) -> Iterator[tuple[str, World]]:
        assert world.tx is not None
        for branch in world.tx.branches:
            if branch.in_flight:
                yield from self._answers_to(world, branch, self.index[branch.spec.id])

    def _answers_to(self, world: World, branch: Branch, n: int) -> Iterator[tuple[str, World]]:
        operation = OPERATION_OF[branch.state]
        label = f"{operation.name.lower()} {branch.spec.id}"

        def answered(to: World, answer: Answer, what: str) -> Iterator[tuple[str, World]]:
            if type(answer) is not Unknown:
                to = self.answered(to, n)
            event = Answered(branch.spec.id, operation, branch.attempt, answer)
            return self.steps(to, event, f"{label} {what}")

        if world.lost[n]:
            yield from answered(world, Unknown("?"), "unknown")
            return
        for fence, answer in self.apply(n, operation, world.fences[n]):
            applied = self.with_fence(world, n, fence)
            what = "pending" if type(answer) is Pending else type(answer).__name__.lower()
            yield from answered(applied, answer, what)
        if world.faults:
            yield from answered(world._replace(faults=world.faults - 1), Retry(1), "retry")
            more = world.astray[n] | {operation}
            yield (
                f"{label} goes astray",
                world._replace(
                    astray=(*world.astray[:n], more, *world.astray[n + 1 :]),
                    lost=(*world.lost[:n], True, *world.lost[n + 1 :]),
                    faults=world.faults - 1,
                ),
            )

    def answered(self, world: World, n: int) -> World:
        """The participant has told what became of the Try: it is not running anymore."""
        running = (*world.running_until[:n], 0, *world.running_until[n + 1 :])
        return world._replace(running_until=running)

    def _requests(self, world: World) -> Iterator[tuple[str, World]]:
        assert world.tx is not None
        if world.tx.decided:
            return
        late = self.config.deliveries
        if self.config.interactive:
            yield from self.steps(world, CommitAsked(late), "commit asked")
        asked = world._replace(cancel_asked=True)
        if self.config.interactive:
            yield from self.steps(asked, RollbackAsked("", late), "rollback asked")
        if self.config.operator:
            for decision, before in ((Decision.CONFIRM, world), (Decision.CANCEL, asked)):
                act = DecideAct(actor="o", reason="r", decision=decision)
                yield from self.steps(before, act, f"operator decides {decision.name}")

    # ------------------------------------------------------------ invariants

    def check(self, world: World) -> None:
        """Raise Violation unless every invariant holds in this state."""
        durable, tx = world.durable, world.tx
        for one in (durable, tx):
            if one is None:
                continue
            if one.decided and world.verdict not in (Decision.UNDECIDED, one.decision):
                raise Violation(f"I3: {one.decision.name} after {world.verdict.name}")
            if NOW + DEADLINE_TICKS * TICK < one.deadline_at < NEVER:
                raise Violation("the deadline is later than the initiator said")
            if one.settled:
                self._check_atomic(world, one)
        unfinished = not durable.settled or any(b.state not in SETTLED for b in durable.branches)
        if unfinished and durable.due_at in (None, PARKED):
            raise Violation("an unfinished transaction is never looked at again")

    def check_reason(self, world: World, outcome: Outcome) -> None:
        """Only a refusal, a budget, the initiator, an operator or the deadline decides Cancel."""
        before, after = world.tx, outcome.transaction
        if before is None or before.decided or after.decision is not Decision.CANCEL:
            return
        refused = any(branch.state is BranchState.REFUSED for branch in after.branches)
        given_up = "was given up" in after.reason and any(
            spec.attempts_max or spec.retry_for_ms for spec in self.specs
        )
        if not (refused or given_up or world.cancel_asked or before.deadline_at <= NOW):
            raise Violation("Cancel was decided by nobody")

    def _check_atomic(self, world: World, tx: Transaction) -> None:
        for branch in tx.branches:
            fence = world.fences[self.index[branch.spec.id]]
            if branch.spec.is_delivery:
                if branch.state is BranchState.DELIVERED and fence is not Fence.DELIVERED:
                    raise Violation("a delivery that never arrived is DELIVERED")
                continue
            if tx.state is State.CONFIRMED:
                wanted = Fence.CONFIRMED if branch.spec.kind is Kind.TCC else Fence.TRIED
                if fence is not wanted:
                    raise Violation(f"I2: confirmed, but {branch.spec.id} is {fence.name}")
            elif fence in (Fence.TRIED, Fence.PENDING, Fence.CONFIRMED):
                raise Violation(f"I2: cancelled, but {branch.spec.id} is {fence.name}")

    def finishes(self, world: World) -> bool:
        """Whether it ends, final and with nothing left to do, once faults stop."""
        world = world._replace(faults=0)
        for _ in range(200):
            # A lazy record leaves by itself in a moment, so memory is as good here.
            done = world.tx or world.durable
            if done.settled and all(b.state in SETTLED for b in done.branches):
                return True
            moved = next(self._kindly(world), None)
            if moved is None:
                return False
            world = moved
        return False

    def _kindly(self, world: World) -> Iterator[World]:
        if world.tx is None:
            for _, to in self.restarts(world):
                yield to
        else:
            for _, to in self._answers(world):
                yield to
            if world.wake_at == 0:
                for _, to in self.steps(world, TimePassed(), ""):
                    yield to
        for n, fence in enumerate(world.fences):
            if fence is Fence.PENDING:
                yield self.with_fence(world, n, Fence.TRIED)
        yield self.ticked(world)
