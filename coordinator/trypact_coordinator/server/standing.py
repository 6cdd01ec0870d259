"""How a transaction stands, read from its value: who holds it up, since when, what is next.

Pure functions behind both the listing and the explanation, so that the two never disagree.
"""

from trypact_coordinator.core.machine import OPERATION_OF, wanted
from trypact_coordinator.core.transaction import (
    SETTLED,
    Branch,
    BranchState,
    Operation,
    Transaction,
)

_FAILURES = ("unknown", "retry", "refused", "pending")


def operation_of(tx: Transaction, branch: Branch) -> Operation | None:
    """Return the operation the branch needs to move on; None when it needs none (yet)."""
    if branch.state in SETTLED:
        return None
    return wanted(branch.role, tx.decision, branch.state)


def next_attempt_at(tx: Transaction, branch: Branch) -> int:
    """Return when the branch is called next; 0 while a call is in flight or none is planned."""
    operation = operation_of(tx, branch)
    if operation is None or branch.in_flight or tx.paused or tx.frozen:
        return 0
    if operation is Operation.CANCEL and branch.state is BranchState.TRYING:
        return max(branch.due_at, branch.quiet_at)
    return branch.due_at


def failing_since(tx: Transaction, branch: Branch) -> int:
    """Return when the branch's current operation failed first; 0 if it has not."""
    operation = operation_of(tx, branch)
    if operation is None:
        return 0
    events = {f"{operation.name.lower()} {failure}" for failure in _FAILURES}
    for entry in tx.timeline:
        if entry.branch_id == branch.spec.id and entry.event in events:
            return entry.at
    return 0


def held_up_by(tx: Transaction) -> list[Branch]:
    """Return the branches that are being asked, or will be at a known time; worst first.

    Branches whose turn has not come (by `after`) do not hold anything up. Before a transaction is
    final its deliveries do not either; afterwards they are all that is left.
    """
    waiting = [
        branch
        for branch in tx.branches
        if _asked(tx, branch) and (tx.settled or not branch.spec.is_delivery)
    ]
    return sorted(waiting, key=lambda branch: (not branch.stuck, -failed_calls(tx, branch)))


def _asked(tx: Transaction, branch: Branch) -> bool:
    operation = operation_of(tx, branch)
    if operation is None:
        return False
    may_still_run = branch.state is BranchState.TRYING
    return may_still_run or OPERATION_OF.get(branch.state) is operation or branch.due_at > 0


def failed_calls(tx: Transaction, branch: Branch) -> int:
    """Return how many calls of the current operation came back without an OK."""
    if OPERATION_OF.get(branch.state) is not operation_of(tx, branch):
        return 0
    return branch.attempt - branch.in_flight


def stuck_reason(tx: Transaction) -> str:
    """Say why a human is needed; "" when none is."""
    if tx.frozen:
        return f"frozen: {tx.frozen}"
    for branch in tx.branches:
        if branch.stuck:
            operation = operation_of(tx, branch)
            name = operation.name.capitalize() if operation else "a call"
            return f"{branch.spec.participant}: {name} of {branch.spec.id}: {branch.reason}"
    return ""
