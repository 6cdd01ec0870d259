"""What a participant's own database can take: Tries a second, by how they share transactions.

    python -m tests.bench.local_transactions --seconds 3

Each Try is a fence row and a guarded change of stock, answered by the SDK's participant without a
network, on as many threads as its workers would use. It is measured four ways: each in a local
transaction of its own; many in one, each with its own fence row and savepoint; the SDK's batch
(fence rows in one statement, a savepoint for each handler); and that with a set-based handler.
"""

import argparse
import itertools
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trypact
from rich.console import Console
from rich.table import Table
from sqlalchemy import (
    ARRAY,
    Connection,
    Engine,
    Integer,
    bindparam,
    create_engine,
    make_url,
    text,
)
from trypact.call import Answer, Arrived, FencedCall, Ok
from trypact.fence import SqlAlchemyFence, sqlite_engine
from trypact.kinds import Decision, Kind, Operation

from tests.servers.postgres import PostgresServer

DURABLE = {"fsync": "on", "full_page_writes": "on", "autovacuum": "on", "shared_buffers": "128MB"}
SKUS = 1_000
PIECES = 100_000_000
BATCHES = (8, 32, 64)
COLUMNS = ("database", "way", "calls a batch", "threads", "branches/s")

_TAKE = text(
    "UPDATE stock SET sellable = sellable - :n, frozen = frozen + :n"
    " WHERE sku = :sku AND sellable >= :n"
)
_TAKE_MANY = {
    "postgresql": text(
        "UPDATE stock SET sellable = sellable - w.n, frozen = frozen + w.n"
        " FROM unnest(:skus, :ns) AS w (sku, n) WHERE stock.sku = w.sku AND sellable >= w.n"
    ).bindparams(bindparam("skus", type_=ARRAY(Integer)), bindparam("ns", type_=ARRAY(Integer))),
    "sqlite": "UPDATE stock SET sellable = sellable - ?1, frozen = frozen + ?1"
    " WHERE sku = ?2 AND sellable >= ?1",
}


@dataclass(frozen=True)
class Rate:
    """What one way reached on one database."""

    database: str
    way: str
    calls: int
    threads: int
    per_second: float

    def cells(self) -> list[str]:
        """The values of COLUMNS."""
        figures = [str(self.calls), str(self.threads), f"{self.per_second:,.0f}"]
        return [self.database, self.way, *figures]


@dataclass
class Reserve:
    """The request of every Try."""

    sku: int
    n: int


class Plain:
    """A handler as one writes it first."""

    def try_(self, call: trypact.Call[Reserve], connection: Connection) -> None:
        wanted = {"sku": call.request.sku, "n": call.request.n}
        if connection.execute(_TAKE, wanted).rowcount != 1:
            raise trypact.Refuse("out_of_stock: none left")

    def confirm(self, call: trypact.Call[Reserve], connection: Connection) -> None: ...
    def cancel(self, call: trypact.Call[Reserve], connection: Connection) -> None: ...


class SetBased(Plain):
    """The same for many at once; whoever might not get enough is asked alone."""

    @trypact.many
    def try_(  # type: ignore[override]
        self, calls: Sequence[trypact.Call[Reserve]], connection: Connection
    ) -> None:
        wanted: Counter[int] = Counter()
        for call in calls:
            wanted[call.request.sku] += call.request.n
        if _take_many(connection, sorted(wanted.items())) != len(wanted):
            raise trypact.RetryLater(reason="somebody has to be refused")


def _take_many(connection: Connection, wanted: list[tuple[int, int]]) -> int:
    statement: Any = _TAKE_MANY[connection.dialect.name]
    if connection.dialect.name == "sqlite":
        changes = [(n, sku) for sku, n in wanted]
        return connection.exec_driver_sql(statement, changes).rowcount
    skus, ns = (list(column) for column in zip(*wanted, strict=True))
    return connection.execute(statement, {"skus": skus, "ns": ns}).rowcount


class Store:
    """One database with goods, a fence, and a participant of each form."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.fence = SqlAlchemyFence(engine)
        self.fence.create_tables()
        with engine.begin() as connection:
            connection.execute(
                text(
                    "CREATE TABLE stock (sku INTEGER PRIMARY KEY, sellable INTEGER, frozen INTEGER)"
                )
            )
            goods = [{"sku": sku, "pieces": PIECES} for sku in range(SKUS)]
            connection.execute(text("INSERT INTO stock VALUES (:sku, :pieces, 0)"), goods)
        self.plain = trypact.Participant("inventory", fence=self.fence)
        self.plain.tcc("reserve", request=Reserve)(Plain)
        self.set_based = trypact.Participant("inventory", fence=self.fence)
        self.set_based.tcc("reserve", request=Reserve)(SetBased)
        self._numbers = itertools.count()

    def calls(self, count: int) -> list[Arrived]:
        """Tries of branches that nobody has heard of."""
        return [self._call(number) for number in itertools.islice(self._numbers, count)]

    def _call(self, number: int) -> Arrived:
        # As an xid of the SDK's looks: in the order of time.
        xid = f"{number:024x}-{number * 7919 % 2**32:08x}"
        call = FencedCall(xid, "stock", "inventory.reserve", Kind.TCC, Operation.TRY)
        payload = b'{"n":1,"sku":%d}' % (number * 31 % SKUS)
        return Arrived(call, payload, 1, Decision.UNDECIDED, "")

    def one_by_one(self, calls: Sequence[Arrived]) -> list[Any]:
        return [self.plain.answer(call) for call in calls]

    def with_savepoints(self, calls: Sequence[Arrived]) -> list[Answer]:
        """One transaction, and in it everything as it is for one call."""
        asked = [self.plain._handling(call.fenced).asked(call) for call in calls]
        with self.fence.database.begin() as transaction:
            answers = [self.fence._answer(transaction, one.call, one.handler) for one in asked]
            transaction.commit("the benchmark")
        return answers

    def in_a_batch(self, calls: Sequence[Arrived]) -> list[Any]:
        return list(self.plain.answer_many(calls))

    def in_a_set(self, calls: Sequence[Arrived]) -> list[Any]:
        return list(self.set_based.answer_many(calls))


Way = Callable[[Sequence[Arrived]], list[Any]]


def rate(store: Store, way: Way, calls: int, threads: int, seconds: float) -> float:
    """Return the branches a second that so many threads answer, each so many calls at a time."""
    done = [0] * threads
    stop, start = threading.Event(), threading.Barrier(threads + 1)

    def work(number: int) -> None:
        way(store.calls(calls))  # so that nobody measures connecting
        start.wait()
        while not stop.is_set():
            answers = way(store.calls(calls))
            if answers != [Ok()] * calls:
                raise AssertionError(f"not what was to be measured: {answers}")
            done[number] += calls

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    start.wait()
    began = time.perf_counter()
    stop.wait(seconds)
    took, count = time.perf_counter() - began, sum(done)
    stop.set()
    for worker in workers:
        worker.join()
    return count / took


@contextmanager
def stores() -> Iterator[dict[str, Store]]:
    """A store on each kind of database, both durable."""
    server = PostgresServer(DURABLE)
    try:
        with tempfile.TemporaryDirectory(prefix="trypact-bench-") as folder:
            url = make_url(server.create_database()).set(drivername="postgresql+psycopg")
            opened = {
                "sqlite": Store(sqlite_engine(Path(folder) / "shop.db")),
                "postgresql": Store(create_engine(url, pool_size=16)),
            }
            yield opened
            for store in opened.values():
                store.engine.dispose()
    finally:
        server.remove()


def ways(store: Store, database: str) -> Iterator[tuple[str, Way, int, int]]:
    """What is measured: its name, how, calls a batch, threads."""
    # SQLite has one writer; on PostgreSQL single calls run on all workers, batches one at a time.
    yield "one transaction each", store.one_by_one, 1, 1 if database == "sqlite" else 8
    for calls in BATCHES:
        yield "a savepoint and a fence row each", store.with_savepoints, calls, 1
        yield "fence rows in one statement", store.in_a_batch, calls, 1
        yield "set-based business too", store.in_a_set, calls, 1
    if database == "postgresql":
        yield "set-based business too", store.in_a_set, BATCHES[-1], 2


def run(seconds: float, tick: Callable[[Rate], None] = lambda rate: None) -> list[Rate]:
    """Measure every way on both databases, each for so many seconds; `tick` is told each rate."""
    rates: list[Rate] = []
    with stores() as opened:
        for database, store in opened.items():
            for name, way, calls, threads in ways(store, database):
                reached = rate(store, way, calls, threads, seconds)
                rates.append(Rate(database, name, calls, threads, reached))
                tick(rates[-1])
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="watched time of each way")
    asked = parser.parse_args()
    table = Table(*COLUMNS, title="Tries a second at one participant")
    for each in run(asked.seconds):
        table.add_row(*each.cells())
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
