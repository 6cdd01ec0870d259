"""What the runtime counts: plain numbers, written on its hot path and read when somebody looks.

One thread writes them, the event loop's, and whoever reads them does so in that thread too; so
there are no locks. Every transaction passes here a dozen times, so an observation is a handful of
increments. What is counted has no name or format here: the server gives it those. Meters must
never decide anything, and never keep anything for each transaction.
"""

from bisect import bisect_left

from trypact_coordinator.core.errors import (
    CoordinatorError,
    InvalidArgument,
    KindNotServed,
    LimitExceeded,
    Overloaded,
    ParticipantUnavailable,
    ShuttingDown,
    UnknownAction,
    UnknownParticipant,
)
from trypact_coordinator.core.events import Answer, Ok, Pending, Refused, Retry, Unknown
from trypact_coordinator.core.policy import SECOND
from trypact_coordinator.core.transaction import Operation, State, Transaction

# Upper bounds of the histograms' buckets.
_TRANSACTION_SECONDS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    300.0, 3600.0, 86_400.0,
)  # fmt: skip
_COMMIT_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_BATCH_RECORDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)

# What became of a call: the type of the participant's answer, or None if it was never sent.
Fate = type[Answer] | None
Attempts = dict[tuple[Operation, Fate], int]

# What the door and the checks behind it can say to a new transaction.
_REFUSALS: tuple[type[CoordinatorError], ...] = (
    InvalidArgument,
    LimitExceeded,
    UnknownParticipant,
    UnknownAction,
    KindNotServed,
    ParticipantUnavailable,
    Overloaded,
    ShuttingDown,
)

_FATES: tuple[Fate, ...] = (Ok, Refused, Retry, Pending, Unknown, None)


class Histogram:
    """How often a value fell between which bounds.

    Args:
        bounds: the inclusive upper bounds, ascending; a last bucket takes what is above.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        # One for each bound, and one for what is above.
        self.counts = [0] * (len(bounds) + 1)
        # Of all values observed.
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """How many values were observed."""
        return sum(self.counts)


class Meters:
    """The counts of one process since it started."""

    __slots__ = (
        "attempts",
        "batch_records",
        "commit_seconds",
        "finished",
        "refused",
        "started",
        "transaction_seconds",
    )

    def __init__(self) -> None:
        # Transactions whose first record became durable.
        self.started = 0
        # Transactions whose last tcc or saga branch was settled, durably.
        self.finished = {State.CONFIRMED: 0, State.CANCELLED: 0}
        # From the first record to the settling one, on the journal's clock.
        self.transaction_seconds = Histogram(_TRANSACTION_SECONDS)
        # By participant: what its calls met.
        self.attempts: dict[str, Attempts] = {}
        # By the reason of the error: transactions turned away at the door.
        # All are there from the start: a rate sees no increase in a series that has just appeared.
        self.refused = {error.reason: 0 for error in _REFUSALS}
        # Of each commit of the journal.
        self.commit_seconds = Histogram(_COMMIT_SECONDS)
        self.batch_records = Histogram(_BATCH_RECORDS)

    def recorded(self, before: Transaction | None, after: Transaction) -> None:
        """Count what a durable record tells of a transaction.

        Each record is applied once, so nothing is counted twice, however often it is reloaded.
        """
        if before is None:
            self.started += 1
        if after.finished_at and (before is None or not before.finished_at):
            self.finished[after.state] += 1
            self.transaction_seconds.observe((after.finished_at - after.created_at) / SECOND)

    def attempts_of(self, participant: str) -> Attempts:
        """Return the counts of one participant's calls, for its lane to keep and to raise."""
        attempts = self.attempts.get(participant)
        if attempts is None:
            attempts = {(operation, fate): 0 for operation in Operation for fate in _FATES}
            self.attempts[participant] = attempts
        return attempts

    def committed(self, records: int, seconds: float) -> None:
        """Count one commit of the journal."""
        self.commit_seconds.observe(seconds)
        self.batch_records.observe(records)

    def turned_away(self, reason: str, count: int = 1) -> None:
        """Count transactions that were refused at the door."""
        self.refused[reason] = self.refused.get(reason, 0) + count
