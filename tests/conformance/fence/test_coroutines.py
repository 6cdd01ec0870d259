"""Calls that meet on one event loop, and tasks that are cancelled in the middle of one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import psycopg
import psycopg_pool
import pytest
from sqlalchemy import event, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
from trypact.call import Answer, FencedCall, Ok, Refused
from trypact.errors import FenceUnavailable, ParticipantError, Refuse
from trypact.fence import AsyncSqlAlchemyFence, PsycopgFence, async_sqlite_engine, sqlite_engine
from trypact.kinds import Kind, Operation

from tests.conformance.fence.places import NUMBERS, ROWS, STATUS, TABLE, Stock, update

DRIVERS = ("sqlite+aiosqlite", "postgresql+asyncpg", "postgresql+psycopg", "mariadb+asyncmy")
Handler = Callable[[AsyncConnection], Awaitable[bytes]]


class Desk:
    """The stock of the suite, for coroutines that share an event loop and a pool."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.fence = AsyncSqlAlchemyFence(engine)
        self.runs = 0
        # Set by a held handler; it waits for the other.
        self.inside, self.open = asyncio.Event(), asyncio.Event()

    async def set_up(self) -> None:
        await self.fence.create_tables()
        async with self.engine.begin() as connection:
            await connection.execute(text(TABLE))
            await connection.execute(text(ROWS))

    async def run(self, operation: str, handler: Handler | None = None) -> Answer:
        call = FencedCall("x", "b", "inventory.reserve", Kind.TCC, Operation(operation))
        return await self.fence.run(call, handler or getattr(self, operation))

    def start(self, operation: str, handler: Handler | None = None) -> "asyncio.Task[Answer]":
        return asyncio.create_task(self.run(operation, handler))

    async def try_(self, connection: AsyncConnection) -> bytes:
        return await self._move(connection, sellable=-2, frozen=2)

    async def cancel(self, connection: AsyncConnection) -> bytes:
        return await self._move(connection, sellable=2, frozen=-2)

    async def held(self, connection: AsyncConnection) -> bytes:
        result = await self.try_(connection)
        if self.runs == 1:
            self.inside.set()
            await self.open.wait()
        return result

    async def _move(self, connection: AsyncConnection, **by: int) -> bytes:
        self.runs += 1
        await connection.execute(text(update(**by)))
        return b"run %d" % self.runs

    def arrived(self) -> asyncio.Event:
        """An event that is set when another connection is taken."""
        taken = asyncio.Event()
        event.listen(self.engine.sync_engine, "checkout", lambda *arguments: taken.set())
        return taken

    async def seen(self) -> tuple[str | None, Stock]:
        async with self.engine.connect() as connection:
            status = (await connection.execute(text(STATUS))).scalar_one_or_none()
            sellable, frozen, sold = (await connection.execute(text(NUMBERS))).one()
        return status, (sellable, frozen, sold)


@pytest.fixture(params=DRIVERS)
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desk]:
    driver = request.param
    if driver == "sqlite+aiosqlite":
        engine = async_sqlite_engine(tmp_path / "shop.db")
    else:
        fixture = "mariadb_url" if "mariadb" in driver else "postgres_url"
        url = make_url(request.getfixturevalue(fixture))
        engine = create_async_engine(url.set(drivername=driver))
    desk = Desk(engine)
    await desk.set_up()
    yield desk
    await engine.dispose()


async def test_a_cancel_that_meets_a_running_try_waits_and_undoes_it(desk: Desk) -> None:
    async with asyncio.timeout(10):
        tried = desk.start("try", desk.held)
        await desk.inside.wait()
        arrived = desk.arrived()
        cancelled = desk.start("cancel")
        await arrived.wait()
        assert not cancelled.done()
        desk.open.set()

        assert await asyncio.gather(tried, cancelled) == [Ok(b"run 1"), Ok()]
    assert await desk.seen() == ("CANCELLED", (10, 0, 0))


async def test_duplicates_at_once_run_once_and_agree(desk: Desk) -> None:
    async with asyncio.timeout(20):
        answers = await asyncio.gather(*(desk.run("try", desk.try_) for _ in range(8)))

    assert answers == [Ok(b"run 1")] * 8
    assert await desk.seen() == ("TRIED", (8, 2, 0))


async def test_a_try_at_once_with_its_cancels_leaves_nothing_reserved(desk: Desk) -> None:
    async with asyncio.timeout(20):
        answers = await asyncio.gather(
            desk.run("cancel"), desk.run("try", desk.try_), desk.run("cancel")
        )

    assert (answers[0], answers[2]) == (Ok(), Ok())
    assert await desk.seen() == ("CANCELLED", (10, 0, 0))


async def test_a_task_that_is_cancelled_in_its_handler_leaves_nothing(desk: Desk) -> None:
    async with asyncio.timeout(10):
        tried = desk.start("try", desk.held)
        await desk.inside.wait()
        tried.cancel()
        with pytest.raises(asyncio.CancelledError):
            await tried

        assert await desk.seen() == (None, (10, 0, 0))
        assert await desk.run("try", desk.try_) == Ok(b"run 2")


async def test_a_task_that_is_cancelled_while_it_waits_for_another_harms_nobody(desk: Desk) -> None:
    async with asyncio.timeout(20):
        first = desk.start("try", desk.held)
        await desk.inside.wait()
        arrived = desk.arrived()
        second = desk.start("try", desk.try_)
        await arrived.wait()
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        desk.open.set()

        assert await first == Ok(b"run 1")
    assert await desk.seen() == ("TRIED", (8, 2, 0))


async def test_an_asynchronous_session_takes_part_in_the_transaction(desk: Desk) -> None:
    async def refuse_after_commit(connection: AsyncConnection) -> bytes:
        async with AsyncSession(bind=connection) as session:
            await session.execute(text("UPDATE stock SET sold = 9"))
            await session.commit()
        raise Refuse("no")

    assert await desk.run("try", refuse_after_commit) == Refused("no")
    assert await desk.seen() == ("REFUSED", (10, 0, 0))


async def test_the_drivers_own_connection_is_in_the_same_transaction(desk: Desk) -> None:
    async def through_the_driver(connection: AsyncConnection) -> bytes:
        raw: Any = (await connection.get_raw_connection()).driver_connection
        if "asyncmy" in type(raw).__module__:
            async with raw.cursor() as cursor:
                await cursor.execute(update(sellable=-2, frozen=2))
        else:
            await raw.execute(update(sellable=-2, frozen=2))
        return b"done"

    async def and_refuse(connection: AsyncConnection) -> bytes:
        await through_the_driver(connection)
        raise Refuse("no")

    assert await desk.run("try", and_refuse) == Refused("no")
    assert await desk.seen() == ("REFUSED", (10, 0, 0))
    call = FencedCall("x", "other", "inventory.reserve", Kind.TCC, Operation.TRY)
    for _ in range(2):
        assert await desk.fence.run(call, through_the_driver) == Ok(b"done")
    async with desk.engine.connect() as connection:
        assert tuple((await connection.execute(text(NUMBERS))).one()) == (8, 2, 0)


async def test_a_handler_that_commits_by_itself_is_found_out(desk: Desk) -> None:
    async def commit(connection: AsyncConnection) -> bytes:
        await connection.commit()
        return b""

    with pytest.raises(ParticipantError, match="ended the fence's local transaction"):
        await desk.run("try", commit)


@pytest.mark.parametrize("desk", ["postgresql+asyncpg", "postgresql+psycopg"], indirect=True)
@pytest.mark.parametrize("operation", ["try", "deliver"])
async def test_an_error_that_a_handler_hides_is_no_success(desk: Desk, operation: str) -> None:
    async def hide(connection: AsyncConnection) -> bytes:
        await connection.execute(text(update(sold=1)))
        with contextlib.suppress(DBAPIError):
            await connection.execute(text("SELECT 1 / 0"))
        return b""

    with pytest.raises(ParticipantError, match="hid an error of the database"):
        await desk.run(operation, hide)
    assert await desk.seen() == (None, (10, 0, 0))


@pytest.mark.parametrize(
    "desk", ["postgresql+asyncpg", "postgresql+psycopg", "mariadb+asyncmy"], indirect=True
)
async def test_a_deadlock_is_run_again_and_nobody_sees_it(desk: Desk) -> None:
    both_hold_one = asyncio.Barrier(2)
    runs: list[str] = []

    async def crossed(connection: AsyncConnection, first: str, second: str) -> bytes:
        runs.append(first)
        change = "UPDATE stock SET sellable = sellable - 1 WHERE sku = "
        await connection.execute(text(f"{change}'{first}'"))
        if len(runs) <= 2:
            await both_hold_one.wait()
        await connection.execute(text(f"{change}'{second}'"))
        return b""

    def call(xid: str) -> FencedCall:
        return FencedCall(xid, "b", "inventory.reserve", Kind.TCC, Operation.TRY)

    async with asyncio.timeout(20):
        answers = await asyncio.gather(
            desk.fence.run(call("1"), lambda connection: crossed(connection, "a", "b")),
            desk.fence.run(call("2"), lambda connection: crossed(connection, "b", "a")),
        )
    assert answers == [Ok(), Ok()]
    assert len(runs) == 3


@pytest.mark.parametrize("driver", DRIVERS[1:])
async def test_a_server_that_is_not_there_is_an_unknown_outcome(driver: str) -> None:
    engine = create_async_engine(f"{driver}://root@127.0.0.1:1/shop")
    fence = AsyncSqlAlchemyFence(engine)
    call = FencedCall("x", "b", "inventory.reserve", Kind.TCC, Operation.TRY)

    with pytest.raises(FenceUnavailable):
        await fence.run(call, Desk(engine).try_)
    await engine.dispose()


def test_a_synchronous_engine_is_named(tmp_path: Path) -> None:
    engine = sqlite_engine(tmp_path / "shop.db")

    with pytest.raises(ValueError, match="create_async_engine"):
        AsyncSqlAlchemyFence(engine)  # type: ignore[arg-type]
    engine.dispose()


def test_connections_that_are_awaited_are_no_psycopg_fences() -> None:
    pool: Any = psycopg_pool.AsyncConnectionPool(open=False)
    connect: Any = psycopg.AsyncConnection.connect
    for awaited in (pool.connection, connect):
        with pytest.raises(TypeError, match=r"connections that are awaited; allowed: .* Async"):
            PsycopgFence(awaited)
