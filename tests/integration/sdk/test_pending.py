"""What is answered with PENDING, and how it ends, against a real coordinator."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trypact
from sqlalchemy import Connection, text
from trypact import Call, errors, tcc
from trypact.kinds import Operation
from trypact.reporting import AsyncReporter, Completed
from trypact.serving import Serving

from tests.integration.sdk.conftest import Bank, World

# Nobody listens there.
NOWHERE = "127.0.0.1:1"


def move(connection: Connection, free: int, frozen: int) -> None:
    """Add to both, but never below nothing."""
    change = "UPDATE account SET free = free + :f, frozen = frozen + :z WHERE frozen + :z >= 0"
    connection.execute(text(change), {"f": free, "z": frozen})


def freeze(connection: Connection) -> dict[str, int]:
    move(connection, -30, 30)
    return {"frozen": 30}


def charge(bank: Bank) -> None:
    """Offer an action whose Try is always PENDING."""

    @bank.participant.tcc("charge")
    def charge(call: Call[Any], connection: Connection) -> Any:
        bank.note(call)
        return trypact.PENDING

    @charge.confirm
    def spend(call: Call[Any], connection: Connection) -> None:
        bank.note(call)
        move(connection, 0, -30)

    @charge.cancel
    def thaw(call: Call[Any], connection: Connection) -> None:
        bank.note(call)
        move(connection, 30, -30)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    charge(world.bank)
    await world.start()
    yield world
    await world.stop()
    world.bank.engine.dispose()


@pytest.fixture
async def server(world: World) -> AsyncIterator[Serving]:
    async with world.bank.participant.serve(coordinator=world.endpoint, grace=0.1) as server:
        await server.wait_registered()
        yield server


@pytest.fixture
def reporter(world: World, client: trypact.Client, server: Serving) -> AsyncReporter:
    return world.bank.participant.reporter(client)


async def begun(world: World, client: trypact.Client, **arguments: Any) -> "asyncio.Task[Any]":
    """A transaction whose Try has begun; SQLite lets nobody else write before it is PENDING."""
    execute = client.execute("order", [tcc("bank.charge")], xid="17", **arguments)
    executed = asyncio.create_task(execute)
    await world.bank.until(lambda: ("try", "charge") in world.bank.calls)
    return executed


async def test_the_effect_is_written_and_reported_at_once(
    world: World, client: trypact.Client, reporter: AsyncReporter
) -> None:
    executed = await begun(world, client)
    completed = await reporter.run("17", "charge", "try", freeze)
    outcome = await executed

    assert completed.operation is Operation.TRY
    assert completed.reported is not None
    assert outcome.confirmed
    assert outcome.result("charge") == {"frozen": 30}
    # Confirmed, so nothing is frozen any more.
    assert world.bank.account == (70, 0)
    with pytest.raises(errors.NotPending, match="CONFIRMED"):
        await reporter.run("17", "charge", "try", freeze)


@pytest.mark.usefixtures("server")
async def test_a_lost_report_is_made_good_by_the_coordinators_question(
    world: World, client: trypact.Client
) -> None:
    executed = await begun(world, client)
    async with trypact.Client(NOWHERE, patience=0.01) as nobody:
        completed = await world.bank.participant.reporter(nobody).run("17", "charge", "try", freeze)

    assert completed == Completed(Operation.TRY, reported=None)
    outcome = await executed
    assert outcome.result("charge") == {"frozen": 30}
    assert world.bank.account == (70, 0)


async def test_a_refusal_undoes_the_effect_and_cancels_the_transaction(
    world: World, client: trypact.Client, reporter: AsyncReporter
) -> None:
    def declined(connection: Connection) -> None:
        freeze(connection)
        raise trypact.Refuse("CARD_DECLINED")

    executed = await begun(world, client)
    await reporter.run("17", "charge", "try", declined)

    with pytest.raises(trypact.TransactionCancelled, match="CARD_DECLINED"):
        await executed
    assert world.bank.account == (100, 0)


async def test_after_the_cancel_there_is_nothing_to_complete(
    world: World, client: trypact.Client, reporter: AsyncReporter
) -> None:
    executed = await begun(world, client, timeout=0.2)
    with pytest.raises(trypact.TransactionCancelled, match="deadline"):
        await executed

    with pytest.raises(errors.CancelledMeanwhile, match=r"decision .* is cancel") as late:
        await reporter.run("17", "charge", "try", freeze)
    assert not late.value.completed
    assert world.bank.account == (100, 0)


async def test_what_is_complete_before_the_cancel_arrives_is_undone_by_it(
    world: World, client: trypact.Client, reporter: AsyncReporter, server: Serving
) -> None:
    """The decision is made, and the participant is not there to be told."""
    executed = await begun(world, client, timeout=0.5, wait="decided")
    await server.stop()
    with pytest.raises(trypact.TransactionCancelled, match="deadline"):
        await executed

    with pytest.raises(errors.CancelledMeanwhile, match="its Cancel undoes") as late:
        await reporter.run("17", "charge", "try", freeze)
    assert late.value.completed
    assert world.bank.account == (70, 30)
    async with world.bank.participant.serve(coordinator=world.endpoint):
        await client.wait("17")
    assert world.bank.account == (100, 0)


@pytest.mark.usefixtures("server")
async def test_code_without_a_loop_completes_too(world: World, client: trypact.Client) -> None:
    def complete() -> Completed:
        with trypact.SyncClient(world.endpoint, patience=5.0) as client:
            return world.bank.participant.reporter(client).complete(
                "17", "charge", "try", {"by": "Ada"}
            )

    executed = await begun(world, client)
    completed = await asyncio.to_thread(complete)

    assert completed.reported is not None
    assert (await executed).result("charge") == {"by": "Ada"}


@pytest.mark.usefixtures("server")
async def test_code_without_a_loop_refuses_and_survives_a_lost_report(
    world: World, client: trypact.Client
) -> None:
    def refuse() -> Completed:
        with trypact.SyncClient(NOWHERE, patience=0.01) as nobody:
            return world.bank.participant.reporter(nobody).refuse("17", "charge", "try", "no")

    executed = await begun(world, client)

    assert (await asyncio.to_thread(refuse)).reported is None
    with pytest.raises(trypact.TransactionCancelled, match="no"):
        await executed


async def test_an_effect_must_end(reporter: AsyncReporter, world: World, client: Any) -> None:
    async def awaited(connection: Connection) -> None: ...

    executed = await begun(world, client)
    with pytest.raises(errors.ParticipantError, match="answered PENDING"):
        await reporter.run("17", "charge", "try", lambda connection: trypact.PENDING)
    with pytest.raises(TypeError, match="the effect is async, and its fence is not"):
        await reporter.run("17", "charge", "try", awaited)
    await reporter.complete("17", "charge", "try")
    assert (await executed).confirmed


# ---------------------------------------------------------------- RETRY


async def test_who_asks_for_time_is_asked_again_after_it(tmp_path: Path) -> None:
    """The back-off is far longer than what is asked for, so it is the asking that counts."""
    world = World(tmp_path)
    world.settings.update(backoff_base_ms=60_000, backoff_cap_ms=60_000)
    asked_at: list[float] = []

    @world.bank.participant.saga("busy")
    def busy(call: Call[Any], connection: Connection) -> int:
        asked_at.append(time.monotonic())
        if call.attempt == 1:
            raise trypact.RetryLater(0.3, "the printer is warming up")
        return call.attempt

    busy.cancel(lambda call, connection: None)
    await world.start()
    async with (
        world.bank.participant.serve(coordinator=world.endpoint, grace=0.1) as server,
        trypact.Client(world.endpoint, patience=5.0) as client,
    ):
        await server.wait_registered()
        outcome = await client.execute("order", [trypact.saga("bank.busy")])
    await world.stop()

    assert outcome.result("busy") == 2
    assert 0.3 <= asked_at[1] - asked_at[0] < 2.0


# ---------------------------------------------------------------- a reservation that expires


@pytest.mark.usefixtures("server")
async def test_a_reservation_that_expires_shortens_the_deadline(
    world: World, client: trypact.Client, server: Serving
) -> None:
    @world.bank.participant.tcc("seat")
    def seat(call: Call[Any], connection: Connection) -> trypact.Reserved[int]:
        return trypact.Reserved(7, expires_in=0.3)

    seat.confirm(lambda call, connection: None)
    seat.cancel(lambda call, connection: None)
    await server.stop()
    async with world.bank.participant.serve(coordinator=world.endpoint, grace=0.1) as again:
        await again.wait_registered()
        # The other branch stays PENDING, so only the deadline can decide.
        with pytest.raises(trypact.TransactionCancelled) as cancelled:
            await client.execute("order", [tcc("bank.seat"), tcc("bank.charge")], timeout=600.0)

    assert cancelled.value.reason.startswith("the deadline passed")


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("told", [True, False], ids=["by the report", "by the answer"])
async def test_what_is_reserved_later_may_expire_too(
    world: World, client: trypact.Client, told: bool
) -> None:
    branches = [tcc("bank.charge"), tcc("bank.charge")]
    executed = asyncio.create_task(client.execute("order", branches, xid="17", timeout=600.0))
    await world.bank.until(lambda: len(world.bank.calls) >= 2)
    reserved = trypact.Reserved({"frozen": 30}, expires_in=0.3)
    async with trypact.Client(NOWHERE, patience=0.01) as nobody:
        reporter = world.bank.participant.reporter(client if told else nobody)
        await reporter.complete("17", "charge", "try", reserved)

    with pytest.raises(trypact.TransactionCancelled, match="the deadline passed"):
        await executed


async def test_only_a_try_is_completed_with_a_reservation(
    world: World, client: trypact.Client, reporter: AsyncReporter
) -> None:
    reserved = trypact.Reserved(1, expires_in=60)
    with pytest.raises(errors.ParticipantError, match="a report of confirm answered Reserved"):
        await client.report("17", "charge", "confirm", ok=reserved)
    executed = await begun(world, client)
    with world.bank.engine.begin() as connection:
        world.bank.fence.complete(connection, "17", "charge", "try", ok=reserved)
    reported = await client.report("17", "charge", "try", ok=reserved)
    assert reported.accepted or (await executed).confirmed
    assert (await executed).result("charge") == 1
