"""A tiny stock, fenced, on every database the fence is for."""

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from trypact.call import Answer, FencedCall
from trypact.fence import SqlAlchemyFence, sqlite_engine
from trypact.kinds import Kind, Operation

from tests.servers.postgres import PostgresServer

ENGINES = ("sqlite", "sqlite with an ordinary engine", "sqlite with a begin hook", "postgresql")


class Shop:
    """One sku of which 10 are sellable, behind a fence; counts what really ran."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
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
        """What the fence's only row says."""
        with self.engine.connect() as connection:
            found: str | None = connection.execute(
                text("SELECT status FROM trypact_fence")
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
        move = getattr(self, f"move_{operation}")
        return self.fence.run(call, handler or move)

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


@pytest.fixture
def shop(engine: Engine) -> Iterator[Shop]:
    shop = Shop(engine)
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
