"""The edges of an environment: what is asked too early or too late, and handlers that wait."""

import asyncio
import logging
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import structlog
import trypact
from sqlalchemy.ext.asyncio import AsyncConnection
from trypact import message, tcc
from trypact.errors import CoordinatorUnavailable, InvalidRequest, OutcomeUnknown
from trypact.fence import AsyncSqlAlchemyFence, async_sqlite_engine
from trypact.testing import Environment, HandlerHangs, assert_atomic, hosted, island

from tests.testing.conftest import Warehouse

RESERVE = tcc("warehouse.reserve", {"pieces": 2})


async def test_who_asks_before_it_is_open_or_after_is_told_where_to_ask(
    warehouse: Warehouse,
) -> None:
    env = Environment([warehouse.participant])
    for _ in ("before", "after"):
        with pytest.raises(CoordinatorUnavailable, match="inside of its `async with` block"):
            await env.execute("order.submit", [RESERVE])
        with pytest.raises(CoordinatorUnavailable, match="not open"):
            await env.advance(minutes=1)
        with pytest.raises(CoordinatorUnavailable, match="not open"):
            env.crash()
        if not env.transactions():
            env.faults("warehouse.reserve", "try").lose_reply()
            async with env:
                await env.execute("order.submit", [RESERVE], xid="once")

    assert "its answer lost" in env.timeline("once")
    with pytest.raises(InvalidRequest, match="make another"):
        await env.__aenter__()


async def test_another_event_loop_is_told_to_open_its_own(env: Environment) -> None:
    with pytest.raises(CoordinatorUnavailable, match="opened in another event loop"):
        await asyncio.to_thread(lambda: asyncio.run(env.execute("order.submit", [RESERVE])))

    assert (await env.execute("order.submit", [RESERVE])).confirmed


async def test_the_coordinator_may_die_while_a_handler_runs(
    warehouse: Warehouse,
) -> None:
    async with Environment([warehouse.participant]) as env:
        warehouse.participant.message("strike")(lambda call, connection: env.crash())
        await env.restart()
        # It may die before the outcome is told, or after.
        with suppress(OutcomeUnknown):
            await env.execute("order.submit", [message("warehouse.strike"), RESERVE], xid="struck")
        await env.advance(seconds=1)
        assert not env.running

        await env.restart()
        await assert_atomic(env, warehouse.conserved)
        assert env.timeline("struck").count("Deliver") == 2


def test_two_participants_of_one_name_are_refused(warehouse: Warehouse) -> None:
    twin = trypact.Participant("warehouse", fence=warehouse.participant.fence)

    with pytest.raises(InvalidRequest, match="two are called 'warehouse'"):
        Environment([warehouse.participant, twin])


async def test_a_script_for_what_is_never_asked_is_refused(env: Environment) -> None:
    with pytest.raises(InvalidRequest, match=r"'deliver'; allowed: try, confirm, cancel$"):
        env.faults("warehouse.reserve", "deliver")
    with pytest.raises(InvalidRequest, match=r"'try'; allowed: deliver$"):
        env.faults("warehouse.tell", "try")
    with pytest.raises(InvalidRequest, match="visit: is 0"):
        env.crash_at("after-decision", visit=0)


async def test_the_script_of_an_operation_goes_before_that_of_its_action(
    env: Environment, warehouse: Warehouse
) -> None:
    env.faults("warehouse.reserve", "try").let_through(2)
    env.faults("warehouse.reserve").refuse_once("no")
    # A refused Confirm would be stuck for long, so it is left out.
    env.faults("warehouse.reserve", "confirm").let_through(2)
    for _ in range(2):
        assert (await env.execute("order.submit", [RESERVE])).confirmed

    with pytest.raises(trypact.TransactionCancelled, match="no"):
        await env.execute("order.submit", [RESERVE])


async def test_a_timer_outlives_its_coordinator_and_a_month_is_over_at_once(
    env: Environment, warehouse: Warehouse
) -> None:
    began = time.monotonic()
    monthly = message("warehouse.tell", delay=30 * 86_400 + 1_234)
    await env.execute("remind", [monthly], xid="monthly")
    await env.restart()

    await env.advance(days=30, seconds=1_233)
    assert warehouse.mail == []
    await env.advance(seconds=1)

    assert warehouse.mail == ["monthly"]
    # With a look at the journal in each virtual second it would be more than a minute.
    assert time.monotonic() - began < 20


class Office:
    """Two participants of coroutines; one of them opens transactions itself."""

    def __init__(self, folder: Path) -> None:
        self.engines = [async_sqlite_engine(folder / f"{name}.db") for name in ("desk", "post")]
        self.fences = [AsyncSqlAlchemyFence(engine) for engine in self.engines]
        self.desk, self.post = (
            trypact.Participant(name, fence=fence)
            for name, fence in zip(("desk", "post"), self.fences, strict=True)
        )
        self.sent: list[str] = []
        # What the desk does with a message.
        self.on_ask: Callable[[str], Awaitable[Any]]

        @self.desk.message("ask")
        async def ask(call: trypact.Call[Any], connection: AsyncConnection) -> None:
            await self.on_ask(call.xid)

        @self.post.message("send")
        async def send(call: trypact.Call[Any], connection: AsyncConnection) -> None:
            self.sent.append(call.request["to"])

    async def open(self) -> None:
        for fence in self.fences:
            await fence.create_tables()

    async def close(self) -> None:
        for engine in self.engines:
            await engine.dispose()


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    opened = Office(tmp_path)
    await opened.open()
    yield opened
    await opened.close()


async def stands_still(env: Environment) -> bool:
    """Whether no virtual time passes while the caller does something of its own."""
    before = env.elapsed
    for _ in range(50):
        await asyncio.sleep(0)
    return env.elapsed == before


async def test_a_handler_may_open_transactions_of_its_own(office: Office) -> None:
    async with Environment([office.desk, office.post]) as env:

        async def write_two(xid: str) -> None:
            letters = (
                env.execute("post", [message("post.send", {"to": to})], xid=f"{xid}-{to}")
                for to in ("ada", "bob")
            )
            await asyncio.gather(*letters)
            assert await stands_still(env)

        office.on_ask = write_two
        await env.execute("order.submit", [message("desk.ask")], xid="order")
        await assert_atomic(env)

        assert sorted(office.sent) == ["ada", "bob"]
        assert (await env.get("order-ada")).state is trypact.State.CONFIRMED


async def test_time_passes_until_a_handler_has_all_that_it_waits_for(office: Office) -> None:
    async with Environment([office.desk, office.post]) as env:
        waited = []

        async def wait_for_two(xid: str) -> None:
            began = env.elapsed
            await asyncio.gather(env.advance(seconds=1), env.advance(seconds=2))
            assert await stands_still(env)
            waited.append(env.elapsed - began)

        office.on_ask = wait_for_two
        await env.execute("order.submit", [message("desk.ask")], xid="order")
        await assert_atomic(env)

    assert waited == [2]


async def test_time_stands_still_again_for_a_handler_that_waits_no_longer(office: Office) -> None:
    async with Environment([office.desk, office.post]) as env:
        went_on = []

        async def wait_in_vain(xid: str) -> None:
            waits = asyncio.create_task(env.advance(seconds=1))
            await asyncio.sleep(0)
            waits.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waits
            assert await stands_still(env)
            await env.advance(seconds=1)
            assert await stands_still(env)
            went_on.append(xid)

        office.on_ask = wait_in_vain
        await env.execute("order.submit", [message("desk.ask")], xid="order")
        await assert_atomic(env)

    assert went_on == ["order"]


async def test_a_participant_that_serves_nothing_is_refused_and_nothing_stays_open(
    office: Office,
) -> None:
    structlog.reset_defaults()
    idle = trypact.Participant("idle", fence=office.fences[0])
    env = Environment([idle])

    with pytest.raises(InvalidRequest, match="participant idle is refused: actions: has 0"):
        await env.__aenter__()

    assert not structlog.is_configured()
    with pytest.raises(CoordinatorUnavailable, match="not open"):
        await env.advance(seconds=1)


async def test_a_participant_answers_later_and_reports(env: Environment) -> None:
    participant = env._participants["warehouse"]

    @participant.message("look")
    def look(call: trypact.Call[Any], connection: object) -> object:
        return trypact.PENDING

    await env.restart()
    await env.execute("order.submit", [message("warehouse.look")], xid="pending")
    await env.advance(minutes=1)
    assert [tx.xid for tx in env.unfinished()] == ["pending"]

    reporter = participant.reporter(env)
    await reporter.run("pending", "look", "deliver", lambda connection: None)
    await assert_atomic(env)


async def test_a_thread_that_hangs_keeps_nobody_from_being_told(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(island, "OUTSIDE_PATIENCE_S", 0.05)
    monkeypatch.setattr(hosted, "GRACE_S", 0.05)
    release = threading.Event()
    warehouse.participant.message("hang")(lambda call, connection: release.wait())

    with caplog.at_level(logging.WARNING), pytest.raises(HandlerHangs, match="Deliver #1 of hang"):
        async with Environment([warehouse.participant]) as env:
            await env.execute("order.submit", [message("warehouse.hang")])
            await env.settle()
    release.set()

    assert "a handler of warehouse hangs, and is left behind" in caplog.text


def test_without_its_extra_the_kit_says_what_to_install() -> None:
    check = (
        "import sys; sys.modules['msgspec'] = None\n"
        "try: import trypact.testing\n"
        "except ModuleNotFoundError as error: print(error)"
    )

    ran = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)

    assert "install it with pip install 'trypact[testing]'" in ran.stdout
