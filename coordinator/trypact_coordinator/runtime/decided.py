"""What is told about a transaction to those who act on how much of it is over.

A participant forgets what kept its calls idempotent once it is told that none can come any more.
So this speaks of rows that are on disk, and never of what is merely in memory.
"""

from typing import NamedTuple

from trypact_coordinator.core.transaction import SETTLED, Decision, Transaction


class Decided(NamedTuple):
    """The decision, and how much is over."""

    decision: Decision
    # Every tcc and saga branch is settled.
    final: bool = False
    # Its deliveries are over too: no participant will be asked for anything any more.
    closed: bool = False


def decided(tx: Transaction, flushed: Transaction | None) -> Decided:
    """Say how a transaction stands, of which this much is on disk for good."""
    if flushed is None or not flushed.settled:
        return Decided(tx.decision)
    closed = all(branch.state in SETTLED for branch in flushed.branches)
    return Decided(tx.decision, final=True, closed=closed)
