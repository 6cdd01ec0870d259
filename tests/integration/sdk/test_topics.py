"""A message to a topic reaches everybody who has subscribed, through a real coordinator."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trypact
from sqlalchemy import Connection
from trypact import Call, message
from trypact.fence import SqlAlchemyFence, sqlite_engine

from tests.integration.sdk.conftest import World


class Subscriber:
    """A participant that notes what it gets of `order.paid`."""

    def __init__(self, name: str, folder: Path) -> None:
        self._loop = asyncio.get_running_loop()
        self.got: asyncio.Queue[Any] = asyncio.Queue()
        fence = SqlAlchemyFence(sqlite_engine(folder / f"{name}.db"))
        fence.create_tables()
        self.participant = trypact.Participant(name, fence=fence)
        self.participant.subscribe("order.paid")(self.take)

    def take(self, call: Call[dict[str, Any]], connection: Connection) -> None:
        got = (call.action, call.branch_id, call.request)
        self._loop.call_soon_threadsafe(self.got.put_nowait, got)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    await world.start()
    yield world
    await world.stop()


async def test_everybody_who_subscribed_gets_the_message(
    world: World, client: trypact.Client, tmp_path: Path
) -> None:
    subscribers = [Subscriber(name, tmp_path) for name in ("points", "parcels")]
    async with contextlib.AsyncExitStack() as stack:
        for subscriber in subscribers:
            server = subscriber.participant.serve(coordinator=world.endpoint, grace=0.1)
            await (await stack.enter_async_context(server)).wait_registered()
        outcome = await client.execute(
            "order", [message(topic="order.paid", payload={"order": "17"})]
        )
        async with asyncio.timeout(10):
            got = [await subscriber.got.get() for subscriber in subscribers]

    assert outcome.confirmed
    assert sorted(got) == [
        ("parcels.take", "paid#1", {"order": "17"}),
        ("points.take", "paid#2", {"order": "17"}),
    ]
    assert all(subscriber.got.empty() for subscriber in subscribers)
