"""The sync client against the same coordinator and participant, each test on a thread."""

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
import trypact
from trypact import errors, tcc
from trypact.kinds import Decision

from tests.integration.sdk.conftest import World
from tests.integration.sdk.test_client import Frozen, free_port, freeze


async def on_a_thread(world: World, work: Callable[[trypact.SyncClient], Any]) -> Any:
    """Let a thread work with a client of its own, while the coordinator has the event loop."""

    def working() -> Any:
        with trypact.SyncClient(world.endpoint, patience=5.0) as client:
            return work(client)

    return await asyncio.to_thread(working)


async def test_a_one_shot_is_confirmed_and_can_be_asked_for(world: World) -> None:
    def work(client: trypact.SyncClient) -> None:
        outcome = client.execute("order", [tcc("bank.freeze", freeze(30))], xid="17")

        assert outcome.result("freeze", Frozen) == Frozen(30)
        assert client.wait("17") == client.get("17") == outcome
        assert client.decision("17").decision is Decision.CONFIRM
        assert client.ping() > 0

    await on_a_thread(world, work)
    assert world.bank.account == (70, 0)


async def test_an_event_loop_is_not_held_up(world: World) -> None:
    with trypact.SyncClient(world.endpoint) as client:
        with pytest.raises(errors.InvalidRequest, match=r"trypact\.Client in a coroutine"):
            client.execute("order", [tcc("bank.freeze", freeze(30))])
        with (
            pytest.raises(errors.InvalidRequest, match=r"trypact\.Client in a coroutine"),
            client.transaction("order") as tx,
        ):
            tx.try_("bank.freeze", freeze(30))


async def test_a_refusal_raises_who_refused_and_why(world: World) -> None:
    def work(client: trypact.SyncClient) -> None:
        with pytest.raises(trypact.TransactionCancelled, match="TOO_LITTLE") as caught:
            client.execute("order", [tcc("bank.freeze", freeze(500))])
        assert caught.value.refused_branch_id == "freeze"
        with pytest.raises(errors.UnknownAction):
            client.execute("order", [tcc("bank.freese")])

    await on_a_thread(world, work)
    assert world.bank.account == (100, 0)


async def test_leaving_the_block_confirms_and_an_exception_rolls_back(world: World) -> None:
    def work(client: trypact.SyncClient) -> None:
        with client.transaction("order") as tx:
            assert tx.try_("bank.freeze", freeze(30), returns=Frozen) == Frozen(30)
            tx.message("bank.mail")
        assert tx.outcome.confirmed
        with pytest.raises(KeyboardInterrupt), client.transaction("order", xid="17") as tx:
            tx.try_("bank.freeze", freeze(5))
            raise KeyboardInterrupt
        assert client.wait("17").reason == "KeyboardInterrupt"
        with pytest.raises(trypact.BranchRefused), client.transaction("order", xid="18") as tx:
            tx.try_("bank.freeze", freeze(500))
        assert client.wait("18").cancelled

    await on_a_thread(world, work)
    assert world.bank.account == (70, 0)


async def test_without_a_coordinator_a_fresh_xid_is_not_begun_and_that_of_a_caller_is_unknown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def work() -> None:
        with trypact.SyncClient(f"127.0.0.1:{free_port()}", patience=0.5) as client:
            with pytest.raises(trypact.CoordinatorUnavailable, match="; nothing was begun"):
                client.execute("order", [tcc("bank.freeze")])
            with pytest.raises(trypact.OutcomeUnknown, match="xid"):
                client.execute("order", [tcc("bank.freeze")], xid="17")
            with pytest.raises(trypact.CoordinatorUnavailable):
                client.get("17")

    await asyncio.to_thread(work)
    assert caplog.text.count("cannot be reached") == 1


async def test_closing_a_client_wakes_whoever_waits_for_the_coordinator() -> None:
    client = trypact.SyncClient(f"127.0.0.1:{free_port()}", patience=60.0)
    started = threading.Event()

    def ask() -> None:
        started.set()
        client.get("17")

    asking = asyncio.create_task(asyncio.to_thread(ask))
    await asyncio.to_thread(started.wait, 10)
    client.close()

    with pytest.raises(trypact.CoordinatorUnavailable):
        await asyncio.wait_for(asking, 10)


async def test_closing_a_client_leaves_the_outcome_of_what_may_have_arrived_unknown() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = trypact.SyncClient(f"127.0.0.1:{silent.getsockname()[1]}", patience=60.0)
        asking = asyncio.create_task(
            asyncio.to_thread(client.execute, "order", [tcc("bank.freeze")])
        )
        connected, _ = await asyncio.to_thread(silent.accept)
        with connected:
            client.close()
            with pytest.raises(trypact.OutcomeUnknown, match="closed"):
                await asyncio.wait_for(asking, 10)


async def test_a_client_that_is_closed_inside_a_block_hides_no_error(world: World) -> None:
    def work() -> None:
        client = trypact.SyncClient(world.endpoint, patience=5.0)
        with pytest.raises(KeyError), client.transaction("order", timeout=1.0) as tx:
            tx.try_("bank.freeze", freeze(1))
            client.close()
            raise KeyError("price")

    await asyncio.to_thread(work)


async def test_a_report_completes_what_is_pending(world: World) -> None:
    asked = asyncio.create_task(
        on_a_thread(
            world,
            lambda client: client.execute(
                "o", [tcc("bank.freeze", freeze(0, pending=True))], xid="17"
            ),
        )
    )
    await world.bank.until(lambda: ("try", "freeze") in world.bank.calls)

    def complete(client: trypact.SyncClient) -> None:
        with world.bank.engine.begin() as connection:
            world.bank.fence.complete(connection, "17", "freeze", "try", ok={"frozen": 7})
        client.report("17", "freeze", "try", ok={"frozen": 7})

    await on_a_thread(world, complete)

    assert (await asked).result("freeze", Frozen) == Frozen(7)
