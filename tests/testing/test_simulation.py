"""The simulator over participants of users: the right survive it, the wrong are found."""

import asyncio
import random
import re
from collections import Counter
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import pytest
import trypact
from trypact import Branch, message, saga, tcc
from trypact.errors import InvalidRequest
from trypact.testing import SimulationFailed, simulate, simulation

from tests.testing import wrong_fences as wrong
from tests.testing.conftest import Warehouse
from tests.testing.wrong_fences import RightFence, shop_over


def an_order(rng: random.Random) -> Sequence[Branch]:
    branches = [
        tcc("stock.reserve", {"pieces": rng.randint(1, 30)}, id=f"b{n}")
        for n in range(rng.randint(1, 3))
    ]
    return [*branches, message("stock.tell", on="any")]


class World:
    """Stock over a fence that is made for each run."""

    def __init__(self, fence: type[RightFence]) -> None:
        self._kind = fence
        self.fence = fence()

    def make(self) -> list[trypact.Participant]:
        self.fence = self._kind()
        return [shop_over(self.fence)]

    def conserved(self) -> bool:
        """Nothing is held, lost or made, and each transaction was told once."""
        ledger = self.fence.ledger
        whole = ledger["free"] + ledger["sold"] == 100 and min(ledger.values()) >= 0
        return whole and ledger["held"] == 0 and ledger["told"] == 5


class ForgetsAnEmptyCancelAndTheTime(wrong.ForgetsAnEmptyCancel, wrong.IgnoresNotAfter):
    """With `not_after` alone a late Try would still not run: two guards stand before it."""


def run(fence: type[RightFence], seeds: int) -> simulation.Simulated:
    world = World(fence)
    return simulate(world.make, an_order, seeds=seeds, checks=[world.conserved])


def test_a_right_participant_survives_everything_and_everything_happens() -> None:
    done = run(RightFence, 60)

    assert done.runs == 60
    assert done.confirmed + done.cancelled == 300
    assert done.confirmed > 20
    assert done.cancelled > 20
    assert done.crashes > 20
    assert done.faults > 100
    assert done.virtual_seconds > 300


@pytest.mark.parametrize(
    "fence",
    [
        wrong.TriesTwice,
        wrong.ForgetsTheFirstResult,
        wrong.ConfirmsTwice,
        wrong.RefusesARepeatedConfirm,
        wrong.CancelsTwice,
        wrong.RefusesARepeatedCancel,
        wrong.RefusesAnEmptyCancel,
        wrong.RunsAnEmptyCancel,
        ForgetsAnEmptyCancelAndTheTime,
        wrong.RunsALateTry,
        wrong.SaysOkToALateTry,
        wrong.DeliversTwice,
        wrong.KnowsOnlyTheXid,
        wrong.HasEffectsOfItsOwn,
    ],
    ids=lambda fence: fence.__name__,
)
def test_a_wrong_participant_is_found_and_its_seed_repeats_it(
    fence: type[RightFence], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SimulationFailed) as raised:
        run(fence, 200)

    seed = raised.value.seed
    assert f"TRYPACT_SEED={seed} pytest 'tests/testing/test_simulation.py::" in str(raised.value)
    monkeypatch.setenv("TRYPACT_SEED", str(seed))
    with pytest.raises(SimulationFailed) as again:
        run(fence, 1)
    assert str(again.value) == str(raised.value)


def test_real_fences_over_a_database_and_threads_survive_it(tmp_path: Path) -> None:
    numbers = count()
    made: list[Warehouse] = []

    def make() -> list[trypact.Participant]:
        engine = trypact.fence.sqlite_engine(tmp_path / f"{next(numbers)}.db")
        made.append(Warehouse(engine, pieces=100))
        return [made[-1].participant]

    def branches(rng: random.Random) -> Sequence[Branch]:
        pieces = {"pieces": rng.randint(1, 40)}
        return [
            tcc("warehouse.reserve", pieces),
            saga("warehouse.move", after=rng.choice(([], ["reserve"]))),
            saga("warehouse.move", id="pivot", pivot=True, after=["reserve", "move"]),
            message("warehouse.tell", on="any"),
            message(topic="shelf.moved", on="cancel"),
        ]

    done = simulate(
        make, branches, seeds=8, checks=[lambda: made[-1].conserved(), lambda: told(made[-1])]
    )
    for warehouse in made:
        warehouse.engine.dispose()

    assert done.confirmed
    assert done.cancelled


def told(warehouse: Warehouse) -> bool:
    """Each transaction was told once of its end, and once more of a Cancel."""
    counts = Counter(warehouse.mail)
    return len(counts) == 5 and set(counts.values()) <= {1, 2}


async def test_inside_a_running_loop_it_says_where_to_call_it_from() -> None:
    with pytest.raises(InvalidRequest, match="a plain function"):
        run(RightFence, 1)


def test_a_simulation_of_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidRequest, match="seeds: is 0, so nothing would run"):
        run(RightFence, 0)
    with pytest.raises(InvalidRequest, match="transactions: is 0"):
        simulate(lambda: [shop_over(RightFence())], an_order, transactions=0)
    monkeypatch.setenv("TRYPACT_SEED", "many")
    with pytest.raises(InvalidRequest, match="TRYPACT_SEED: is 'many'"):
        run(RightFence, 1)


def test_a_failure_shows_what_went_wrong_on_the_way() -> None:
    shown = ""
    for seed in range(1, 20):
        with pytest.raises(SimulationFailed) as raised:
            simulate(
                lambda: [shop_over(RightFence())], an_order, seeds=[seed], checks=[lambda: False]
            )
        shown += str(raised.value)

    weather = re.findall(r"s  \w+ #\d+ of \w+ \(stock\.\w+\) ((?:comes|is|has) \w+)", shown)
    assert {"comes twice", "is lost", "is late", "is told", "has been"} <= set(weather)


def test_participants_may_be_made_by_a_coroutine() -> None:
    async def make() -> list[trypact.Participant]:
        await asyncio.sleep(0)
        return [shop_over(RightFence())]

    assert simulate(make, an_order, seeds=[3], transactions=2).runs == 1


def test_a_failure_outside_of_pytest_says_what_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_CURRENT_TEST")

    with pytest.raises(SimulationFailed, match=r"simulate\(\.\.\., seeds=\[7\]\)"):
        simulate(lambda: [shop_over(RightFence())], an_order, seeds=[7], checks=[lambda: False])
