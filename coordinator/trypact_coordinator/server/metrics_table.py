"""The one table of metrics: what each is called, what it says, and by what it is told apart.

The reference page is made from it, and the dashboard and the alerts are held against it. A name
that was released is never given another meaning.
"""

from enum import Enum

import msgspec


class Kind(Enum):
    """What a metric can do: only grow, go up and down, or fall into buckets."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Metric(msgspec.Struct, frozen=True):
    """One metric. `about` is a sentence; units are in the name."""

    kind: Kind
    about: str
    labels: tuple[str, ...] = ()


METRICS = {
    "trypact_transactions_started_total": Metric(
        Kind.COUNTER, "Transactions begun here, counted once their first record is durable."
    ),
    "trypact_transactions_finished_total": Metric(
        Kind.COUNTER,
        "Transactions settled here, confirmed or cancelled, counted once that is durable.",
        ("outcome",),
    ),
    "trypact_transactions_refused_total": Metric(
        Kind.COUNTER,
        "Transactions refused at the door, by the reason of the error: nothing of them was begun.",
        ("reason",),
    ),
    "trypact_transaction_duration_seconds": Metric(
        Kind.HISTOGRAM, "From the beginning of a transaction until it was settled."
    ),
    "trypact_branch_attempts_total": Metric(
        Kind.COUNTER,
        "Calls to participants by what came back: ok, refused, retry, pending, unknown, or "
        "not_sent when none could leave (an open breaker, a full lane, nobody registered).",
        ("participant", "operation", "outcome"),
    ),
    "trypact_unfinished": Metric(
        Kind.GAUGE,
        "Transactions in the journal with something left to do. Confirmed and cancelled ones "
        "have deliveries left.",
        ("state",),
    ),
    "trypact_oldest_unfinished_seconds": Metric(
        Kind.GAUGE,
        "The age of the oldest unfinished transaction; 0 where there is none.",
        ("state",),
    ),
    "trypact_stuck": Metric(Kind.GAUGE, "Transactions that need a human."),
    "trypact_journal_commit_seconds": Metric(
        Kind.HISTOGRAM, "How long a commit of the journal took."
    ),
    "trypact_journal_batch_size": Metric(
        Kind.HISTOGRAM, "How many records shared a commit of the journal."
    ),
    "trypact_lane_depth": Metric(
        Kind.GAUGE, "Calls that wait for their turn with a participant.", ("participant",)
    ),
    "trypact_breaker_state": Metric(
        Kind.GAUGE,
        "The breaker of a participant: 0 closed, 1 half open (one call is trying), 2 open.",
        ("participant",),
    ),
    "trypact_owned": Metric(Kind.GAUGE, "Transactions that this coordinator holds in memory."),
    "trypact_epoch": Metric(Kind.GAUGE, "The epoch of this coordinator's term."),
}
