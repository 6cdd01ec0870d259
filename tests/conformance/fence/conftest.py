"""A tiny stock, fenced, on every database the fence is for, alone and in company.

Every rule holds for a call that is run alone, for one between neighbours in a batch, and for one
in the set of a set-based handler.
"""

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from trypact.call import Answer, FencedCall, Ok, PendingType, Refused
from trypact.errors import Refuse
from trypact.fence import SqlAlchemyFence, sqlite_engine
from trypact.fence.contract import ALONE, Asked, Said, Verdict
from trypact.kinds import Kind, Operation

from tests.servers.postgres import PostgresServer

ENGINES = ("sqlite", "sqlite with an ordinary engine", "sqlite with a begin hook", "postgresql")
ALL_ALONE, IN_A_BATCH, IN_A_SET = COMPANY = ("alone", "in a batch", "in a set")


class Shop:
    """One sku of which 10 are sellable, behind a fence; counts what really ran.

    In company each call is between two neighbours, of which one must always be done, and one
    always be refused, whatever becomes of the call.
    """

    def __init__(self, engine: Engine, company: str = ALL_ALONE) -> None:
        self.engine = engine
        self.company = company
        self._calls = itertools.count(1)
        self.clock_us = 1_000_000
        self.fence = SqlAlchemyFence(engine, now=lambda: self.clock_us)
        self.fence.create_tables()
        self.ran: list[Operation] = []
        self._threads = ThreadPoolExecutor(4)
        with engine.begin() as connection:
            connection.execute(
                text(
                    "CREATE TABLE stock (sku VARCHAR(8) PRIMARY KEY,"
                    " sellable INTEGER NOT NULL CHECK (sellable >= 0),"
                    " frozen INTEGER NOT NULL CHECK (frozen >= 0), sold INTEGER NOT NULL)"
                )
            )
            connection.execute(text("INSERT INTO stock VALUES ('a', 10, 0, 0), ('b', 10, 0, 0)"))

    def close(self) -> None:
        self._threads.shutdown()
        self.engine.dispose()

    @property
    def stock(self) -> tuple[int, int, int]:
        """Sellable, frozen, sold."""
        with self.engine.connect() as connection:
            row = connection.execute(
                text("SELECT sellable, frozen, sold FROM stock WHERE sku = 'a'")
            ).first()
        assert row is not None
        return row[0], row[1], row[2]

    @property
    def status(self) -> str | None:
        """What the fence's only row says, but for those of neighbours."""
        with self.engine.connect() as connection:
            found: str | None = connection.execute(
                text("SELECT status FROM trypact_fence WHERE branch_id <> 'neighbour'")
            ).scalar_one_or_none()
        return found

    def run(self, operation: str, handler: Any = None, **fields: Any) -> Answer:
        """Make one call of branch ("x", "b"), with a handler that moves two pieces."""
        call = FencedCall(
            **{
                "xid": "x",
                "branch_id": "b",
                "action": "inventory.reserve",
                "kind": Kind.TCC,
                "operation": Operation(operation),
                **fields,
            }
        )
        handler = handler or getattr(self, f"move_{operation}")
        if self.company == ALL_ALONE:
            return self.fence.run(call, handler)
        return self._run_in_company(Asked(call, handler))

    def run_many(self, asked: Sequence[Asked]) -> list[Verdict]:
        """Run a batch, and what is left over alone, as the participant does."""
        verdicts = self.fence.run_many(asked)
        return [
            self._run_left_over(one) if verdict is ALONE else verdict
            for one, verdict in zip(asked, verdicts, strict=True)
        ]

    def _run_left_over(self, one: Asked) -> Verdict:
        try:
            return self.fence.run(one.call, one.handler)
        except Exception as error:
            return error

    def _run_in_company(self, one: Asked) -> Answer:
        number = next(self._calls)
        asked = [
            # Keys on both sides of every other, so that the call is in the middle of every order.
            neighbour(f"\1 {number}", lambda connection: b"done"),
            one,
            neighbour(f"~ {number}", refuse),
        ]
        if self.company == IN_A_SET:
            asked = [each._replace(together=run_each) for each in asked]
        before, verdict, after = self.run_many(asked)
        assert before == Ok(b"done")
        assert isinstance(after, Refused)
        assert after.reason == "a neighbour's no"
        if isinstance(verdict, Exception):
            raise verdict
        assert verdict is not ALONE
        return verdict

    def start(self, *arguments: Any, **fields: Any) -> Any:
        """Make a call on another thread; returns its future."""
        return self._threads.submit(self.run, *arguments, **fields)

    def move_try(self, connection: Connection) -> bytes:
        return self._move(connection, Operation.TRY, "sellable = sellable - 2, frozen = frozen + 2")

    def move_confirm(self, connection: Connection) -> bytes:
        return self._move(connection, Operation.CONFIRM, "frozen = frozen - 2, sold = sold + 2")

    def move_cancel(self, connection: Connection) -> bytes:
        return self._move(
            connection, Operation.CANCEL, "frozen = frozen - 2, sellable = sellable + 2"
        )

    def move_deliver(self, connection: Connection) -> bytes:
        return self._move(connection, Operation.DELIVER, "sold = sold + 2")

    def _move(self, connection: Connection, operation: Operation, change: str) -> bytes:
        self.ran.append(operation)
        connection.execute(text(f"UPDATE stock SET {change} WHERE sku = 'a'"))
        return b"result of run %d" % len(self.ran)


def neighbour(xid: str, handler: Callable[[Connection], bytes]) -> Asked:
    call = FencedCall(xid, "neighbour", "inventory.reserve", Kind.TCC, Operation.TRY)
    return Asked(call, handler)


def refuse(connection: Connection) -> bytes:
    connection.execute(text("UPDATE stock SET sold = 99"))
    raise Refuse("a neighbour's no")


def run_each(asked: Sequence[Asked], connection: Connection) -> list[Said]:
    """A set-based handler that is none: it refuses what a plain one would, and fails as one."""
    said: list[Said] = []
    for one in asked:
        try:
            with connection.begin_nested():
                what: bytes | PendingType = one.handler(connection)
            said.append(what)
        except Refuse as refusal:
            said.append(refusal)
    return said


@pytest.fixture(scope="module")
def database_url(postgres_server: PostgresServer) -> Iterator[str]:
    url = postgres_server.create_database()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture
def postgres_engine(database_url: str) -> Iterator[Callable[..., Engine]]:
    """Makes engines of one empty PostgreSQL database."""
    url = make_url(database_url).set(drivername="postgresql+psycopg")
    made: list[Engine] = []

    def make(**arguments: Any) -> Engine:
        made.append(create_engine(url, **arguments))
        return made[-1]

    yield make
    with make().begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    for engine in made:
        engine.dispose()


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    if request.param == "postgresql":
        make: Callable[..., Engine] = request.getfixturevalue("postgres_engine")
        return make()
    if request.param == "sqlite":
        return sqlite_engine(tmp_path / "shop.db")
    engine = create_engine(f"sqlite:///{tmp_path / 'shop.db'}")
    if request.param == "sqlite with a begin hook":
        _own_transactions(engine)
    return engine


def _own_transactions(engine: Engine) -> None:
    """What SQLAlchemy's documentation tells users of SQLite to do."""

    @event.listens_for(engine, "connect")
    def connected(connection: Any, record: object) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")


@pytest.fixture(params=COMPANY)
def company(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def shop(engine: Engine, company: str) -> Iterator[Shop]:
    shop = Shop(engine, company)
    yield shop
    shop.close()


@pytest.fixture
def gate() -> "Gate":
    return Gate()


class Gate:
    """Holds a handler in the middle of its local transaction until the test lets it go."""

    def __init__(self) -> None:
        self.inside = threading.Event()
        self._open = threading.Event()
        self._passed = itertools.count()

    def hold(self, handler: Callable[[Connection], bytes]) -> Callable[[Connection], bytes]:
        def held(connection: Connection) -> bytes:
            result = handler(connection)
            if next(self._passed) == 0:
                self.inside.set()
                assert self._open.wait(10)
            return result

        return held

    def open(self) -> None:
        self._open.set()
