"""Fence rows go when a real coordinator says that nothing can come for them any more."""

import asyncio
from pathlib import Path

import pytest
import trypact
from sqlalchemy import text
from trypact import _collecting, message, tcc
from trypact.clock import now_us
from trypact.fence import Collected, Collector, SqlAlchemyFence

from tests.integration.sdk.conftest import World
from tests.integration.sdk.test_asynchronous import Till

DAYS_US = 2 * 24 * 3600 * 1_000_000


def rows(world: World) -> set[tuple[str, str]]:
    with world.bank.engine.connect() as connection:
        found = connection.execute(text("SELECT xid, status FROM trypact_fence"))
        return {(xid, status) for xid, status in found}


async def collect(world: World) -> Collected:
    """Collect as if it were the day after tomorrow."""

    def collect() -> Collected:
        with trypact.SyncClient(world.endpoint) as client:
            fence = SqlAlchemyFence(world.bank.engine, now=lambda: now_us() + DAYS_US)
            return Collector(client, fence).collect()

    return await asyncio.to_thread(collect)


async def test_rows_go_with_the_last_thing_that_could_ask_for_them(
    world: World, client: trypact.Client
) -> None:
    freeze = tcc("bank.freeze", {"amount": 30})
    now, later = message("bank.mail", {}, id="now"), message("bank.mail", {}, id="later", delay=600)
    await client.execute("order", [freeze, now], xid="closed")
    await client.execute("order", [freeze, now, later], xid="final")
    opened = client.transaction("order", xid="open")
    async with asyncio.timeout(10), opened as tx:
        await tx.try_("bank.freeze", {"amount": 10})
        while not (await client.decision("closed")).closed:
            pass
        while not (await client.decision("final")).final:
            pass
        while len(rows(world)) < 5:
            pass
        assert not (await client.decision("final")).closed

        assert await collect(world) == Collected(removed=3, kept=0, unknown=0)
        assert rows(world) == {("final", "DELIVERED"), ("open", "TRIED")}
    # What was tried has not been forgotten.
    assert (await client.get("open")).decision == "confirm"
    assert world.bank.account == (30, 0)


AGE = text("UPDATE trypact_fence SET updated_at = updated_at - :days, not_after = 0")


async def test_a_participant_collects_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_collecting, "EVERY_S", 0.0)
    world, till = World(tmp_path), Till(tmp_path)
    await world.start()
    await till.create()
    branches = [tcc("bank.freeze", {"amount": 30}), tcc("till.take", {})]
    async with (
        asyncio.timeout(20),
        world.bank.participant.serve(coordinator=world.endpoint) as bank,
        till.participant.serve(coordinator=world.endpoint) as server,
        trypact.Client(world.endpoint) as client,
    ):
        await asyncio.gather(bank.wait_registered(), server.wait_registered())
        await client.execute("order", branches)
        # It is all over, and a day has not passed: nothing goes.
        assert len(rows(world)) == len(await rows_of(till)) == 1
        with world.bank.engine.begin() as connection:
            connection.execute(AGE, {"days": DAYS_US})
        async with till.engine.begin() as awaited:
            await awaited.execute(AGE, {"days": DAYS_US})
        while await rows_of(till) or rows(world):
            pass
    await world.stop()
    world.bank.engine.dispose()
    await till.engine.dispose()


async def rows_of(till: Till) -> set[tuple[str, str]]:
    async with till.engine.connect() as connection:
        found = await connection.execute(text("SELECT xid, status FROM trypact_fence"))
        return {(xid, status) for xid, status in found}
