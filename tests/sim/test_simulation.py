"""Seeds of the simulation: every invariant in every one of them.

`python -m tests.sim --seed N --verbose` shows what happened in one.
"""

import os
from pathlib import Path

import pytest

from tests.sim.simulation import Simulation, run_seed

SEEDS = int(os.environ.get("TRYPACT_SIM_SEEDS", "400"))
CHUNK = 20
REGRESSIONS = [
    int(line.split()[0])
    for line in (Path(__file__).parent / "regressions.txt").read_text().splitlines()
    if line and not line.startswith("#")
]


@pytest.mark.parametrize("first", range(1, SEEDS, CHUNK))
def test_every_invariant_holds_under_faults_and_everything_ends(first: int):
    for seed in range(first, first + CHUNK):
        run_seed(seed)


@pytest.mark.parametrize("seed", REGRESSIONS)
def test_what_failed_once_holds(seed: int):
    run_seed(seed)


def test_the_same_seed_is_the_same_run():
    for seed in (3, 27):
        one, other = Simulation(seed), Simulation(seed)
        assert one.run() == other.run()
        assert one.trace == other.trace


def test_another_seed_is_another_run():
    assert len({Simulation(seed).run() for seed in range(1, 6)}) == 5


def test_every_kind_of_fault_and_every_end_occurs():
    """A simulation that never crashes, loses or refuses proves nothing."""
    lines = [line for seed in range(1, 80) for _, line in run_seed(seed).trace]
    everything = "\n".join(lines)
    for what in (
        "dies (between two events)",
        "dies (before a commit)",
        "dies (after a commit)",
        "dies (after a send)",
        "dies (stopped)",
        "stops itself: OwnershipLost",
        "a second coordinator takes over",
        "the database's clock jumps",
        ": down",
        "connection reset",
        "connection refused",
        "garbage",
        "no answer within",
        "Retry(",
        "Pending()",
        "Refused(",
        "pivot sent",
        "TRY x0/pivot",
        "forward0",
        "TRY mixed/charge takes effect",
        "holds mixed/seat for",
        "no paper",
        "operator: PivotSent",
        "was given up after",
        "comes after its Cancel",
        "comes before its Try",
        "not today",
        "poison",
        "vanishes",
        "PauseAct",
        "DecideAct",
        "SkipAct",
        "epoch 4",
        "UNDELIVERED",
        "SKIPPED",
        "NOT_NEEDED",
        "is CONFIRMED",
        "is CANCELLED",
        "CANCEL x",
        "DELIVER x",
        "closed True",
    ):
        assert what in everything, f"{what!r} never happened"
