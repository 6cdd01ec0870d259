"""The one function that decides: `step(transaction, event, now, policy) -> Outcome`.

A step copies the transaction into a `Draft`, lets the event change it, and then asks one question
of the whole: what does the protocol allow now? (`Draft.advance`: decide, settle, call.) Nothing
else sends, decides or finishes anything, so every kind of branch and every way of being woken
goes through the same few lines.
"""

from collections.abc import Callable, Sequence
from typing import Any

from trypact_coordinator.core.admission import check_branches, check_spec
from trypact_coordinator.core.answers import answered, reported
from trypact_coordinator.core.draft import Draft
from trypact_coordinator.core.errors import (
    AlreadyCancelled,
    AlreadyConfirmed,
    BranchSettled,
    InvalidArgument,
    NotDecided,
    PivotSent,
    TransactionFrozen,
    TryUnsettled,
)
from trypact_coordinator.core.events import (
    Act,
    Answered,
    CommitAsked,
    DecideAct,
    Event,
    LeftIdle,
    PauseAct,
    Registered,
    Reported,
    ResumeAct,
    Resumed,
    RetryAct,
    RollbackAsked,
    SkipAct,
    TimePassed,
)
from trypact_coordinator.core.limits import BRANCHES_MAX
from trypact_coordinator.core.machine import BranchTrigger
from trypact_coordinator.core.order import registered
from trypact_coordinator.core.outcome import Outcome
from trypact_coordinator.core.policy import MILLISECOND, Policy, deadline
from trypact_coordinator.core.topics import unknown
from trypact_coordinator.core.transaction import (
    SETTLED,
    UNDOABLE,
    BranchSpec,
    BranchState,
    Decision,
    Spec,
    State,
    Transaction,
)

# Where a branch is whose Try has no final answer yet.
_NOT_TRIED = frozenset({BranchState.REGISTERED, BranchState.TRYING})


def begin(
    spec: Spec, branches: tuple[BranchSpec, ...], now: int, epoch: int, policy: Policy
) -> Outcome:
    """Open a transaction.

    Args:
        spec: what it is; `interactive` ones wait for Commit.
        branches: all of them for a one shot, the first ones (or none) for an interactive one.
        now: the journal's time.
        epoch: the term that opens it.
        policy: the coordinator's durations and budgets.

    Raises InvalidArgument or LimitExceeded when `admission` refuses the description.
    """
    check_spec(spec)
    if not branches and not spec.interactive:
        raise InvalidArgument("branches", "is empty", f"1 to {BRANCHES_MAX}")
    check_branches(branches, interactive=spec.interactive)
    transaction = Transaction(
        spec=spec,
        branches=registered(branches),
        created_at=now,
        deadline_at=deadline(now, spec.timeout_ms),
        epoch=epoch,
        auto_commit=not spec.interactive,
    )
    draft = Draft(transaction, now, policy)
    draft.note("begun", detail=spec.name)
    draft.force(admits=True)
    return draft.advance()


def tombstone(xid: str, now: int, epoch: int, policy: Policy) -> Outcome:
    """Settle an xid that nobody has begun: CANCELLED for ever, so a late begin is refused."""
    spec = Spec(xid=xid, name="", timeout_ms=0, fingerprint=b"")
    transaction = Transaction(spec=spec, branches=(), created_at=now, deadline_at=now, epoch=epoch)
    draft = Draft(transaction, now, policy)
    draft.force(admits=True)
    draft.decide(Decision.CANCEL, "settled before it was begun")
    return draft.advance()


def freeze(transaction: Transaction, why: str, now: int, policy: Policy) -> Outcome:
    """Stop everything about a transaction whose invariants do not hold, and say why."""
    draft = Draft(transaction, now, policy)
    draft.change(frozen=why)
    for index, branch in enumerate(draft.branches):
        if branch.in_flight:
            # Its answer changes nothing anymore, so nobody waits for it.
            draft.replace(index, in_flight=False, quiet_at=max(branch.due_at, branch.quiet_at))
    draft.note("frozen", detail=why)
    draft.force()
    return draft.advance()


def step(transaction: Transaction, event: Event, now: int, policy: Policy) -> Outcome:
    """Return what becomes of the transaction when the event happens at `now`.

    Raises CallerError when the event is a request the transaction's state does not allow (nothing
    changes then), and InvariantViolated when something happened that never may.
    """
    return step_together(transaction, (event,), now, policy)


def step_together(
    transaction: Transaction, events: Sequence[Event], now: int, policy: Policy
) -> Outcome:
    """Step with events of the same moment: what they allow is asked once, after the last one.

    Raises what `step` raises; nothing of any of them happened then.
    """
    draft = Draft(transaction, now, policy)
    if transaction.frozen:
        _require_no_request(transaction, events)
    else:
        for event in events:
            _HANDLERS[type(event)](draft, event)
    return draft.advance()


def _require_no_request(transaction: Transaction, events: Sequence[Event]) -> None:
    """Tell whoever asks for something that nothing happens any more; all else passes by."""
    if any(isinstance(event, _REQUESTS) for event in events):
        raise TransactionFrozen(f"transaction {transaction.xid} is frozen: {transaction.frozen}")


# ---------------------------------------------------------------- the initiator


def _registered(draft: Draft, event: Registered) -> None:
    if not draft.tx.spec.interactive:
        raise InvalidArgument("xid", "names a one-shot transaction, which takes no branches")
    branches = (event.branch, *event.deliveries)
    if unknown(draft.branches, branches):
        _require_undecided(draft.tx)
    draft.admit(branches)


def _commit_asked(draft: Draft, event: CommitAsked) -> None:
    tx = draft.tx
    if tx.decision is Decision.CONFIRM:
        if unknown(draft.branches, event.deliveries):
            raise AlreadyConfirmed("the decision is Confirm already, without these deliveries")
        return
    if tx.decision is Decision.CANCEL:
        raise AlreadyCancelled(_why(tx))
    # After a restart, Tries whose OK was not durable are asked again, and Commit waits for them.
    if not tx.resumed and any(b.state in _NOT_TRIED for b in tx.branches if not b.spec.is_delivery):
        raise TryUnsettled
    draft.admit(event.deliveries)
    draft.change(auto_commit=True)
    draft.note("commit asked")


def _rollback_asked(draft: Draft, event: RollbackAsked) -> None:
    tx = draft.tx
    if tx.decision is Decision.CANCEL:
        if unknown(draft.branches, event.deliveries):
            raise AlreadyCancelled(f"{_why(tx)}, without these deliveries")
        return
    if tx.decision is Decision.CONFIRM:
        raise AlreadyConfirmed
    _require_cancellable(tx)
    draft.admit(event.deliveries)
    draft.decide(Decision.CANCEL, event.reason or "rolled back by the initiator")


def _why(tx: Transaction) -> str:
    return f"transaction {tx.xid} is cancelled: {tx.reason}"


def _require_undecided(tx: Transaction) -> None:
    if tx.decision is Decision.CONFIRM:
        raise AlreadyConfirmed
    if tx.decision is Decision.CANCEL:
        raise AlreadyCancelled(_why(tx))


def _require_cancellable(tx: Transaction) -> None:
    if tx.pivot_sent:
        raise PivotSent


# ---------------------------------------------------------------- time and terms


def _time_passed(draft: Draft, event: TimePassed) -> None:
    """Nothing but the time changes; `advance` sees what it allows."""


def _left_idle(draft: Draft, event: LeftIdle) -> None:
    draft.lazily()


def _resumed(draft: Draft, event: Resumed) -> None:
    undecided = draft.tx.state is State.TRYING
    new_term = event.epoch != draft.tx.epoch
    # Whether a Try may have been answered, or sent, without a record that says so. A pivot is sent
    # with one, and so is whatever leaves after the decision.
    in_doubt = undecided and any(
        branch.state in _NOT_TRIED for branch in draft.branches if branch.role in UNDOABLE
    )
    quiet_at = draft.now + draft.policy.call_timeout_ms * MILLISECOND
    for index, branch in enumerate(draft.branches):
        if undecided and branch.role in UNDOABLE and branch.state is BranchState.REGISTERED:
            # Results are not written one by one, so a Try that waited for another in the journal
            # may have left all the same. From now on it counts as one that may have run.
            draft.move(index, BranchTrigger.DOUBT, quiet_at=quiet_at)
            continue
        if branch.in_flight:
            running_until = max(branch.due_at, branch.quiet_at)
            draft.replace(index, in_flight=False, due_at=0, quiet_at=running_until)
        if undecided and branch.state is BranchState.TRYING:
            # Nor are calls: this Try may have been sent again since its record.
            draft.replace(index, quiet_at=quiet_at)
    draft.change(epoch=event.epoch, resumed=draft.tx.resumed or in_doubt)
    if (new_term or in_doubt) and not draft.tx.settled:
        draft.note("resumed", detail=f"epoch {event.epoch}")


# ---------------------------------------------------------------- operators


def _require_unended(draft: Draft) -> None:
    """Refuse an act on a transaction that has nothing left to do."""
    tx = draft.tx
    if not tx.settled or any(branch.state not in SETTLED for branch in draft.branches):
        return
    ended = f"transaction {tx.xid} is {tx.state.name.lower()}, and nothing is left to do"
    raise AlreadyConfirmed(ended) if tx.state is State.CONFIRMED else AlreadyCancelled(ended)


def _retry_act(draft: Draft, event: RetryAct) -> None:
    for index, branch in enumerate(draft.branches):
        if branch.state not in SETTLED and not branch.in_flight and branch.attempt:
            draft.replace(index, due_at=0, stuck=False)
    draft.act("retry asked", event)


def _pause_act(draft: Draft, event: PauseAct) -> None:
    _require_unended(draft)
    draft.change(paused=True)
    draft.act("paused", event)


def _resume_act(draft: Draft, event: ResumeAct) -> None:
    _require_unended(draft)
    draft.change(paused=False)
    draft.act("unpaused", event)


def _decide_act(draft: Draft, event: DecideAct) -> None:
    if event.decision not in (Decision.CONFIRM, Decision.CANCEL):
        raise InvalidArgument("decision", f"is {event.decision.name}", "CONFIRM or CANCEL")
    if draft.tx.decision is event.decision:
        return
    _require_undecided(draft.tx)
    if event.decision is Decision.CONFIRM and not draft.all_tried():
        raise TryUnsettled
    _require_cancellable(draft.tx)
    draft.act(f"{event.decision.name.lower()} by operator", event)
    draft.decide(event.decision, f"by {event.actor}: {event.reason}")


def _skip_act(draft: Draft, event: SkipAct) -> None:
    index, branch = draft.find(event.branch_id)
    if branch.state is BranchState.SKIPPED:
        return
    if not draft.tx.decided:
        raise NotDecided
    if branch.state in SETTLED:
        raise BranchSettled
    draft.move(index, BranchTrigger.SKIP, in_flight=False, stuck=False)
    draft.act("skipped", event, event.branch_id)


_HANDLERS: dict[type[Any], Callable[[Draft, Any], None]] = {
    Answered: answered,
    Reported: reported,
    Registered: _registered,
    CommitAsked: _commit_asked,
    RollbackAsked: _rollback_asked,
    TimePassed: _time_passed,
    LeftIdle: _left_idle,
    Resumed: _resumed,
    RetryAct: _retry_act,
    PauseAct: _pause_act,
    ResumeAct: _resume_act,
    DecideAct: _decide_act,
    SkipAct: _skip_act,
}

# What somebody asks for, and is told when it cannot be.
_REQUESTS = (Registered, CommitAsked, RollbackAsked, Act)

__all__ = ["begin", "freeze", "step", "step_together", "tombstone"]
