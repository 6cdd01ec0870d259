"""Plants bugs, and sees whether the simulation catches them."""

import re
from collections.abc import Callable

import pytest
from trypact_coordinator.core import step
from trypact_coordinator.core.draft import Draft
from trypact_coordinator.core.events import Resumed

from tests.sim.oracle import OracleFailed
from tests.sim.simulation import Simulation

SEEDS = range(1, 401)


def caught(oracle: str) -> int:
    """Return the first seed that fails, by the named oracle; fails when none does."""
    for seed in SEEDS:
        try:
            Simulation(seed).run()
        except OracleFailed as error:
            if re.match(oracle, str(error)):
                return seed
    pytest.fail(f"{len(SEEDS)} seeds did not catch it")


def resumed_but(monkeypatch: pytest.MonkeyPatch, change: Callable[[Draft, list], None]) -> None:
    """Plant a bug in what a new term does."""
    handler = step._HANDLERS[Resumed]

    def resumed(one: Draft, event: Resumed) -> None:
        before = list(one.branches)
        handler(one, event)
        change(one, before)

    monkeypatch.setitem(step._HANDLERS, Resumed, resumed)
