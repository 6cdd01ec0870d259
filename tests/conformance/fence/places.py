"""Where the fenced stock of the suite is: every database and driver, seen alike.

A handler of the suite is a plain function of a handle, and changes the stock with `Place.change`.
For a fence of coroutines it is run inside one, on an event loop of its own for each call.
"""

import asyncio
import json
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

import psycopg
import redis
from psycopg import sql
from sqlalchemy import Engine, event, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from trypact.call import Answer, FencedCall, Ok, PendingType, Refused
from trypact.fence import (
    AsyncCollector,
    AsyncExternalFence,
    AsyncSqlAlchemyFence,
    Collected,
    Collector,
    Effect,
    ExternalFence,
    PsycopgFence,
    RedisFence,
    SqlAlchemyFence,
)
from trypact.fence.contract import Handler
from trypact.kinds import Decision, Operation
from trypact.outcome import Standing

Stock = tuple[int, int, int]
TABLE = (
    "CREATE TABLE stock (sku VARCHAR(8) PRIMARY KEY,"
    " sellable INTEGER NOT NULL CHECK (sellable >= 0),"
    " frozen INTEGER NOT NULL CHECK (frozen >= 0), sold INTEGER NOT NULL)"
)
ROWS = "INSERT INTO stock VALUES ('a', 10, 0, 0), ('b', 10, 0, 0)"
NUMBERS = "SELECT sellable, frozen, sold FROM stock WHERE sku = 'a'"
STATUS = "SELECT status FROM trypact_fence WHERE branch_id <> 'neighbour'"


class Clock:
    """What the fence takes for the time, in microseconds."""

    us = 1_000_000

    def __call__(self) -> int:
        return self.us


class Place(Protocol):
    fence: Any
    clock: Clock
    # For SQL of the test's own; None where there is none.
    engine: Engine | None

    def change(self, handle: Any, **by: int) -> None:
        """Add to the numbers of sku "a"."""
        ...

    def end(self, handle: Any) -> None:
        """End the local transaction behind the fence's back."""
        ...

    def stock(self) -> Stock: ...

    def status(self) -> str | None:
        """What the fence's only row says, but for those of neighbours."""
        ...

    def complete(self, change: Callable[[Any], object], operation: str, **answer: Any) -> None:
        """Complete an operation of branch ("x", "b") in one transaction with a change."""
        ...

    def keys(self) -> set[tuple[str, str]]:
        """What the fence has rows of."""
        ...

    def collect(self, told: Mapping[str, Standing], older_than: float) -> Collected:
        """Let the collector go once through the rows."""
        ...

    def arrivals(self, count: int) -> threading.Event:
        """An event that is set when that many more calls have begun."""
        ...

    def close(self) -> None: ...


class Told(NamedTuple):
    """A coordinator that has never heard of anything else."""

    standings: Mapping[str, Standing]

    def decision(self, xid: str) -> Standing:
        return self.standings.get(xid, Standing(Decision.UNKNOWN, final=False, closed=False))


class AsyncTold(NamedTuple):
    told: Told

    async def decision(self, xid: str) -> Standing:
        return self.told.decision(xid)


def update(**by: int) -> str:
    changes = ", ".join(f"{column} = {column} + {number}" for column, number in by.items())
    return f"UPDATE stock SET {changes} WHERE sku = 'a'"


def counted(count: int) -> tuple[threading.Event, Callable[..., None]]:
    """An event, and what sets it when it is called that often."""
    reached, seen = threading.Event(), []

    def call(*arguments: object) -> None:
        seen.append(arguments)
        if len(seen) >= count:
            reached.set()

    return reached, call


class OnSql:
    """What every SQL database has in common: an engine to look at it from outside."""

    def __init__(self, engine: Engine) -> None:
        self.engine: Engine | None = engine
        self.looks = engine
        self.clock = Clock()
        with engine.begin() as connection:
            connection.execute(text(TABLE))
            connection.execute(text(ROWS))

    def change(self, handle: Any, **by: int) -> None:
        handle.execute(text(update(**by)))

    def end(self, handle: Any) -> None:
        handle.commit()

    def stock(self) -> Stock:
        with self.looks.connect() as connection:
            sellable, frozen, sold = connection.execute(text(NUMBERS)).one()
        return sellable, frozen, sold

    def status(self) -> str | None:
        with self.looks.connect() as connection:
            found: str | None = connection.execute(text(STATUS)).scalar_one_or_none()
        return found

    def keys(self) -> set[tuple[str, str]]:
        with self.looks.connect() as connection:
            found = connection.execute(text("SELECT xid, branch_id FROM trypact_fence"))
            return {(xid, branch_id) for xid, branch_id in found}

    def collect(self, told: Mapping[str, Standing], older_than: float) -> Collected:
        collector = Collector(Told(told), self.fence, older_than=older_than)
        return collector.collect()

    def close(self) -> None:
        self.looks.dispose()


class OnSqlAlchemy(OnSql):
    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.fence = SqlAlchemyFence(engine, now=self.clock)
        self.fence.create_tables()

    def complete(self, change: Callable[[Any], object], operation: str, **answer: Any) -> None:
        with self.looks.begin() as connection:
            change(connection)
            self.fence.complete(connection, "x", "b", operation, **answer)

    def arrivals(self, count: int) -> threading.Event:
        reached, call = counted(count)
        event.listen(self.looks, "checkout", call)
        return reached


class OnAsyncSqlAlchemy(OnSql):
    """Every call has an event loop of its own, so that a handler may block."""

    def __init__(self, engine: AsyncEngine, looks: Engine) -> None:
        super().__init__(looks)
        self.engine = None
        self._engine = engine
        self.asynchronous = AsyncSqlAlchemyFence(engine, now=self.clock)
        asyncio.run(self.asynchronous.create_tables())
        self.fence = self

    def run(self, call: FencedCall, handler: Handler) -> Answer:
        async def awaited(connection: AsyncConnection) -> bytes | PendingType:
            return await connection.run_sync(handler)

        return asyncio.run(self.asynchronous.run(call, awaited))

    def create_tables(self) -> None:
        asyncio.run(self.asynchronous.create_tables())

    def collect(self, told: Mapping[str, Standing], older_than: float) -> Collected:
        client: Any = AsyncTold(Told(told))
        collector = AsyncCollector(client, self.asynchronous, older_than=older_than)
        return asyncio.run(collector.collect())

    def complete(self, change: Callable[[Any], object], operation: str, **answer: Any) -> None:
        async def complete() -> None:
            async with self._engine.begin() as connection:
                await connection.run_sync(change)
                await self.asynchronous.complete(connection, "x", "b", operation, **answer)

        asyncio.run(complete())

    def finish(
        self, xid: str, branch_id: str, operation: Operation, effect: Callable[[Any], bytes]
    ) -> Ok | Refused:
        async def awaited(connection: AsyncConnection) -> bytes:
            return await connection.run_sync(effect)

        return asyncio.run(self.asynchronous.finish(xid, branch_id, operation, awaited))

    def arrivals(self, count: int) -> threading.Event:
        reached, call = counted(count)
        event.listen(self._engine.sync_engine, "checkout", call)
        return reached


class OnPsycopg(OnSql):
    def __init__(
        self,
        connect: Callable[[], AbstractContextManager[psycopg.Connection[Any]]],
        looks: Engine,
    ) -> None:
        super().__init__(looks)
        self.engine = None
        self._connect = connect
        self._arrived: Callable[..., None] = lambda: None
        self.fence = PsycopgFence(self._counted_connect, now=self.clock)
        self.fence.create_tables()

    def _counted_connect(self) -> AbstractContextManager[psycopg.Connection[Any]]:
        self._arrived()
        return self._connect()

    def change(self, handle: Any, **by: int) -> None:
        handle.execute(update(**by))

    def end(self, handle: Any) -> None:
        handle.execute(sql.SQL("COMMIT"))
        # The driver begins another one without a word.
        handle.execute(sql.SQL("SELECT 1"))

    def complete(self, change: Callable[[Any], object], operation: str, **answer: Any) -> None:
        with self._connect() as connection, connection.transaction():
            change(connection)
            self.fence.complete(connection, "x", "b", operation, **answer)

    def arrivals(self, count: int) -> threading.Event:
        reached, self._arrived = counted(count)
        return reached


class OnRedis:
    engine = None

    def __init__(self, client: redis.Redis) -> None:
        self.clock = Clock()
        self._client = client
        client.hset("stock", mapping={"sellable": 10, "frozen": 0, "sold": 0})
        self.fence = RedisFence(client, now=self.clock)
        self.fence.create_tables()

    def change(self, handle: Any, **by: int) -> None:
        if not handle.explicit_transaction:
            handle.multi()
        for column, number in by.items():
            handle.hincrby("stock", column, number)

    def end(self, handle: Any) -> None:
        handle.execute()

    def stock(self) -> Stock:
        sellable, frozen, sold = self._client.hmget("stock", "sellable", "frozen", "sold")
        return int(sellable), int(frozen), int(sold)

    def status(self) -> str | None:
        names = self._client.zrange("trypact:fence", 0, -1)
        rows = [self._client.get(b"trypact:fence:" + name) for name in names]
        assert len(rows) <= 1
        return str(json.loads(rows[0])["status"]) if rows else None

    def complete(self, change: Callable[[Any], object], operation: str, **answer: Any) -> None:
        with self.fence.transaction() as pipeline:
            self.fence.complete(pipeline, "x", "b", operation, **answer)
            change(pipeline)

    def keys(self) -> set[tuple[str, str]]:
        names = self._client.zrange("trypact:fence", 0, -1)
        rows = [json.loads(self._client.get(b"trypact:fence:" + name)) for name in names]
        assert len(self._client.keys("trypact:fence:*")) == len(rows)
        return {(row["xid"], row["branch_id"]) for row in rows}

    def collect(self, told: Mapping[str, Standing], older_than: float) -> Collected:
        collector = Collector(Told(told), self.fence, older_than=older_than)
        return collector.collect()

    def arrivals(self, count: int) -> threading.Event:
        raise NotImplementedError("nobody waits for anybody")

    def close(self) -> None:
        self._client.flushdb()
        self._client.close()


class OutsideEffects:
    """A stock that is in no database, so that nothing undoes what is done to it."""

    # No SQL reaches it.
    engine: Engine | None = None

    def __init__(self, *engines: Any) -> None:
        super().__init__(*engines)
        self.engine = None
        self._numbers = {"sellable": 10, "frozen": 0, "sold": 0}

    def change(self, handle: Any, **by: int) -> None:
        for column, number in by.items():
            self._numbers[column] += number

    def stock(self) -> Stock:
        return self._numbers["sellable"], self._numbers["frozen"], self._numbers["sold"]


class Outside(OutsideEffects, OnSqlAlchemy):
    """Only the fence's rows are in a database."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.fence: Any = ExternalFence(self.fence)


class AsyncOutside(OutsideEffects, OnAsyncSqlAlchemy):
    """The same for coroutines."""

    def run(self, call: FencedCall, handler: Handler) -> Answer:
        async def awaited(effect: Effect) -> bytes | PendingType:
            return handler(effect)

        return asyncio.run(AsyncExternalFence(self.asynchronous).run(call, awaited))
