"""The values everything else is about: a transaction and its branches, all immutable.

Instants are integer microseconds since 1970-01-01T00:00Z on the journal's clock; `at` ends the
name of an instant. Durations carry their unit in the name.

What is immutable and made of such values can be part of no cycle, so the garbage collector need
not look at it (`gc=False`).
"""

from enum import IntEnum

import msgspec


class Kind(IntEnum):
    """What a branch is; `machine.OPERATIONS` says which operations that means."""

    TCC = 1
    SAGA = 2
    MESSAGE = 3
    NOTICE = 4


# What a property compares with is named here: a member looked up on its class at each call would
# cost more than the rest of the property.
_DELIVERIES = frozenset({Kind.MESSAGE, Kind.NOTICE})


class Role(IntEnum):
    """What a branch is to the protocol: its kind, or what a pivot makes of a saga step."""

    TCC = 1
    SAGA = 2
    MESSAGE = 3
    NOTICE = 4
    # The saga step whose answer is the decision: it cannot be compensated.
    PIVOT = 5
    # A saga step after the pivot: tried after Confirm, until it is done.
    FORWARD = 6


# Those with a Try that the deadline bounds and that Cancel undoes.
UNDOABLE = frozenset({Role.TCC, Role.SAGA})
# Those that are tried before the decision.
DECIDING = UNDOABLE | {Role.PIVOT}


class On(IntEnum):
    """The decision after which a delivery is due."""

    CONFIRM = 1
    CANCEL = 2
    ANY = 3


class Operation(IntEnum):
    """What a participant can be asked to do."""

    TRY = 1
    CONFIRM = 2
    CANCEL = 3
    DELIVER = 4


class Decision(IntEnum):
    """The coordinator's verdict on an xid. CONFIRM and CANCEL are immutable."""

    CONFIRM = 1
    CANCEL = 2
    UNDECIDED = 3
    UNKNOWN = 4


class State(IntEnum):
    """Where a transaction is; numbers are those of the wire and of the journal."""

    TRYING = 1
    CONFIRMING = 2
    CANCELLING = 3
    CONFIRMED = 4
    CANCELLED = 5


_TRYING = State.TRYING
_FINAL = frozenset({State.CONFIRMED, State.CANCELLED})


class BranchState(IntEnum):
    """Where a branch is; numbers are those of the wire and of the journal."""

    REGISTERED = 1
    TRYING = 2
    TRIED = 3
    REFUSED = 4
    CONFIRMING = 5
    CONFIRMED = 6
    CANCELLING = 7
    CANCELLED = 8
    DELIVERING = 9
    DELIVERED = 10
    UNDELIVERED = 11
    NOT_NEEDED = 12
    SKIPPED = 13


class BranchSpec(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A branch as its initiator describes it; never changes once admitted."""

    id: str
    kind: Kind
    action: str
    payload: bytes = b""
    after: tuple[str, ...] = ()
    on: On = On.CONFIRM
    delay_ms: int = 0
    # A saga step that cannot be compensated, and whose answer is therefore the decision.
    pivot: bool = False
    # The budget of a Try, or of a notice's deliveries: calls, and time since the first failing
    # one, after which it is given up. 0: none of its own.
    attempts_max: int = 0
    retry_for_ms: int = 0
    # A message to everybody who has subscribed to it; see `topics`.
    topic: str = ""

    @property
    def participant(self) -> str:
        """The first half of the action: who is called."""
        return participant_of(self.action)

    @property
    def is_delivery(self) -> bool:
        """Whether it is delivered after the decision instead of tried before it."""
        return self.kind in _DELIVERIES


def participant_of(action: str) -> str:
    """Return who serves an action."""
    return action.partition(".")[0]


class Branch(msgspec.Struct, frozen=True, gc=False):
    """A branch and how far it has come."""

    spec: BranchSpec
    role: Role
    state: BranchState = BranchState.REGISTERED
    # Calls made of the current operation; 0 when it was never called.
    attempt: int = 0
    # A call has left and no answer came back to this process yet.
    in_flight: bool = False
    # In flight: when its answer is due. Otherwise: when it may be called next; 0 means at once.
    due_at: int = 0
    # Until then a Try whose outcome is unknown may still be running at the participant.
    quiet_at: int = 0
    # What the participant answered to Try or Deliver.
    result: bytes = b""
    # Why it refused, or the last error.
    reason: str = ""
    # A refused Confirm, Cancel or Deliver, or a spent retry budget: a human is needed.
    stuck: bool = False
    # When its budget of time ends; 0 when it has none, or no call has failed.
    give_up_at: int = 0
    # Those calls of the current operation that failed: neither OK nor PENDING, nor lost by a term.
    failures: int = 0


class Spec(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A transaction as its initiator describes it; never changes once begun."""

    xid: str
    name: str
    # How long it may stay undecided.
    timeout_ms: int
    # Identity of the content; the same xid with another fingerprint is a conflict.
    fingerprint: bytes
    interactive: bool = False
    # Interactive: tells one process's Begin of an xid from another's.
    nonce: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    trace_parent: str = ""


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One line of a transaction's timeline."""

    at: int
    event: str
    branch_id: str = ""
    detail: str = ""


# An instant that never comes.
NEVER = 1 << 62
# The `due_at` of a transaction that has calls in flight under the epoch of its record.
IN_FLIGHT = 0
# The `due_at` of an unfinished transaction that only an operator can move: paused or frozen.
PARKED = NEVER


class Transaction(msgspec.Struct, frozen=True, gc=False):
    """A global transaction at one instant."""

    spec: Spec
    branches: tuple[Branch, ...]
    created_at: int
    # The instant after which an undecided transaction is cancelled; NEVER once a pivot was sent.
    deadline_at: int
    state: State = State.TRYING
    # Number of records written for it. A record is applied only on top of version - 1.
    version: int = 0
    # The term of whoever wrote the last record, or resumed it since.
    epoch: int = 0
    # Decide Confirm as soon as every Try is OK: one shots always, interactive after Commit.
    auto_commit: bool = False
    # Loaded from the journal by a later term than the one that wrote it.
    resumed: bool = False
    paused: bool = False
    # A violated invariant stopped everything; says which. Empty otherwise.
    frozen: str = ""
    # When the sweeper must look at it, as its last record says: IN_FLIGHT while calls are out
    # (whoever starts a new term takes it up at once), an instant for a timer, PARKED for an
    # operator, None when nothing is left to do.
    due_at: int | None = IN_FLIGHT
    decided_at: int = 0
    finished_at: int = 0
    # Why it was cancelled, and by whose refusal.
    reason: str = ""
    refused_branch_id: str = ""
    timeline: tuple[Entry, ...] = ()

    @property
    def xid(self) -> str:
        """Its id, chosen by the initiator."""
        return self.spec.xid

    @property
    def decision(self) -> Decision:
        """CONFIRM, CANCEL or UNDECIDED."""
        return DECISION_OF[self.state]

    @property
    def decided(self) -> bool:
        """Whether the decision was made."""
        return self.state is not _TRYING

    @property
    def pivot_sent(self) -> bool:
        """Whether it is undecided, and nothing but its pivot's answer can decide it any more."""
        return self.deadline_at == NEVER and not self.decided

    @property
    def settled(self) -> bool:
        """Whether it is final: every tcc and saga branch is settled. Deliveries may remain."""
        return self.state in _FINAL

    @property
    def stuck_reason(self) -> str:
        """Why it needs a human; empty when it does not."""
        if self.frozen:
            return self.frozen
        for branch in self.branches:
            if branch.stuck:
                return f"{branch.spec.id}: {branch.reason}"
        return ""

    def branch(self, branch_id: str) -> Branch | None:
        """Return the branch of that id, if there is one."""
        for branch in self.branches:
            if branch.spec.id == branch_id:
                return branch
        return None


DECISION_OF = {
    State.TRYING: Decision.UNDECIDED,
    State.CONFIRMING: Decision.CONFIRM,
    State.CONFIRMED: Decision.CONFIRM,
    State.CANCELLING: Decision.CANCEL,
    State.CANCELLED: Decision.CANCEL,
}

# Nothing is left to do for a branch in one of these.
SETTLED = frozenset(
    {
        BranchState.REFUSED,
        BranchState.CONFIRMED,
        BranchState.CANCELLED,
        BranchState.DELIVERED,
        BranchState.UNDELIVERED,
        BranchState.NOT_NEEDED,
        BranchState.SKIPPED,
    }
)
