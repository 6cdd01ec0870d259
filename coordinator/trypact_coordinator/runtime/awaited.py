"""What a caller waits for: the state of a transaction that is the one it asked for.

An xid may be known with other content: then its caller hears of that at once, whatever the state.
"""

from operator import attrgetter

from trypact_coordinator.core.errors import (
    AlreadyCancelled,
    CoordinatorError,
    XidConflict,
    XidInUse,
)
from trypact_coordinator.core.outcome import Reply
from trypact_coordinator.core.transaction import BranchState, Spec, Transaction
from trypact_coordinator.runtime.slot import Until, Watcher

# What a caller may wait for -> the condition.
REACHED: dict[Reply, Until] = {
    Reply.DECIDED: attrgetter("decided"),
    Reply.SETTLED: attrgetter("settled"),
}


def begun(tx: Transaction) -> bool:
    """Whether it is there at all, which is what some callers wait for."""
    return True


def tried(tx: Transaction, branch_id: str) -> bool:
    """Whether a branch's Try was answered with OK, before any decision."""
    branch = tx.branch(branch_id)
    return branch is not None and branch.state is BranchState.TRIED


def reached(spec: Spec, until: Reply) -> Until:
    """Return the condition of a caller who waits for what it has begun, or for another's."""
    state, fingerprint = REACHED[until], spec.fingerprint
    return lambda tx: state(tx) or tx.spec.fingerprint != fingerprint


def tell_same(spec: Spec, tell: Watcher, result: Transaction | CoordinatorError) -> None:
    """Tell a result; that it is another transaction's is an error."""
    if isinstance(result, Transaction):
        try:
            require_same(result.spec, spec)
        except CoordinatorError as error:
            result = error
    tell(result)


def require_same(known: Spec, asked: Spec) -> None:
    """Raise unless a known xid was begun with the content that is asked for now."""
    if not known.fingerprint:
        raise AlreadyCancelled(f"transaction {asked.xid} was cancelled before it was begun")
    if known.interactive and asked.interactive and known.nonce != asked.nonce:
        raise XidInUse(f"another process has begun transaction {asked.xid}")
    if known.interactive != asked.interactive or known.fingerprint != asked.fingerprint:
        raise XidConflict(f"transaction {asked.xid} exists with other content")
