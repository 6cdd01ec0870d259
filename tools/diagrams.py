"""Draw the state machines from the core's own tables: `python tools/diagrams.py [--check]`.

Writes docs/explanation/state-machines.md. `--check` only says whether it is stale.
"""

import sys
from collections.abc import Iterable
from enum import Enum

from pages import written_or_checked
from trypact_coordinator.core.machine import (
    BRANCH,
    OPERATIONS,
    SEND,
    TRANSACTION,
    BranchTrigger,
)
from trypact_coordinator.core.transaction import (
    DECIDING,
    SETTLED,
    UNDOABLE,
    BranchState,
    Role,
    State,
)

HEAD = """# State machines

<!-- Drawn by tools/diagrams.py from the tables in core/machine.py; do not edit. -->

Two tables are the whole protocol. A pair of state and trigger that is in neither is an
`InvariantViolated`, which freezes that one transaction instead of guessing.
"""

TRANSACTION_TEXT = """
## Transaction

A transaction is undecided in `TRYING`. The decision is one compare-and-set in the journal and
never changes. It is final once every tcc and saga branch is settled; deliveries may still be on
their way then. *Stuck*, *paused* and *frozen* are marks on a transaction, not states.
"""

BRANCH_TEXT = """
## Branch

One table serves all four kinds; a kind uses the part that its operations reach. A *pivot* is a saga
step whose answer is the decision; what comes after it only goes *forward*. An arrow back to
the same state is another call of the same operation. After the decision an operator may also skip
a branch that is not settled (`SKIPPED`), which is left out of the pictures.
"""

ROLE_TEXT = {
    Role.TCC: ("tcc", "Try reserves; Confirm uses the reservation, Cancel releases it."),
    Role.SAGA: (
        "saga",
        "Try does it; Confirm needs no call, Cancel compensates, against `after`.",
    ),
    Role.MESSAGE: ("message", "Delivered after the decision it is for, until it is acknowledged."),
    Role.NOTICE: (
        "notice",
        "Like a message, but given up after a refusal or a bounded number of calls.",
    ),
    Role.PIVOT: (
        "saga: the pivot",
        "Its Try is asked for until the answer is known, and that answer is the decision.",
    ),
    Role.FORWARD: (
        "saga: after the pivot",
        "Tried after Confirm, until it is done; not at all after Cancel.",
    ),
}


def page() -> str:
    """Return the whole page."""
    parts = [HEAD, TRANSACTION_TEXT, diagram(TRANSACTION.items(), State.TRYING, _final(State))]
    parts.append(BRANCH_TEXT)
    for role, (title, text) in ROLE_TEXT.items():
        edges = edges_of(role)
        parts.append(f"\n### {title}\n\n{text}\n")
        parts.append(diagram(edges, BranchState.REGISTERED, SETTLED))
    return "".join(parts)


def edges_of(role: Role) -> list[tuple[tuple[BranchState, BranchTrigger], BranchState]]:
    """Return the part of the branch table that one role can reach, skipping aside."""
    triggers = triggers_of(role)
    reached = {BranchState.REGISTERED}
    edges = [(pair, to) for pair, to in BRANCH.items() if pair[1] in triggers]
    for _ in BranchState:
        reached |= {to for (state, _), to in edges if state in reached}
    return [((state, trigger), to) for (state, trigger), to in edges if state in reached]


def triggers_of(role: Role) -> set[BranchTrigger]:
    """Return what can happen to a branch of a role, skipping aside."""
    operations = OPERATIONS[role]
    triggers = {SEND[operation] for operation in operations if operation}
    triggers.add(BranchTrigger.DONE if role is Role.FORWARD else BranchTrigger.OK)
    if role in DECIDING:
        triggers |= {BranchTrigger.REFUSED, BranchTrigger.RELEASE}
        if role in UNDOABLE:
            triggers.add(BranchTrigger.DOUBT)
        if not operations.on_confirm:
            triggers.add(BranchTrigger.KEEP)
    elif role is Role.FORWARD:
        triggers.add(BranchTrigger.RELEASE)
    else:
        triggers.add(BranchTrigger.DISMISS)
        if role is Role.NOTICE:
            triggers.add(BranchTrigger.GIVE_UP)
    return triggers


def diagram(
    edges: Iterable[tuple[tuple[Enum, Enum], Enum]], start: Enum, final: Iterable[Enum]
) -> str:
    """Return one Mermaid state diagram."""
    edges = list(edges)
    reached = {to for _, to in edges} | {start}
    lines = ["\n```mermaid", "stateDiagram-v2", f"    [*] --> {start.name}"]
    lines += [f"    {state.name} --> {to.name}: {trigger.value}" for (state, trigger), to in edges]
    ends = sorted((state for state in final if state in reached), key=lambda state: state.value)
    lines += [f"    {state.name} --> [*]" for state in ends]
    return "\n".join([*lines, "```\n"])


def _final(states: type[State]) -> list[State]:
    left = {state for state, _ in TRANSACTION}
    return [state for state in states if state not in left]


if __name__ == "__main__":
    name = "state-machines.md"
    sys.exit(written_or_checked(__doc__, "docs/explanation", {name: page()}))
