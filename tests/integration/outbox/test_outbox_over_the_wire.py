"""Messages on their way through the real servers: what waits for a participant."""

import asyncio
from pathlib import Path
from typing import Any

import trypact
from sqlalchemy import Connection
from trypact.fence import SqlAlchemyFence, sqlite_engine
from trypact.outbox import Arrived, BranchPublisher, Message, Sent
from trypact_coordinator.bootstrap import running
from trypact_coordinator.core.events import SkipAct
from trypact_coordinator.settings import Settings

FAST = {"backoff_base_ms": 10, "backoff_cap_ms": 50, "stop_grace_ms": 1}


async def test_a_participant_that_is_away_holds_up_nobody_elses_messages_and_skipping_ends_one(
    tmp_path: Path,
) -> None:
    settings: dict[str, Any] = {"listen": "127.0.0.1:0", "journal": f"sqlite:///{tmp_path}/j.db"}
    fence = SqlAlchemyFence(sqlite_engine(tmp_path / "members.db"))
    fence.create_tables()
    member = trypact.Participant("member", fence=fence)

    @member.message("add_points", request=dict)
    def add_points(call: trypact.Call[dict[str, int]], connection: Connection) -> None:
        raise trypact.RetryLater(60.0, "not now")

    before, after = Message("member.add_points"), Message("member.add_points")
    async with (
        running(Settings(**settings, **FAST)) as coordinator,
        trypact.Client(coordinator.address) as client,
    ):
        publisher = BranchPublisher(client)
        async with member.serve(coordinator=coordinator.address, grace=0.1) as server:
            await server.wait_registered()
            assert isinstance((await publisher.publish([before]))[0], Sent)
        (away,) = await publisher.publish([after])
        skip = SkipAct(actor="ann", reason="credited by hand", branch_id="message")
        await coordinator.coordinator.act(before.id, skip)
        (skipped,) = await publisher.publish([before])
    assert isinstance(away, Sent)
    assert "has signed off" in away.why
    assert skipped == Arrived()


async def test_a_message_is_on_its_way_until_its_participant_has_acknowledged_it(
    tmp_path: Path,
) -> None:
    settings: dict[str, Any] = {"listen": "127.0.0.1:0", "journal": f"sqlite:///{tmp_path}/j.db"}
    fence = SqlAlchemyFence(sqlite_engine(tmp_path / "members.db"))
    fence.create_tables()
    member, willing = trypact.Participant("member", fence=fence), asyncio.Event()

    @member.message("add_points", request=dict)
    def add_points(call: trypact.Call[dict[str, int]], connection: Connection) -> None:
        if not willing.is_set():
            raise trypact.RetryLater(0.01, "not now")

    message = Message("member.add_points", {"points": 3}, key="17", group="orders")
    async with (
        running(Settings(**settings, **FAST)) as coordinator,
        trypact.Client(coordinator.address) as client,
        member.serve(coordinator=coordinator.address, grace=0.1) as server,
    ):
        await server.wait_registered()
        publisher = BranchPublisher(client)
        (first,) = await publisher.publish([message])
        (second,) = await publisher.publish([message])
        willing.set()
        async with asyncio.timeout(20):
            while not isinstance((await publisher.publish([message]))[0], Arrived):
                pass
        outcome = await client.get(message.id)
    assert (type(first), type(second)) == (Sent, Sent)
    assert outcome.branch("message").state is trypact.BranchState.DELIVERED
