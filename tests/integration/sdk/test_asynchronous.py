"""A participant whose handlers are coroutines, against a real coordinator."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trypact
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from trypact import Call, errors, tcc
from trypact.fence import AsyncSqlAlchemyFence, async_sqlite_engine
from trypact.serving import Serving

from tests.integration.sdk.conftest import World


class Till:
    """A participant with one account; a Try can be held in the middle of its transaction."""

    def __init__(self, folder: Path) -> None:
        self.engine = async_sqlite_engine(folder / "till.db")
        self.fence = AsyncSqlAlchemyFence(self.engine)
        self.participant = trypact.Participant("till", fence=self.fence, workers=2)
        self.participant.tcc("take")(self)
        self.inside = asyncio.Event()
        self.release = asyncio.Event()
        self.cancelled = 0
        self.contexts: list[trypact.context.Context | None] = []

    async def create(self) -> None:
        await self.fence.create_tables()
        async with self.engine.begin() as connection:
            await connection.execute(text("CREATE TABLE account (free INTEGER, held INTEGER)"))
            await connection.execute(text("INSERT INTO account VALUES (100, 0)"))

    async def account(self) -> tuple[int, int]:
        async with self.engine.connect() as connection:
            free, held = (await connection.execute(text("SELECT free, held FROM account"))).one()
        return free, held

    async def move(self, connection: AsyncConnection, free: int, held: int) -> None:
        change = text("UPDATE account SET free = free + :f, held = held + :h")
        await connection.execute(change, {"f": free, "h": held})

    async def try_(self, call: Call[dict[str, Any]], connection: AsyncConnection) -> Any:
        self.contexts.append(trypact.context.current())
        if call.request.get("pending"):
            return trypact.PENDING
        await self.move(connection, -30, 30)
        if call.request.get("hold"):
            self.inside.set()
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        if why := call.request.get("refuse"):
            raise trypact.Refuse(why)
        return {"held": 30}

    async def confirm(self, call: Call[dict[str, Any]], connection: AsyncConnection) -> None:
        await self.move(connection, 0, -30)

    async def cancel(self, call: Call[dict[str, Any]], connection: AsyncConnection) -> None:
        if not call.request.get("pending"):
            await self.move(connection, 30, -30)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    await world.start()
    yield world
    await world.stop()


@pytest.fixture
async def till(tmp_path: Path) -> AsyncIterator[Till]:
    till = Till(tmp_path)
    await till.create()
    yield till
    await till.engine.dispose()


async def served(till: Till, world: World, grace: float) -> Serving:
    server = till.participant.serve(coordinator=world.endpoint, grace=grace)
    await server.start()
    await server.wait_registered()
    return server


@pytest.fixture
async def server(till: Till, world: World) -> AsyncIterator[Serving]:
    server = await served(till, world, 0.1)
    yield server
    till.release.set()
    await server.stop()


@pytest.mark.usefixtures("server")
async def test_coroutines_reserve_confirm_and_cancel(till: Till, client: trypact.Client) -> None:
    outcome = await client.execute("order", [tcc("till.take", {})], xid="17")
    assert outcome.result("take") == {"held": 30}
    assert await till.account() == (70, 0)
    with pytest.raises(trypact.TransactionCancelled, match="no money"):
        await client.execute(
            "order", [tcc("till.take", {}), tcc("till.take", {"refuse": "no money"})]
        )
    assert await till.account() == (70, 0)
    assert till.contexts[0] == ("17", "take", "till.take", "try")


@pytest.mark.usefixtures("server")
async def test_what_a_coroutine_left_pending_is_completed(
    till: Till, client: trypact.Client
) -> None:
    async def take(connection: AsyncConnection) -> dict[str, int]:
        await till.move(connection, -30, 30)
        return {"held": 30}

    reporter = till.participant.reporter(client)
    executed = asyncio.create_task(
        client.execute("order", [tcc("till.take", {"pending": True})], xid="17")
    )
    while True:
        try:
            await reporter.run("17", "take", "try", take)
            break
        except errors.NotPending:
            await asyncio.sleep(0)

    assert (await executed).result("take") == {"held": 30}
    assert await till.account() == (70, 0)
    with pytest.raises(TypeError, match="AsyncSqlAlchemyFence is awaited, and a SyncClient is not"):
        till.participant.reporter(trypact.SyncClient("127.0.0.1:1"))


async def test_a_coroutine_under_way_is_drained_when_the_participant_stops(
    till: Till, world: World, client: trypact.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await served(till, world, grace=60.0)
    service: Any = server._service
    finish = service.finish

    def finish_and_release() -> None:
        finish()
        till.release.set()

    monkeypatch.setattr(service, "finish", finish_and_release)
    executed = asyncio.create_task(
        client.execute("order", [tcc("till.take", {"hold": True})], xid="17", wait="decided")
    )
    await till.inside.wait()
    async with asyncio.timeout(5):
        await server.stop()

    # Only the answer to the Try can have decided that.
    assert (await executed).confirmed
    assert till.cancelled == 0
    assert await till.account() == (70, 30)


async def test_a_coroutine_that_outlasts_the_grace_is_cancelled_and_undone(
    till: Till, world: World, client: trypact.Client, caplog: pytest.LogCaptureFixture
) -> None:
    server = await served(till, world, grace=0.05)
    executed = asyncio.create_task(
        client.execute("order", [tcc("till.take", {"hold": True})], xid="17")
    )
    await till.inside.wait()
    async with asyncio.timeout(5):
        await server.stop()

    assert till.cancelled == 1
    assert await till.account() == (100, 0)
    assert "till stops: 1 handlers are cancelled" in caplog.text
    till.release.set()
    again = await served(till, world, grace=0.1)
    assert (await executed).confirmed
    await again.stop()
    assert await till.account() == (70, 0)


async def test_a_coordinator_that_vanishes_cancels_no_coroutine(
    till: Till, world: World, server: Serving
) -> None:
    async with trypact.Client(world.endpoint, patience=0.5) as client:
        executed = asyncio.create_task(
            client.execute("order", [tcc("till.take", {"hold": True})], xid="17")
        )
        await till.inside.wait()
        await world.stop()
        till.release.set()
        await world.start()
        await asyncio.gather(executed, return_exceptions=True)
    async with trypact.Client(world.endpoint, patience=5.0) as client:
        assert (await client.wait("17")).confirmed
    assert till.cancelled == 0
    assert len(till.contexts) == 1, "the Try ran once, and its answer was kept"
