"""The order among branches: `after` forwards, and its reverse among saga steps for compensation.

What comes after a pivot goes only forward, so the order gives each branch its role.
"""

from collections.abc import Iterable, Mapping, Sequence

from trypact_coordinator.core.transaction import Branch, BranchSpec, Kind, Role

_SAGA = Kind.SAGA
_ROLE_OF = {
    Kind.TCC: Role.TCC,
    Kind.SAGA: Role.SAGA,
    Kind.MESSAGE: Role.MESSAGE,
    Kind.NOTICE: Role.NOTICE,
}


def registered(specs: Sequence[BranchSpec]) -> tuple[Branch, ...]:
    """Return branches to which nothing has happened yet, each in its role."""
    return tuple(map(Branch, specs, roles_of(specs)))


def roles_of(specs: Sequence[BranchSpec]) -> list[Role]:
    """Return the role of each branch of a transaction, in their order."""
    roles = []
    for spec in specs:
        if spec.pivot:
            following = comes_after(spec.id, specs)
            return [_role_beside_pivot(one, following) for one in specs]
        roles.append(_ROLE_OF[spec.kind])
    return roles


def _role_beside_pivot(spec: BranchSpec, following: set[str]) -> Role:
    if spec.pivot:
        return Role.PIVOT
    forward = spec.kind is Kind.SAGA and spec.id in following
    return Role.FORWARD if forward else _ROLE_OF[spec.kind]


def comes_after(branch_id: str, specs: Iterable[BranchSpec]) -> set[str]:
    """Return the ids of what comes after a branch, directly or through others."""
    return _reached(branch_id, _followers(specs))


def comes_before(branch_id: str, specs: Iterable[BranchSpec]) -> set[str]:
    """Return the ids of what a branch comes after, directly or through others."""
    return _reached(branch_id, {spec.id: spec.after for spec in specs})


def _followers(specs: Iterable[BranchSpec]) -> dict[str, list[str]]:
    followers: dict[str, list[str]] = {}
    for spec in specs:
        for named in spec.after:
            followers.setdefault(named, []).append(spec.id)
    return followers


def _reached(branch_id: str, edges: Mapping[str, Sequence[str]]) -> set[str]:
    found: set[str] = set()
    stack = [branch_id]
    while stack:
        for named in edges.get(stack.pop(), ()):
            if named not in found:
                found.add(named)
                stack.append(named)
    return found


def find_circle(specs: Iterable[BranchSpec]) -> list[str]:
    """Return the ids along a circle of `after`, or [] if there is none."""
    after = {spec.id: spec.after for spec in specs}
    done: set[str] = set()
    for start in after:
        # Depth first with an explicit path, so that a long chain cannot exhaust the stack.
        path: list[str] = []
        on_path: set[str] = set()
        stack: list[tuple[str, bool]] = [(start, False)]
        while stack:
            branch_id, leaving = stack.pop()
            if leaving:
                on_path.discard(path.pop())
                done.add(branch_id)
            elif branch_id in on_path:
                return [*path[path.index(branch_id) :], branch_id]
            elif branch_id not in done:
                path.append(branch_id)
                on_path.add(branch_id)
                stack.append((branch_id, True))
                stack.extend((named, False) for named in after.get(branch_id, ()))
    return []


def compensated_first(branches: Sequence[Branch]) -> dict[str, set[str]]:
    """Return, for each saga step, the saga steps that must be compensated before it.

    Those are all that come after it, directly or through branches of other kinds.
    """
    if not any(b.spec.after for b in branches if b.spec.kind is _SAGA):
        # An edge into a saga step is what orders compensation; without one there is no order.
        return {}
    sagas = {b.spec.id for b in branches if b.spec.kind is _SAGA}
    followers = _followers(b.spec for b in branches)
    later = {branch_id: _reached(branch_id, followers) & sagas for branch_id in sagas}
    return {branch_id: first for branch_id, first in later.items() if first}
