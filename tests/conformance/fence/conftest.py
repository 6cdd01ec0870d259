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

import psycopg
import pytest
import redis
from psycopg_pool import ConnectionPool
from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from trypact.call import Answer, FencedCall, Ok, PendingType, Refused
from trypact.errors import Refuse
from trypact.fence import async_sqlite_engine, sqlite_engine
from trypact.fence.contract import ALONE, Asked, Said, Verdict
from trypact.kinds import Kind, Operation

from tests.conformance.fence.places import (
    AsyncOutside,
    OnAsyncSqlAlchemy,
    OnPsycopg,
    OnRedis,
    OnSqlAlchemy,
    Outside,
    Place,
    Stock,
)
from tests.servers.mariadb import MariaDbServer
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer

ALL_ALONE, IN_A_BATCH, IN_A_SET = COMPANY = ("alone", "in a batch", "in a set")
SQLITE = ("sqlite", "sqlite with an ordinary engine", "sqlite with a begin hook")
# Fences that take batches, over SQLAlchemy's engines.
ENGINES = (*SQLITE, "postgresql", "mariadb")
ASYNC = ("aiosqlite", "asyncpg", "psycopg, async", "asyncmy")
# Fences in whose databases calls of one branch wait for each other.
LOCKING = (*ENGINES, *ASYNC, "psycopg", "psycopg pool")
PLACES = (*LOCKING, "redis")
# Fences whose effects are in no database, which undo nothing.
EVERYWHERE = (*PLACES, "outside", "outside, async")


def in_company(places: Sequence[str]) -> list[Any]:
    """Every place, and every company that its fence can have."""
    return [
        pytest.param((place, company), id=f"{place}, {company}")
        for place in places
        for company in (COMPANY if place in ENGINES else COMPANY[:1])
    ]


class Shop:
    """One sku of which 10 are sellable, behind a fence; counts what really ran.

    In company each call is between two neighbours, of which one must always be done, and one
    always be refused, whatever becomes of the call.
    """

    def __init__(self, place: Place, company: str = ALL_ALONE) -> None:
        self.place = place
        self.company = company
        self.fence = place.fence
        self._calls = itertools.count(1)
        self.ran: list[Operation] = []
        self._threads = ThreadPoolExecutor(4)

    def close(self) -> None:
        self._threads.shutdown()
        self.place.close()

    @property
    def engine(self) -> Engine:
        assert self.place.engine is not None
        return self.place.engine

    @property
    def clock_us(self) -> int:
        return self.place.clock.us

    @clock_us.setter
    def clock_us(self, us: int) -> None:
        self.place.clock.us = us

    @property
    def stock(self) -> Stock:
        """Sellable, frozen, sold."""
        return self.place.stock()

    @property
    def status(self) -> str | None:
        """What the fence's only row says, but for those of neighbours."""
        return self.place.status()

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

    def move_try(self, handle: Any) -> bytes:
        return self._move(handle, Operation.TRY, sellable=-2, frozen=2)

    def move_confirm(self, handle: Any) -> bytes:
        return self._move(handle, Operation.CONFIRM, frozen=-2, sold=2)

    def move_cancel(self, handle: Any) -> bytes:
        return self._move(handle, Operation.CANCEL, frozen=-2, sellable=2)

    def move_deliver(self, handle: Any) -> bytes:
        return self._move(handle, Operation.DELIVER, sold=2)

    def _move(self, handle: Any, operation: Operation, **by: int) -> bytes:
        self.ran.append(operation)
        self.place.change(handle, **by)
        return b"result of run %d" % len(self.ran)


def refused_by(answer: object) -> str:
    """The word with which a fence has refused a call."""
    assert isinstance(answer, Refused)
    return answer.reason.partition(":")[0]


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
def postgres_address(database_url: str) -> Iterator[str]:
    """The URL of an empty PostgreSQL database."""
    yield database_url
    engine = create_engine(make_url(database_url).set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()


@pytest.fixture
def postgres_engine(postgres_address: str) -> Iterator[Callable[..., Engine]]:
    """Makes engines of one empty PostgreSQL database."""
    url = make_url(postgres_address).set(drivername="postgresql+psycopg")
    made: list[Engine] = []

    def make(**arguments: Any) -> Engine:
        made.append(create_engine(url, **arguments))
        return made[-1]

    yield make
    for engine in made:
        engine.dispose()


@pytest.fixture
def mariadb_url(mariadb_server: MariaDbServer) -> Iterator[str]:
    """The URL of an empty MariaDB database that is this test's alone."""
    url = mariadb_server.create_database()
    yield url
    mariadb_server.drop_database(url)


def open_place(
    name: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    through: Callable[[str], str] = str,
) -> Place:
    """A new stock in the place of that name, its server reached at what `through` makes of it."""
    if name in SQLITE:
        return OnSqlAlchemy(_sqlite(name, tmp_path / "shop.db"))
    if name == "outside":
        return Outside(sqlite_engine(tmp_path / "shop.db"))
    if name in ("aiosqlite", "outside, async"):
        looks = sqlite_engine(tmp_path / "shop.db")
        place = OnAsyncSqlAlchemy if name == "aiosqlite" else AsyncOutside
        return place(async_sqlite_engine(tmp_path / "shop.db", poolclass=NullPool), looks)
    if name == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        return OnRedis(redis.Redis.from_url(through(server.url)))
    if name in ("mariadb", "asyncmy"):
        url = make_url(through(request.getfixturevalue("mariadb_url")))
        looks = create_engine(url.set(drivername="mysql+pymysql"), pool_pre_ping=True)
        if name == "mariadb":
            return OnSqlAlchemy(looks)
        return OnAsyncSqlAlchemy(_asynchronous(url, "mariadb+asyncmy"), looks)
    address = through(request.getfixturevalue("postgres_address"))
    driver = "postgresql+psycopg"
    looks = create_engine(make_url(address).set(drivername=driver), pool_pre_ping=True)
    if name == "postgresql":
        return OnSqlAlchemy(looks)
    if name == "psycopg":
        return OnPsycopg(lambda: psycopg.connect(address), looks)
    if name == "psycopg pool":
        pool = ConnectionPool(address, kwargs={"autocommit": True}, min_size=1, open=True)
        request.addfinalizer(pool.close)
        return OnPsycopg(pool.connection, looks)
    drivers = {"asyncpg": "postgresql+asyncpg", "psycopg, async": "postgresql+psycopg"}
    return OnAsyncSqlAlchemy(_asynchronous(looks.url, drivers[name]), looks)


def _asynchronous(url: URL, driver: str) -> AsyncEngine:
    # A connection belongs to one event loop.
    return create_async_engine(url.set(drivername=driver), poolclass=NullPool)


def _sqlite(name: str, path: Path) -> Engine:
    if name == "sqlite":
        return sqlite_engine(path)
    engine = create_engine(f"sqlite:///{path}")
    if name == "sqlite with a begin hook":
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
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    """Parametrise it with `in_company`."""
    name, company = request.param
    shop = Shop(open_place(name, request, tmp_path), company)
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
