"""What an answer of a participant does to its branch, and how often a branch is asked again."""

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from trypact_coordinator.core.draft import Draft
from trypact_coordinator.core.events import (
    Answered,
    Ok,
    Pending,
    Refused,
    Reported,
    Retry,
    Unknown,
)
from trypact_coordinator.core.limits import REASON_BYTES_MAX, RETRY_AFTER_MS_MAX
from trypact_coordinator.core.machine import OPERATION_OF, BranchTrigger, next_branch_state
from trypact_coordinator.core.policy import MILLISECOND, backoff_us, slow_retry_us
from trypact_coordinator.core.transaction import (
    DECIDING,
    UNDOABLE,
    Branch,
    Decision,
    Operation,
    Role,
)
from trypact_coordinator.text import shorten

_IS_OK, _IS_DONE = BranchTrigger.OK, BranchTrigger.DONE
_FORWARD = Role.FORWARD
# What the timeline says about an answer: words made once.
_OK_SAID = {operation: f"{operation.name.lower()} ok" for operation in Operation}
# Operations whose result the initiator gets to see.
_WITH_RESULT = frozenset({Operation.TRY, Operation.DELIVER})


def answered(draft: Draft, event: Answered) -> None:
    """Take the answer to a call, unless the branch has moved on."""
    index, branch = draft.find(event.branch_id)
    operation, answer = event.operation, event.answer
    if OPERATION_OF.get(branch.state) is not operation:
        return  # a straggler: the branch has moved on
    kind = type(answer)
    if kind is not Ok and kind is not Refused and not _is_current(branch, event):
        return  # another call is under way, or will be, and will tell
    _ANSWERS[kind](draft, index, branch, operation, answer)


def _is_current(branch: Branch, event: Answered) -> bool:
    return branch.in_flight and event.attempt == branch.attempt


def reported(draft: Draft, event: Reported) -> None:
    """Take what a participant says by itself, unless the branch has moved on."""
    index, branch = draft.find(event.branch_id)
    if OPERATION_OF.get(branch.state) is event.operation:
        _ANSWERS[type(event.answer)](draft, index, branch, event.operation, event.answer)


def _ok(draft: Draft, index: int, branch: Branch, operation: Operation, answer: Ok) -> None:
    draft.branches[index] = replace(
        branch,
        state=next_branch_state(branch.state, _IS_DONE if branch.role is _FORWARD else _IS_OK),
        in_flight=False,
        due_at=0,
        result=answer.result if operation in _WITH_RESULT else branch.result,
        reason="",
        stuck=False,
    )
    draft.note(_OK_SAID[operation], branch.spec.id)
    if answer.expires_at_us and branch.role in UNDOABLE and not draft.tx.decided:
        _shorten_deadline(draft, branch, answer.expires_at_us)
    draft.progressed(operation)


def _shorten_deadline(draft: Draft, branch: Branch, expires_at: int) -> None:
    """Decide no later than a reservation lasts; it is released by Cancel, and never by itself."""
    early_us = draft.tx.deadline_at - expires_at
    if early_us > 0:
        draft.change(deadline_at=expires_at)
        said = f"by {early_us // MILLISECOND} ms, when its reservation ends"
        draft.note("deadline shortened", branch.spec.id, said)


def _refused(
    draft: Draft, index: int, branch: Branch, operation: Operation, answer: Refused
) -> None:
    reason = answer.reason
    draft.note(f"{operation.name.lower()} refused", branch.spec.id, reason)
    if operation is Operation.TRY and branch.role in DECIDING:
        draft.move(index, BranchTrigger.REFUSED, in_flight=False, stuck=False, reason=reason)
    elif branch.role is Role.NOTICE:
        draft.move(index, BranchTrigger.GIVE_UP, in_flight=False, reason=reason)
        draft.progressed(operation)
    else:
        wait_us = slow_retry_us(draft.policy, draft.key(branch), branch.attempt)
        draft.replace(index, in_flight=False, due_at=draft.now + wait_us, reason=reason, stuck=True)
        draft.lazily()


def _retry(draft: Draft, index: int, branch: Branch, operation: Operation, answer: Retry) -> None:
    reason = answer.reason
    said = reason or f"asked to wait {answer.after_ms} ms"
    draft.note(f"{operation.name.lower()} retry", branch.spec.id, said)
    wait_us = min(answer.after_ms, RETRY_AFTER_MS_MAX) * MILLISECOND
    _ask_again(draft, index, branch, operation, reason, wait_us=wait_us)


def _pending(
    draft: Draft, index: int, branch: Branch, operation: Operation, answer: Pending
) -> None:
    draft.note(f"{operation.name.lower()} pending", branch.spec.id)
    poll_us = draft.policy.pending_poll_ms * MILLISECOND
    _ask_again(draft, index, branch, operation, "pending", wait_us=poll_us, failed=False)


def _unknown(
    draft: Draft, index: int, branch: Branch, operation: Operation, answer: Unknown
) -> None:
    draft.note(f"{operation.name.lower()} unknown", branch.spec.id, answer.error)
    # The answer's own due time is the last instant at which the call can be running.
    quiet_at = branch.due_at if operation is Operation.TRY else 0
    _ask_again(draft, index, branch, operation, answer.error, quiet_at=quiet_at)


_ANSWERS: dict[type[Any], Callable[[Draft, int, Branch, Operation, Any], None]] = {
    Ok: _ok,
    Refused: _refused,
    Retry: _retry,
    Pending: _pending,
    Unknown: _unknown,
}


# ---------------------------------------------------------------- asking again


def _ask_again(
    draft: Draft,
    index: int,
    branch: Branch,
    operation: Operation,
    reason: str,
    wait_us: int = 0,
    quiet_at: int = 0,
    failed: bool = True,
) -> None:
    policy, key = draft.policy, draft.key(branch)
    undoable = operation is Operation.TRY and branch.role in UNDOABLE
    # Such a Try is not asked again after the decision, and its Cancel does not wait as it would.
    asked_no_more = undoable and draft.tx.decided
    # The deadline bounds what Cancel undoes, and its budget a notice; all else is bounded by a
    # human's patience.
    bounded = undoable or branch.role is Role.NOTICE
    failures = branch.failures + failed
    spent = not bounded and failures >= policy.attempts_until_stuck
    stuck = branch.stuck or (failed and spent)
    wait_us = wait_us or backoff_us(policy, key, failures)
    if stuck and failed:
        wait_us = max(wait_us, slow_retry_us(policy, key, branch.attempt))
    asked = replace(
        branch,
        in_flight=False,
        due_at=0 if asked_no_more else draft.now + wait_us,
        quiet_at=max(quiet_at, branch.quiet_at),
        reason=reason,
        stuck=stuck,
        failures=failures,
    )
    if branch.role is Role.NOTICE or (undoable and failed and not asked_no_more):
        asked = replace(asked, give_up_at=asked.give_up_at or _budget_ends_at(draft, asked))
        if _is_spent(draft, asked):
            _give_up(draft, index, asked, operation)
            return
    draft.branches[index] = asked
    draft.lazily()


def _budget_ends_at(draft: Draft, branch: Branch) -> int:
    """Return when the budget of time ends, whose first call fails now; 0 if it has none."""
    for_ms = branch.spec.retry_for_ms
    return draft.now + for_ms * MILLISECOND if for_ms else 0


def _is_spent(draft: Draft, branch: Branch) -> bool:
    """Whether the branch's own budget allows no other call when that would be due.

    A Try that is PENDING is being worked on and costs nothing; a notice is not asked for ever.
    """
    spec = branch.spec
    most, spent = spec.attempts_max, branch.failures
    if branch.role is Role.NOTICE:
        spent = branch.attempt
        if not spec.retry_for_ms:
            most = most or draft.policy.notice_attempts
    if most and spent >= most:
        return True
    return 0 < branch.give_up_at <= branch.due_at


def _give_up(draft: Draft, index: int, branch: Branch, operation: Operation) -> None:
    """End the calls of a branch: a notice is given up alone, a Try with its transaction."""
    draft.branches[index] = replace(branch, due_at=0)
    if branch.role is Role.NOTICE:
        draft.move(index, BranchTrigger.GIVE_UP)
        draft.progressed(operation)
        return
    calls = "1 call" if branch.attempt == 1 else f"{branch.attempt} calls"
    said = f"{branch.spec.id} was given up after {calls}: {branch.reason or 'asked to wait'}"
    draft.decide(Decision.CANCEL, shorten(said, REASON_BYTES_MAX))
