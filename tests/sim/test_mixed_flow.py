"""One transaction of all kinds, whose coordinator is killed between any two events of its life."""

import itertools
import re

import pytest
from trypact_coordinator.core.transaction import SETTLED, State

from tests.sim.simulation import Simulation
from tests.sim.workload import MIXED, draw_mixed

# Confirmed: the timer is delivered too, and what is for Cancel is not.
CONFIRMED = {
    "TRY": {"seat", "rent", "charge", "stamp"},
    "CONFIRM": {"seat"},
    "CANCEL": set(),
    "DELIVER": {"paid#1", "paid#2", "close", "hint"},
}
# The pivot says no: the saga step before it is compensated, and what follows never happens.
CANCELLED = {
    "TRY": {"seat", "rent"},
    "CONFIRM": set(),
    "CANCEL": {"seat", "rent"},
    "DELIVER": {"sorry", "close", "hint"},
}


class Flow(Simulation):
    """Nothing but this transaction, and one death, after so many events."""

    def __init__(self, charge: str, events: int) -> None:
        super().__init__(seed=1, jobs=0, wild=0.0)
        self.jobs = [draw_mixed(self.rng, charge, 1)._replace(patience=100)]
        self.poisoned = None
        self.events_until_death = events

    async def _go_wrong(self) -> None:
        self.crash_at_event = self.loop.events + self.events_until_death

    @property
    def effects_of(self) -> dict[str, set[str]]:
        """Operation -> branches; the oracle has seen to it that each happened once."""
        found: dict[str, set[str]] = {name: set() for name in CONFIRMED}
        for (_, branch_id), operation in self.oracle.effects:
            found[operation.name].add(branch_id)
        return found

    @property
    def died_when_all_was_over(self) -> bool:
        """Whether nothing of it was left to write when its coordinator died."""
        trace = [line for _, line in self.trace]
        deaths = [n for n, line in enumerate(trace) if " dies (between" in line]
        writes = [n for n, line in enumerate(trace) if re.match(rf"journal: {MIXED} ", line)]
        return bool(deaths) and max(writes) < deaths[0]


@pytest.mark.parametrize(
    ("charge", "end", "effects"),
    [
        ("ok", State.CONFIRMED, CONFIRMED),
        ("pending", State.CONFIRMED, CONFIRMED),
        ("refused", State.CANCELLED, CANCELLED),
    ],
)
def test_it_happens_once_and_wholly_or_not_at_all(
    charge: str, end: State, effects: dict[str, set[str]]
) -> None:
    for events in itertools.count(1):
        flow = Flow(charge, events)
        flow.run()

        tx = flow.oracle.durable(MIXED)
        assert tx is not None
        assert tx.state is end, f"killed after {events} events: {tx.reason}"
        assert all(branch.state in SETTLED for branch in tx.branches)
        assert flow.effects_of == effects, f"killed after {events} events"
        if flow.died_when_all_was_over:
            break
    assert events > 50
