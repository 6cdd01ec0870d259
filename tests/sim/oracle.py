"""What must always hold, checked after every effect, record and reply of a simulated run.

The oracle sees everything at once: the durable rows, each effect of each participant, and what
every caller was told.
"""

from collections import Counter
from collections.abc import Callable, Sequence

from trypact_coordinator.core.order import compensated_first
from trypact_coordinator.core.topics import sent_as
from trypact_coordinator.core.transaction import (
    DECIDING,
    PARKED,
    SETTLED,
    UNDOABLE,
    Branch,
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
        self.decided_by: dict[str, set[str]] = {}
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
        if operation is Operation.TRY:
            cancelled = self.effects[key, Operation.CANCEL]
            self.check(not cancelled, "I6", f"Try of {key} after its Cancel")
            for named in branch.spec.after:
                tried = self.effects[(xid, named), Operation.TRY]
                self.check(bool(tried), "order", f"Try of {key} before that of {named}")
            self._check_place(tx, branch)
        elif operation is Operation.DELIVER:
            wanted = _ON.get(branch.spec.on, tx.decision)
            fits = tx.decided and tx.decision is wanted
            self.check(fits, "I3", f"{key} delivered, but the decision is {tx.decision.name}")
        else:
            wanted = Decision.CONFIRM if operation is Operation.CONFIRM else Decision.CANCEL
            fits = tx.decision is wanted
            self.check(fits, "I3", f"{operation.name} of {key} under {tx.decision.name}")
            if operation is Operation.CANCEL:
                self._check_compensation(tx, key)

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
            most = spec.attempts_max if trying else 0
            if branch.state is BranchState.DELIVERING and spec.kind is Kind.NOTICE:
                most = spec.attempts_max or (0 if spec.retry_for_ms else self.notice_attempts)
            left = not most or branch.attempt < most
            self.check(left, "budget", f"{tx.xid}/{spec.id} waits for call {branch.attempt + 1}")
            late = 0 < branch.give_up_at <= branch.due_at and (trying or most)
            self.check(not late, "budget", f"{tx.xid}/{spec.id} waits longer than it may")

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
