"""A transaction being stepped: the only mutable thing in the core, alive for one step.

`advance` is the protocol itself. It looks at the whole transaction and does, in this order, all
that is allowed now: decide, settle what needs no call, send what is ready and due, finish.
"""

from typing import Any

from msgspec.structs import replace

from trypact_coordinator.core.admission import check_branches
from trypact_coordinator.core.errors import UnknownBranch, invariant
from trypact_coordinator.core.events import Act
from trypact_coordinator.core.limits import REASON_BYTES_MAX, TIMELINE_ENTRIES_MAX
from trypact_coordinator.core.machine import (
    SENT,
    BranchTrigger,
    Trigger,
    move_without_call,
    next_branch_state,
    next_state,
    wanted,
)
from trypact_coordinator.core.order import compensated_first, registered
from trypact_coordinator.core.outcome import Call, Outcome, Record, Reply
from trypact_coordinator.core.policy import MILLISECOND, Policy
from trypact_coordinator.core.topics import unknown
from trypact_coordinator.core.transaction import (
    DECIDING,
    DECISION_OF,
    IN_FLIGHT,
    NEVER,
    PARKED,
    SETTLED,
    Branch,
    BranchSpec,
    BranchState,
    Decision,
    Entry,
    Operation,
    Role,
    State,
    Transaction,
)
from trypact_coordinator.text import shorten

# Members by names of their own: looking one up on its class costs more than building a branch.
_TRYING, _TRIED, _REFUSED = BranchState.TRYING, BranchState.TRIED, BranchState.REFUSED
_UNDECIDED, _CONFIRM, _CANCEL = Decision.UNDECIDED, Decision.CONFIRM, Decision.CANCEL
_SAGA, _PIVOT = Role.SAGA, Role.PIVOT
_TRY_IT, _CANCEL_IT, _DELIVER_IT = Operation.TRY, Operation.CANCEL, Operation.DELIVER
_DECIDE_CONFIRM, _DECIDE_CANCEL = Trigger.DECIDE_CONFIRM, Trigger.DECIDE_CANCEL
_ALL_SETTLED = Trigger.ALL_SETTLED
_BRANCH, _DECIDED, _SETTLED = Reply.BRANCH, Reply.DECIDED, Reply.SETTLED
_IS_TRYING = State.TRYING
# Decided, and not final yet.
_ENDING = frozenset({State.CONFIRMING, State.CANCELLING})
# Where a branch is whose Try was OK; what was skipped by hand counts as done.
_HAS_TRIED = frozenset({_TRIED, BranchState.CONFIRMING, BranchState.CONFIRMED, BranchState.SKIPPED})
# What the timeline says: words made once.
_DECIDED_SAID = {decision: f"decided {decision.name.lower()}" for decision in Decision}
_FINAL_SAID = {state: state.name.lower() for state in State}


class Draft:
    """One step's working copy of a transaction."""

    __slots__ = (
        "_admits",
        "_forced",
        "_wants_record",
        "branches",
        "calls",
        "entries",
        "now",
        "policy",
        "replies",
        "tx",
    )

    def __init__(self, tx: Transaction, now: int, policy: Policy) -> None:
        self.tx = tx
        self.now = now
        self.policy = policy
        self.branches = list(tx.branches)
        self.entries: list[Entry] = []
        self.calls: list[Call] = []
        self.replies: list[Reply] = []
        self._forced = False
        self._admits = False
        self._wants_record = False

    # ------------------------------------------------------------ what events may do

    def find(self, branch_id: str) -> tuple[int, Branch]:
        """Return a branch and its place. Raises UnknownBranch."""
        for index, branch in enumerate(self.branches):
            if branch.spec.id == branch_id:
                return index, branch
        raise UnknownBranch(f"transaction {self.tx.xid} has no branch {branch_id!r}")

    def change(self, **fields: Any) -> None:
        """Set fields of the transaction itself.

        What happens to every transaction (`decide`, its end) replaces them without this call.
        """
        self.tx = replace(self.tx, **fields)

    def replace(self, index: int, **fields: Any) -> None:
        """Set fields of a branch that do not change its state."""
        self.branches[index] = replace(self.branches[index], **fields)

    def move(self, index: int, trigger: BranchTrigger, **fields: Any) -> None:
        """Move a branch by the table, and set fields beside."""
        branch = self.branches[index]
        state = next_branch_state(branch.state, trigger)
        self.branches[index] = replace(branch, state=state, **fields)

    def admit(self, specs: tuple[BranchSpec, ...]) -> None:
        """Add branches, durably; those it has already are the same request again.

        Raises BranchConflict for an id with other content, InvalidArgument for what may not join.
        """
        new = unknown(self.branches, specs)
        if not new:
            return
        known = tuple(branch.spec for branch in self.branches)
        check_branches(new, known, interactive=True)
        self.branches.extend(registered(new))
        for spec in new:
            self.note("registered", spec.id, spec.action)
        self.force(admits=True)

    def note(self, event: str, branch_id: str = "", detail: str = "") -> None:
        """Add a line to the timeline; it rides on the next record."""
        self.entries.append(Entry(self.now, event, branch_id, detail))

    def act(self, event: str, act: Act, branch_id: str = "") -> None:
        """Add an operator's act to the timeline, durably."""
        self.note(event, branch_id, f"{act.actor}: {act.reason}")
        self.force()

    def force(self, *, admits: bool = False) -> None:
        """Ask for a record that everything after waits for."""
        self._wants_record = self._forced = True
        self._admits = self._admits or admits

    def lazily(self) -> None:
        """Ask for a record that nobody waits for."""
        self._wants_record = True

    def progressed(self, operation: Operation) -> None:
        """Note an answer that is worth a record of its own only when nothing else will carry it.

        Results of Try ride on the decision and those of Confirm and Cancel on the finish; what is
        delivered after the finish has only itself.
        """
        if operation is _TRY_IT:
            self.replies.append(_BRANCH)
        elif self.tx.finished_at and not any(b.in_flight for b in self.branches):
            self.lazily()

    def key(self, branch: Branch) -> str:
        """Return what the branch's jitter is drawn from."""
        return f"{self.tx.xid}/{branch.spec.id}"

    def all_tried(self) -> bool:
        """Whether every branch that is tried before the decision is TRIED."""
        for branch in self.branches:
            if branch.state is not _TRIED and branch.role in DECIDING:
                return False
        return True

    def decide(self, decision: Decision, reason: str = "", refused_branch_id: str = "") -> None:
        """Make the decision; settle whatever it leaves nothing to do for."""
        confirm = decision is _CONFIRM
        trigger = _DECIDE_CONFIRM if confirm else _DECIDE_CANCEL
        invariant(not confirm or self.all_tried(), "Confirm was decided before every Try was OK")
        self.tx = replace(
            self.tx,
            state=next_state(self.tx.state, trigger),
            decided_at=self.now,
            reason=reason,
            refused_branch_id=refused_branch_id,
        )
        self.note(_DECIDED_SAID[decision], refused_branch_id, reason)
        for index, branch in enumerate(self.branches):
            spec = branch.spec
            settling = move_without_call(branch.role, spec.on, decision, branch.state)
            if settling is not None:
                self.move(index, settling)
            elif branch.in_flight:
                continue
            elif spec.delay_ms:
                self.replace(index, due_at=self.now + spec.delay_ms * MILLISECOND)
            elif branch.due_at:
                # Its back-off was for another operation.
                self.replace(index, due_at=0)
        self.replies.append(_DECIDED)
        self.force()

    # ------------------------------------------------------------ what the protocol allows now

    def advance(self) -> Outcome:
        """Do all that is allowed now, and return what it asks of the shell."""
        if self.tx.frozen:
            return self._outcome(wake_at=NEVER)
        if self.tx.state is _IS_TRYING:
            self._decide_if_due()
        wake_at = self._call_what_is_ready()
        if self.tx.state in _ENDING:
            self._finish_if_settled()
        return self._outcome(wake_at)

    def _decide_if_due(self) -> None:
        for branch in self.branches:
            if branch.state is _REFUSED:
                self.decide(_CANCEL, branch.reason, branch.spec.id)
                return
        if self.tx.auto_commit and self.all_tried():
            self.decide(_CONFIRM)
        elif self.now >= self.tx.deadline_at:
            self.decide(_CANCEL, self._why_late())

    def _why_late(self) -> str:
        """Say what kept an undecided transaction until its deadline."""
        for branch in self.branches:
            if branch.reason and branch.state is BranchState.TRYING:
                late = f"the deadline passed; last of {branch.spec.id}: {branch.reason}"
                return shorten(late, REASON_BYTES_MAX)
        return "the deadline passed"

    def _call_what_is_ready(self) -> int:
        """Send every call that is ready and due; return when time alone changes something next."""
        decision, now = DECISION_OF[self.tx.state], self.now
        wake_at = NEVER
        saga_order = compensated_first(self.branches) if decision is _CANCEL else {}
        states: dict[str, BranchState] | None = None
        for index, branch in enumerate(() if self.tx.paused else self.branches):
            if branch.in_flight or branch.state in SETTLED:
                continue
            spec = branch.spec
            operation = wanted(branch.role, decision, branch.state)
            if operation is None:
                continue
            if spec.after or saga_order:
                # As they were before this turn's calls, which put nothing in order.
                states = states or {b.spec.id: b.state for b in self.branches}
                if not _in_order(branch, operation, states, saga_order):
                    continue
            allowed_at = branch.due_at
            if operation is _CANCEL_IT and branch.state is _TRYING:
                allowed_at = max(allowed_at, branch.quiet_at)
            if allowed_at <= now:
                self._call(index, branch, operation, decision)
            elif allowed_at < wake_at:
                wake_at = allowed_at
        # Asked last: there is no deadline any more once a pivot has been sent.
        if decision is _UNDECIDED and self.tx.deadline_at < wake_at:
            return self.tx.deadline_at
        return wake_at

    def _call(self, index: int, branch: Branch, operation: Operation, decision: Decision) -> None:
        state = SENT[branch.state, operation]
        # The count is of one operation, so it starts again with the next one.
        again = state is branch.state
        attempt = branch.attempt + 1 if again else 1
        if branch.role is _PIVOT and not again:
            self._pass_the_pivot(branch)
        timeout_ms = self.policy.call_timeout_ms
        answer_due_at = self.now + timeout_ms * MILLISECOND
        self.branches[index] = replace(
            branch,
            state=state,
            attempt=attempt,
            in_flight=True,
            due_at=answer_due_at,
            stuck=branch.stuck and again,
            failures=branch.failures if again else 0,
        )
        spec = self.tx.spec
        not_after = answer_due_at if operation is _TRY_IT else 0
        self.calls.append(
            Call(
                spec.xid,
                branch.spec,
                operation,
                attempt,
                decision,
                timeout_ms,
                not_after,
                spec.trace_parent,
            )
        )

    def _pass_the_pivot(self, pivot: Branch) -> None:
        """Make durable, before it is sent, that nothing but the pivot's answer decides any more.

        Every other Try is OK by then and stays so, for the record says it too.
        """
        self.change(deadline_at=NEVER)
        self.note("pivot sent", pivot.spec.id)
        self.force()

    def _finish_if_settled(self) -> None:
        for branch in self.branches:
            if branch.state not in SETTLED and not branch.spec.is_delivery:
                return
        state = next_state(self.tx.state, _ALL_SETTLED)
        self.tx = replace(self.tx, state=state, finished_at=self.now)
        self.note(_FINAL_SAID[state])
        self.replies.append(_SETTLED)
        self.lazily()

    # ------------------------------------------------------------ what the shell is told

    def _outcome(self, wake_at: int) -> Outcome:
        tx = self.tx
        timeline = tx.timeline
        if self.entries:
            timeline = _bounded(timeline + tuple(self.entries))
        branches = tuple(self.branches)
        record = None
        if self._wants_record:
            tx = replace(
                tx,
                branches=branches,
                timeline=timeline,
                version=tx.version + 1,
                due_at=self._due_at(wake_at),
            )
            record = Record(tx, self._forced, self._admits)
        else:
            tx = replace(tx, branches=branches, timeline=timeline)
        wake = wake_at if wake_at < NEVER else None
        return Outcome(tx, record, tuple(self.calls), tuple(self.replies), wake)

    def _due_at(self, wake_at: int) -> int | None:
        """Return when the sweeper must look at it; see `Transaction.due_at`."""
        if self.tx.frozen:
            return PARKED
        if self.calls:
            return IN_FLIGHT
        over = self.tx.settled
        for branch in self.branches:
            if branch.in_flight:
                return IN_FLIGHT
            over = over and branch.state in SETTLED
        if wake_at < NEVER:
            return wake_at
        return None if over else PARKED


def _in_order(
    branch: Branch,
    operation: Operation,
    states: dict[str, BranchState],
    saga_order: dict[str, set[str]],
) -> bool:
    """Whether everything that comes before this operation of this branch is done."""
    spec = branch.spec
    if operation is _TRY_IT:
        return all(states[id_] in _HAS_TRIED for id_ in spec.after)
    if operation is _DELIVER_IT:
        return all(states[id_] in SETTLED for id_ in spec.after)
    if operation is _CANCEL_IT and branch.role is _SAGA:
        return all(states[id_] in SETTLED for id_ in saga_order.get(spec.id, ()))
    return True


def _bounded(timeline: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """Keep the beginning and the latest of a timeline that outgrew its limit."""
    if len(timeline) <= TIMELINE_ENTRIES_MAX:
        return timeline
    head, tail = TIMELINE_ENTRIES_MAX // 2, TIMELINE_ENTRIES_MAX // 4
    gap = Entry(timeline[-tail].at, "omitted", detail=f"{len(timeline) - head - tail} entries")
    return (*timeline[:head], gap, *timeline[-tail:])
