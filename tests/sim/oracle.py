"""What must always hold, checked after every effect, record and reply of a simulated run.

The oracle sees everything at once: the durable rows, each effect of each participant, and what
every caller was told.
"""

from collections import Counter
from collections.abc import Callable, Sequence

from trypact_coordinator.core.order import compensated_first
from trypact_coordinator.core.policy import MILLISECOND, deadline
from trypact_coordinator.core.topics import sent_as
from trypact_coordinator.core.transaction import (
    DECIDING,
    NEVER,
    PARKED,
    SETTLED,
    UNDOABLE,
    Branch,
    BranchSpec,
    BranchState,
    Decision,
    Kind,
    On,
    Operation,
    Role,
    State,
    Transaction,
)
from trypact_coordinator.journal.memory import MemoryStore
from trypact_coordinator.ports import Write
from trypact_coordinator.runtime.decided import Decided

Key = tuple[str, str]

_ON = {On.CONFIRM: Decision.CONFIRM, On.CANCEL: Decision.CANCEL}


class OracleFailed(AssertionError):
    """An invariant does not hold in this run."""


class Oracle:
    """Watches one simulated run.

    Args:
        store: the durable rows.
        note: writes a line into the run's timeline.
        notice_attempts: deliveries of a notice that has no budget of its own.
    """

    def __init__(
        self, store: MemoryStore, note: Callable[[str], None], notice_attempts: int
    ) -> None:
        self.store = store
        self.notice_attempts = notice_attempts
        self.note = note
        self.effects: Counter[tuple[Key, Operation]] = Counter()
        self.told_decision: dict[str, Decision] = {}
        # The first result of each Try.
        self.result_of: dict[Key, bytes] = {}
        # Until when a Try said that what it reserved can be held.
        self.ends_at: dict[Key, int] = {}
        self.decided_by: dict[str, set[str]] = {}
        # Those of which somebody was told that no participant will be asked for anything.
        self.closed: set[str] = set()
        # By how much the journal's clock was turned back in all.
        self.turned_back_us = 0
        self.failures: list[str] = []

    def check(self, holds: bool, invariant: str, what: str) -> None:
        """Fail the run unless it holds."""
        if not holds:
            self.note(f"VIOLATED {invariant}: {what}")
            self.failures.append(f"{invariant}: {what}")
            raise OracleFailed(f"{invariant}: {what}")

    def durable(self, xid: str) -> Transaction | None:
        """Return the durable row."""
        held = self.store.transactions.get(xid)
        return held[0] if held else None

    # ------------------------------------------------------------ participants

    def effect(self, site: str, key: Key, operation: Operation) -> None:
        """A participant changes business rows."""
        xid, branch_id = key
        self.note(f"{site}: {operation.name} {xid}/{branch_id} takes effect")
        self.effects[key, operation] += 1
        self.check(self.effects[key, operation] == 1, "I5", f"{operation.name} of {key} twice")
        tx = self.durable(xid)
        self.check(
            tx is not None, "records first", f"{operation.name} of {key}, not in the journal"
        )
        assert tx is not None
        branch = tx.branch(branch_id)
        self.check(branch is not None, "records first", f"{key} is not in the journal")
        assert branch is not None
        by_itself = branch.state in (BranchState.UNDELIVERED, BranchState.SKIPPED)
        over = xid in self.closed and not by_itself
        self.check(not over, "closed", f"{operation.name} of {key} after it was told to be over")
        if operation is Operation.TRY:
            self._check_try(tx, branch)
        elif operation is Operation.DELIVER:
            self._check_delivery(tx, branch)
        else:
            wanted = Decision.CONFIRM if operation is Operation.CONFIRM else Decision.CANCEL
            fits = tx.decision is wanted
            self.check(fits, "I3", f"{operation.name} of {key} under {tx.decision.name}")
            if operation is Operation.CANCEL:
                self._check_compensation(tx, key)

    def _check_try(self, tx: Transaction, branch: Branch) -> None:
        key = (tx.xid, branch.spec.id)
        cancelled = self.effects[key, Operation.CANCEL]
        self.check(not cancelled, "I6", f"Try of {key} after its Cancel")
        for named in branch.spec.after:
            tried = self.effects[(tx.xid, named), Operation.TRY]
            self.check(bool(tried), "order", f"Try of {key} before that of {named}")
        self._check_place(tx, branch)

    def _check_delivery(self, tx: Transaction, branch: Branch) -> None:
        """It follows its decision, its delay and what it comes after."""
        key, spec = (tx.xid, branch.spec.id), branch.spec
        fits = tx.decided and tx.decision is _ON.get(spec.on, tx.decision)
        self.check(fits, "I3", f"{key} delivered, but the decision is {tx.decision.name}")
        due_at = tx.decided_at + spec.delay_ms * MILLISECOND
        early_us = due_at - self.store.now_us() - self.turned_back_us
        self.check(early_us <= 0, "delay", f"{key} delivered {early_us} us early")
        for named in spec.after:
            over = self._is_over(tx, named)
            self.check(over, "order", f"{key} delivered before {named} was over")

    def _is_over(self, tx: Transaction, branch_id: str) -> bool:
        """Whether nothing is left to do for a branch; what is not durable shows in its effects."""
        branch, key = tx.branch(branch_id), (tx.xid, branch_id)
        assert branch is not None
        if branch.state in SETTLED or branch.role is Role.NOTICE:
            return True  # a notice may have been given up
        if branch.role is Role.MESSAGE:
            return bool(self.effects[key, Operation.DELIVER])
        if tx.decision is Decision.CANCEL:
            return self.effects[key, Operation.TRY] == self.effects[key, Operation.CANCEL]
        last = Operation.CONFIRM if branch.role is Role.TCC else Operation.TRY
        return bool(self.effects[key, last])

    def _check_place(self, tx: Transaction, branch: Branch) -> None:
        """A pivot comes after all that can be refused, and all that cannot after the decision."""
        key = (tx.xid, branch.spec.id)
        if branch.role is Role.FORWARD:
            decided = tx.decision is Decision.CONFIRM
            self.check(decided, "order", f"{key} went forward before the decision was durable")
        elif branch.role is Role.PIVOT:
            self.check(tx.pivot_sent, "pivot", f"{key} ran, and the journal does not know")
            for other in tx.branches:
                ready = other.role not in UNDOABLE or other.state is BranchState.TRIED
                self.check(ready, "pivot", f"{key} ran while {other.spec.id} could be refused")

    def _check_compensation(self, tx: Transaction, key: Key) -> None:
        for later in compensated_first(tx.branches).get(key[1], ()):
            branch = tx.branch(later)
            skipped = branch is not None and branch.state is BranchState.SKIPPED
            other = (tx.xid, later)
            standing = self.effects[other, Operation.TRY] - self.effects[other, Operation.CANCEL]
            self.check(not standing or skipped, "order", f"{key} compensated before {later}")

    # ------------------------------------------------------------ the journal

    def recorded(self, write: Write, before: Transaction | None) -> None:
        """A record was applied on top of another."""
        tx = write.record.transaction
        self.note(
            f"journal: {tx.xid} v{tx.version} e{tx.epoch} {tx.state.name} due={tx.due_at} "
            + ("pivot sent " if tx.pivot_sent else "")
            + " ".join(f"{b.spec.id}={b.state.name}" for b in tx.branches)
        )
        self.check(tx.epoch == self.store.epoch, "I7", f"{tx.xid} written under epoch {tx.epoch}")
        self.check(
            tx.version == (before.version if before else 0) + 1, "I7", f"{tx.xid} skipped a version"
        )
        unfinished = not tx.settled or any(b.state not in SETTLED for b in tx.branches)
        self.check((tx.due_at is None) != unfinished, "L5", f"{tx.xid} has no due time")
        parked = tx.due_at == PARKED and not (tx.paused or tx.frozen)
        self.check(not parked, "L5", f"{tx.xid} is parked")
        self.check(not tx.frozen, "bug", f"{tx.xid} is frozen: {tx.frozen}")
        if before is not None:
            changed = before.decided and before.decision is not tx.decision
            self.check(not changed, "I3", f"{tx.xid} decided {tx.decision.name} after another")
            self.check(not before.settled or tx.settled, "I3", f"{tx.xid} is final no more")
            for old in before.branches:
                new = tx.branch(old.spec.id)
                kept = new is not None and (old.state not in SETTLED or new.state is old.state)
                self.check(kept, "I3", f"{tx.xid}/{old.spec.id} left {old.state.name}")
        self._check_budgets(tx)
        self._check_deadline(tx)
        for branch in tx.branches:
            alone = branch.role is Role.NOTICE or (branch.role in UNDOABLE and not tx.decided)
            called = branch.stuck and alone
            self.check(not called, "human", f"{tx.xid}/{branch.spec.id} needs none")
        owed = any(b.state not in SETTLED for b in tx.branches if not b.spec.is_delivery)
        self.check(owed or tx.settled or not tx.decided, "L4", f"{tx.xid} waits for deliveries")
        told = self.told_decision.get(tx.xid)
        self.check(told in (None, tx.decision), "I3", f"{tx.xid} was told to be {told}")
        if tx.decided and (before is None or not before.decided):
            self._check_decision(tx, before)

    def _check_budgets(self, tx: Transaction) -> None:
        """What waits to be asked again has a call left."""
        for branch in tx.branches:
            spec, trying = branch.spec, branch.state is BranchState.TRYING and not tx.decided
            if branch.in_flight or tx.paused or branch.reason in ("", "pending"):
                continue
            most, spent = spec.attempts_max if trying else 0, branch.failures
            if branch.state is BranchState.DELIVERING and spec.kind is Kind.NOTICE:
                most = spec.attempts_max or (0 if spec.retry_for_ms else self.notice_attempts)
                spent = branch.attempt
            left = not most or spent < most
            self.check(left, "budget", f"{tx.xid}/{spec.id} waits for call {branch.attempt + 1}")
            late = 0 < branch.give_up_at <= branch.due_at and (trying or most)
            self.check(not late, "budget", f"{tx.xid}/{spec.id} waits longer than it may")

    def _check_deadline(self, tx: Transaction) -> None:
        """It is the initiator's, unless a reservation ends earlier, or a pivot was sent."""
        asked = deadline(tx.created_at, tx.spec.timeout_ms)
        ends = {b.spec.id: self.ends_at.get((tx.xid, b.spec.id), NEVER) for b in tx.branches}
        pivot = any(branch.role is Role.PIVOT for branch in tx.branches)
        somebodys = tx.deadline_at in (asked, *ends.values()) and (tx.deadline_at < NEVER or pivot)
        self.check(somebodys, "expiry", f"{tx.xid} has a deadline that nobody asked for")
        if tx.decided or tx.pivot_sent:
            return
        for branch in tx.branches:
            held = branch.state is not BranchState.TRIED or tx.deadline_at <= ends[branch.spec.id]
            self.check(held, "expiry", f"{tx.xid} may wait longer than {branch.spec.id} is held")

    def _check_decision(self, tx: Transaction, before: Transaction | None) -> None:
        if tx.decision is Decision.CONFIRM:
            for branch in tx.branches:
                if branch.role in DECIDING:
                    tried = self.effects[(tx.xid, branch.spec.id), Operation.TRY]
                    self.check(bool(tried), "I2", f"{tx.xid} confirmed without {branch.spec.id}")
            return
        refused = any(b.state is BranchState.REFUSED for b in tx.branches)
        asked = "cancel" in self.decided_by.get(tx.xid, ())
        late = tx.decided_at >= tx.deadline_at
        spent = "was given up" in tx.reason and any(
            b.spec.attempts_max or b.spec.retry_for_ms for b in tx.branches
        )
        self.note(f"journal: {tx.xid} is cancelled: {tx.reason}")
        by_nobody = not (refused or asked or late or spent)
        self.check(not by_nobody, "decision", f"{tx.xid} cancelled by nobody")

    # ------------------------------------------------------------ callers

    def told(self, tx: Transaction) -> None:
        """A caller was told an outcome."""
        self.note(f"told: {tx.xid} is {tx.state.name}")
        durable = self.durable(tx.xid)
        self.check(durable is not None, "I3", f"{tx.xid} told, but not in the journal")
        assert durable is not None
        if tx.decided:
            self.told_verdict(tx.xid, tx.decision)
        for branch in tx.branches:
            key = (tx.xid, branch.spec.id)
            if branch.state in (BranchState.TRIED, BranchState.CONFIRMED):
                first = self.result_of.get(key)
                self.check(branch.result == first, "I5", f"{key} has another result than at first")

    def told_verdict(self, xid: str, decision: Decision) -> None:
        """A caller was told a decision, by an outcome or by an error."""
        durable = self.durable(xid)
        agrees = durable is not None and durable.decision is decision
        self.check(agrees, "I3", f"{xid} told {decision.name} before it was durable")
        before = self.told_decision.setdefault(xid, decision)
        self.check(before is decision, "I3", f"{xid} told {decision.name} after {before.name}")

    def told_tried(self, xid: str, sent: Sequence[BranchSpec]) -> None:
        """An initiator was told the end of a Try: what came with it is durable, whatever it is."""
        durable = self.durable(xid)
        known = {sent_as(branch.spec).id for branch in durable.branches} if durable else set()
        lost = [spec.id for spec in sent if spec.id not in known]
        self.check(not lost, "records first", f"{xid} was tried, and the journal has no {lost}")

    def told_over(self, xid: str, told: Decided) -> None:
        """Somebody who forgets what is over was told how much is."""
        self.note(f"told: {xid} is {told.decision.name}, final {told.final}, closed {told.closed}")
        if told.decision in (Decision.CONFIRM, Decision.CANCEL):
            self.told_verdict(xid, told.decision)
        tx = self.durable(xid)
        final = tx is not None and tx.settled
        self.check(final or not told.final, "closed", f"{xid} told final, and is not on disk")
        if told.closed:
            left = [b.spec.id for b in tx.branches if b.state not in SETTLED] if tx else []
            self.check(told.final and not left, "closed", f"{xid} told closed, and has {left} left")
            self.closed.add(xid)

    # ------------------------------------------------------------ at rest

    def check_topics(self, tx: Transaction, subscribers: Sequence[str]) -> None:
        """Each message to a topic is one branch for each subscriber."""
        reached: dict[str, list[str]] = {}
        for branch in tx.branches:
            if branch.spec.topic:
                reached.setdefault(sent_as(branch.spec).id, []).append(branch.spec.participant)
        for sent, to in reached.items():
            self.check(to == sorted(subscribers), "topic", f"{tx.xid}/{sent} went to {to}")

    def check_at_rest(self, tx: Transaction) -> None:
        """I2 and L2 for one transaction that is finished."""
        if any(b.state is BranchState.SKIPPED for b in tx.branches):
            return
        for branch in tx.branches:
            key = (tx.xid, branch.spec.id)
            count = {operation: self.effects[key, operation] for operation in Operation}
            standing = count[Operation.TRY] - count[Operation.CANCEL]
            if branch.spec.is_delivery:
                delivered = count[Operation.DELIVER]
                if branch.state is BranchState.DELIVERED:
                    self.check(delivered == 1, "I2", f"{key} says DELIVERED and was not")
                elif branch.state is BranchState.NOT_NEEDED:
                    self.check(not delivered, "I2", f"{key} was delivered and not needed")
                else:
                    given_up = branch.spec.kind is Kind.NOTICE
                    self.check(given_up, "L1", f"{key} ended {branch.state.name}")
            elif tx.state is State.CONFIRMED:
                wanted = branch.spec.kind is Kind.TCC
                self.check(standing == 1, "I2", f"{key} confirmed, but nothing stands")
                self.check(count[Operation.CONFIRM] == wanted, "I2", f"{key} was not confirmed")
            else:
                self.check(standing == 0, "I2", f"{key} cancelled, but its Try stands")
                self.check(not count[Operation.CONFIRM], "I2", f"{key} cancelled and confirmed")
