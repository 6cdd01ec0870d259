"""Everything that can happen to a transaction, and the five answers a participant can give.

The shell turns each answer, timeout, request and operator's act into one of these and passes it
to `step`; it never acts on them itself.
"""

import msgspec

from trypact_coordinator.core.transaction import BranchSpec, Decision, Operation


class Ok(msgspec.Struct, frozen=True, gc=False):
    """Done, or done before; the result is that of the first time."""

    result: bytes = b""
    # Of a Try: when what it reserved is given up, in the coordinator's time; 0 for never.
    expires_at_us: int = 0


class Refused(msgspec.Struct, frozen=True, gc=False):
    """A business no."""

    reason: str


class Retry(msgspec.Struct, frozen=True, gc=False):
    """It did not run; ask again after this long (0: after the policy's back-off)."""

    after_ms: int
    reason: str = ""


class Pending(msgspec.Struct, frozen=True, gc=False):
    """Accepted; it will be reported, or asked again."""


class Unknown(msgspec.Struct, frozen=True, gc=False):
    """Anything else: an error, a timeout, garbage. It may or may not have run."""

    error: str


Answer = Ok | Refused | Retry | Pending | Unknown


class Answered(msgspec.Struct, frozen=True, gc=False):
    """A call came back, or its time-out passed."""

    branch_id: str
    operation: Operation
    attempt: int
    answer: Answer


class Reported(msgspec.Struct, frozen=True, gc=False):
    """A participant completes by itself an operation that it answered with PENDING."""

    branch_id: str
    operation: Operation
    answer: Ok | Refused


class Registered(msgspec.Struct, frozen=True, gc=False):
    """The initiator adds a tcc or saga branch to an interactive transaction.

    Deliveries that it wants after a Cancel come along: a refusal decides before it can ask again.
    """

    branch: BranchSpec
    deliveries: tuple[BranchSpec, ...] = ()


class CommitAsked(msgspec.Struct, frozen=True, gc=False):
    """The initiator wants Confirm; the deliveries are admitted with the decision."""

    deliveries: tuple[BranchSpec, ...] = ()


class RollbackAsked(msgspec.Struct, frozen=True, gc=False):
    """The initiator wants Cancel; the deliveries are admitted with the decision."""

    reason: str = ""
    deliveries: tuple[BranchSpec, ...] = ()


class TimePassed(msgspec.Struct, frozen=True, gc=False):
    """The transaction's `wake_at` has come."""


class LeftIdle(msgspec.Struct, frozen=True, gc=False):
    """Nothing has happened to it for a while, and nothing is about to.

    What is known of it is written, so that it need not be kept in memory.
    """


class Resumed(msgspec.Struct, frozen=True, gc=False):
    """A new term loaded the transaction from the journal; calls in flight were lost."""

    epoch: int


class Act(msgspec.Struct, frozen=True, gc=False):
    """What every operator's act carries, for the timeline."""

    actor: str
    reason: str


class RetryAct(Act, frozen=True, gc=False):
    """Makes everything that waits for a back-off due now."""


class PauseAct(Act, frozen=True, gc=False):
    """Stops calls, not the deadline's decision."""


class ResumeAct(Act, frozen=True, gc=False):
    """Lets calls leave again."""


class DecideAct(Act, frozen=True, gc=False):
    """Decides an undecided transaction; CONFIRM only when every Try is OK."""

    decision: Decision


class SkipAct(Act, frozen=True, gc=False):
    """Marks a branch as settled by hand, after the decision."""

    branch_id: str


Event = (
    Answered
    | Reported
    | Registered
    | CommitAsked
    | RollbackAsked
    | TimePassed
    | LeftIdle
    | Resumed
    | RetryAct
    | PauseAct
    | ResumeAct
    | DecideAct
    | SkipAct
)
