"""What a caller waits for: the state of a transaction that is the one it asked for.

An xid may be known with other content: then its caller hears of that at once, whatever the state.
"""

from collections.abc import Sequence
from operator import attrgetter

from trypact_coordinator.core.errors import (
    AlreadyCancelled,
    CoordinatorError,
    XidConflict,
    XidInUse,
)
from trypact_coordinator.core.outcome import Reply
from trypact_coordinator.core.topics import sent_as
from trypact_coordinator.core.transaction import BranchSpec, BranchState, Spec, Transaction
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


def tell_same(
    spec: Spec,
    branches: Sequence[BranchSpec],
    tell: Watcher,
    result: Transaction | CoordinatorError,
) -> None:
    """Tell a result; that it is another transaction's is an error."""
    if isinstance(result, Transaction):
        try:
            require_same(result, spec, branches)
        except CoordinatorError as error:
            result = error
    tell(result)


def require_same(tx: Transaction, asked: Spec, branches: Sequence[BranchSpec] = ()) -> None:
    """Raise unless a known xid was begun with the content that is asked for now."""
    known = tx.spec
    if not known.fingerprint:
        raise AlreadyCancelled(f"transaction {asked.xid} was cancelled before it was begun")
    if known.interactive and asked.interactive and known.nonce != asked.nonce:
        raise XidInUse(f"another process has begun transaction {asked.xid}")
    if known.interactive != asked.interactive or known.fingerprint != asked.fingerprint:
        differs = _difference(tx, asked, branches)
        raise XidConflict(f"transaction {asked.xid} exists with other content: {differs}")


def _difference(tx: Transaction, asked: Spec, branches: Sequence[BranchSpec]) -> str:
    """Name the first thing that is not as it was; never what a payload holds."""
    known = tx.spec
    if known.interactive != asked.interactive:
        return f"it was {'interactive' if known.interactive else 'sent at once'}, and is not now"
    if known.name != asked.name:
        return f"its name was {known.name!r}, not {asked.name!r}"
    if known.timeout_ms != asked.timeout_ms:
        return f"its timeout was {known.timeout_ms} ms, not {asked.timeout_ms} ms"
    was = {sent.id: sent for sent in (sent_as(branch.spec) for branch in tx.branches)}
    now = {branch.id: branch for branch in branches}
    for id_ in [*was, *now]:
        if id_ not in now:
            return f"it had a branch {id_!r}"
        if id_ not in was:
            return f"it had no branch {id_!r}"
        for field in BranchSpec.__struct_fields__:
            if getattr(was[id_], field) != getattr(now[id_], field):
                return f"branch {id_!r} had another {field}"
    return "its branches came in another order"
