"""A participant that stops while the coordinator holds a stream to it."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
import trypact
from trypact import tcc
from trypact.serving import Serving

from tests.integration.sdk.conftest import World
from tests.integration.sdk.test_client import freeze

# Far beyond what a test may take: whoever waits it out is found.
GRACE_S = 60.0


@pytest.fixture
async def world(tmp_path: Path) -> World:
    """A world whose bank the test serves itself."""
    return World(tmp_path)


async def served(world: World) -> Serving:
    await world.start()
    server = world.bank.participant.serve(coordinator=world.endpoint, grace=GRACE_S)
    await server.start()
    await server.wait_registered()
    return server


async def test_an_idle_participant_stops_at_once_though_a_stream_is_open(world: World) -> None:
    server = await served(world)
    async with trypact.Client(world.endpoint, patience=5.0) as client:
        await client.execute("order", [tcc("bank.freeze", freeze(30))])
        before = time.monotonic()
        await server.stop()

    assert time.monotonic() - before < 1.0
    await world.stop()


async def test_a_call_under_way_on_a_stream_is_answered_before_the_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await served(world)
    bank = world.bank
    async with trypact.Client(world.endpoint, patience=5.0) as client:
        branches = [tcc("bank.freeze", freeze(30, hold=True))]
        asked = asyncio.create_task(client.execute("order", branches, xid="17"))
        await asyncio.to_thread(bank.holding.wait, 10)
        # The call ends only after its stream was told to.
        service: Any = server._service
        finish = service.finish

        def finish_and_release() -> None:
            finish()
            bank.release.set()

        monkeypatch.setattr(service, "finish", finish_and_release)
        async with asyncio.timeout(5):
            await server.stop()

        # Only the answer to the Try can have decided that.
        assert (await client.wait("17", "decided")).confirmed
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
    await world.stop()
