"""A shop that writes orders and messages, on every database the outbox is for."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event, make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool
from trypact.fence import sqlite_engine
from trypact.outbox import Arrived, Message, Outbox, Pace, Published, Relay

from tests.servers.mariadb import MariaDbServer
from tests.servers.postgres import PostgresServer

DATABASES = ("sqlite", "sqlite with an ordinary engine", "postgresql", "mariadb")
SECOND_US = 1_000_000
PACE = Pace(poll=60.0, timeout=10.0, retry_first=1.0, retry_most=8.0, failures_max=3)


class Postbox:
    """A publisher that keeps what it is given, and answers as the test says."""

    def __init__(self) -> None:
        self.batches: list[list[Message]] = []
        self.answer: Callable[[Message], Published] = lambda message: Arrived()
        self.changed = asyncio.Condition()
        # While it is clear, nobody is answered.
        self.open = asyncio.Event()
        self.open.set()

    @property
    def topics(self) -> list[str]:
        """What was published, in its order."""
        return [message.topic for batch in self.batches for message in batch]

    async def publish(self, messages: Sequence[Message], /) -> list[Published]:
        async with self.changed:
            self.batches.append(list(messages))
            self.changed.notify_all()
        await self.open.wait()
        return [self.answer(message) for message in messages]

    async def given(self, batches: int) -> None:
        """Wait until it has been given so many batches."""
        async with self.changed, asyncio.timeout(20):
            await self.changed.wait_for(lambda: len(self.batches) >= batches)


class Shop:
    """Orders, and messages about them, in one database whose clock the test holds."""

    def __init__(self, engine: Engine, async_url: Any) -> None:
        self.engine = engine
        self.async_url = async_url
        self.clock_us = 1_000 * SECOND_US
        self.outbox = Outbox(now=lambda: self.clock_us)
        self.postbox = Postbox()
        with engine.begin() as connection:
            self.outbox.create_tables(connection)
            connection.execute(text("CREATE TABLE orders (id VARCHAR(64) PRIMARY KEY)"))

    def relay(
        self,
        engine: Engine | AsyncEngine | None = None,
        publisher: Postbox | None = None,
        **pace: Any,
    ) -> Relay:
        changed = {name: getattr(PACE, name) for name in PACE.__slots__} | pace
        return Relay(
            engine or self.engine,
            self.outbox,
            publisher or self.postbox,
            pace=Pace(**changed),
            random_part=lambda: 0.0,
        )

    def order(self, name: str, **message: Any) -> str:
        """Write an order and its message in one transaction."""
        with self.engine.begin() as connection:
            connection.execute(text("INSERT INTO orders VALUES (:id)"), {"id": name})
            return self.outbox.add(connection, Message(name, {"order": name}, **message))

    def pass_time(self, seconds: float) -> None:
        self.clock_us += round(seconds * SECOND_US)

    def row(self, topic: str) -> Any:
        """The row of the only message with that topic."""
        table = self.outbox.table
        with self.engine.connect() as connection:
            return connection.execute(table.select().where(table.c.topic == topic)).one()

    def state(self, topic: str) -> str:
        return str(self.row(topic).state)

    @property
    def orders(self) -> int:
        with self.engine.connect() as connection:
            return int(connection.execute(text("SELECT count(*) FROM orders")).scalar_one())

    @property
    def messages(self) -> int:
        with self.engine.connect() as connection:
            return sum(count.messages for count in self.outbox.counts(connection))


def _ordinary(path: Path) -> Engine:
    """What SQLAlchemy's documentation shows: the driver opens transactions when it sees a write."""
    engine = create_engine(f"sqlite:///{path}")

    @event.listens_for(engine, "connect")
    def connected(connection: Any, record: object) -> None:
        connection.execute("PRAGMA journal_mode = WAL")

    return engine


@pytest.fixture(params=DATABASES)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    """An empty shop."""
    name, path = request.param, tmp_path / "shop.db"
    if name == "postgresql":
        postgres: PostgresServer = request.getfixturevalue("postgres_server")
        url = make_url(postgres.lend_database())
        engine = create_engine(url.set(drivername="postgresql+psycopg"))
        shop = Shop(engine, url.set(drivername="postgresql+asyncpg"))
        give_back: Callable[[str], None] = postgres.give_back
    elif name == "mariadb":
        mariadb: MariaDbServer = request.getfixturevalue("mariadb_server")
        url = make_url(mariadb.create_database())
        engine = create_engine(url.set(drivername="mysql+pymysql"))
        shop = Shop(engine, url.set(drivername="mysql+asyncmy"))
        give_back = mariadb.drop_database
    else:
        engine = sqlite_engine(path) if name == "sqlite" else _ordinary(path)
        url = make_url(f"sqlite+aiosqlite:///{path}")
        shop, give_back = Shop(engine, url), lambda url: None
    yield shop
    engine.dispose()
    give_back(url.render_as_string(hide_password=False))


@pytest.fixture
async def async_engine(shop: Shop) -> Any:
    """An asynchronous engine of the same database."""
    engine = create_async_engine(shop.async_url, poolclass=NullPool)
    yield engine
    await engine.dispose()
