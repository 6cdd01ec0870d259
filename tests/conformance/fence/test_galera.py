"""Two nodes that both accept a branch, of which one is told at COMMIT that it has lost."""

import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, create_engine, event, make_url
from trypact.call import Ok, Refused
from trypact.fence import SqlAlchemyFence
from trypact.kinds import Operation

from tests.conformance.fence.conftest import Shop
from tests.conformance.fence.places import OnSqlAlchemy
from tests.servers.galera import GaleraCluster

TRY, CONFIRM, CANCEL, DELIVER = Operation


class Node(OnSqlAlchemy):
    """The stock of the suite, which is already there, from another node."""

    def __init__(self, engine: Engine) -> None:
        self.engine = self.looks = engine
        self.fence = SqlAlchemyFence(engine)


@pytest.fixture(scope="module")
def cluster() -> Iterator[GaleraCluster]:
    cluster = GaleraCluster()
    yield cluster
    cluster.remove()


@pytest.fixture
def shops(cluster: GaleraCluster) -> Iterator[tuple[Shop, Shop]]:
    """The shop on both nodes."""
    engines = [create_engine(make_url(url).set(drivername="mysql+pymysql")) for url in cluster.urls]
    shops = Shop(OnSqlAlchemy(engines[0])), Shop(Node(engines[1]))
    yield shops
    with engines[0].begin() as connection:
        for table in ("stock", "trypact_fence"):
            connection.exec_driver_sql(f"DROP TABLE {table}")
    for shop in shops:
        shop.close()


class Brink:
    """Holds the first COMMIT of an engine just before it is sent."""

    def __init__(self, engine: Engine) -> None:
        self.reached, self._go = threading.Event(), threading.Event()
        event.listen(engine, "commit", self._hold)

    def _hold(self, connection: object) -> None:
        if not self.reached.is_set():
            self.reached.set()
            assert self._go.wait(10)

    def go(self) -> None:
        self._go.set()


def test_of_two_tries_on_two_nodes_one_counts_and_both_agree(shops: tuple[Shop, Shop]) -> None:
    here, there = shops
    brink = Brink(here.engine)
    first = here.start("try")
    assert brink.reached.wait(10)
    second = there.run("try")
    brink.go()

    assert first.result(20) == second == Ok(b"result of run 1")
    assert (here.ran, there.ran) == ([TRY], [TRY])
    assert here.stock == there.stock == (8, 2, 0)


def test_a_try_that_a_cancel_on_another_node_overtakes_is_refused(shops: tuple[Shop, Shop]) -> None:
    here, there = shops
    brink = Brink(here.engine)
    tried = here.start("try")
    assert brink.reached.wait(10)
    assert there.run("cancel") == Ok()
    brink.go()

    answer = tried.result(20)
    assert isinstance(answer, Refused)
    assert answer.reason.startswith("ALREADY_CANCELLED")
    assert here.stock == there.stock == (10, 0, 0)
    assert there.status == "CANCELLED"


def test_of_two_confirms_on_two_nodes_one_counts(shops: tuple[Shop, Shop]) -> None:
    here, there = shops
    here.run("try")
    brink = Brink(here.engine)
    first = here.start("confirm")
    assert brink.reached.wait(10)
    second = there.run("confirm")
    brink.go()

    assert first.result(20) == second == Ok()
    assert here.stock == there.stock == (8, 0, 2)
