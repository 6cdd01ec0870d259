"""An environment: real coordinator, real participants, virtual time, faults on request."""

import asyncio
import contextlib
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import trypact
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from trypact import message, notice, saga, tcc
from trypact.fence import AsyncSqlAlchemyFence
from trypact.testing import Environment, HandlerHangs, NotAtomic, assert_atomic, island

from tests.testing.conftest import Warehouse, tell

RESERVE = tcc("warehouse.reserve", {"pieces": 2})


async def test_all_four_kinds_happen_in_one_transaction(
    env: Environment, warehouse: Warehouse
) -> None:
    deliveries = [message("warehouse.tell"), notice("warehouse.hint")]

    outcome = await env.execute(
        "order.submit", [RESERVE, saga("warehouse.move"), *deliveries], xid="all"
    )

    assert outcome.state is trypact.State.CONFIRMED
    assert outcome.result("reserve") in ({"left": 8}, {"left": 7})
    await assert_atomic(env, warehouse.conserved)
    assert warehouse.shelf == (7, 0, 3)
    assert warehouse.mail == ["all", "all"]


async def test_a_transaction_step_by_step_is_the_client_s_own(
    env: Environment, warehouse: Warehouse
) -> None:
    async with env.transaction("order.submit", xid="steps") as tx:
        assert await tx.try_("warehouse.reserve", {"pieces": 3}) == {"left": 7}
        assert warehouse.shelf == (7, 3, 0)
    with pytest.raises(RuntimeError, match="changed my mind"):
        async with env.transaction("order.submit") as tx:
            await tx.try_("warehouse.reserve", {"pieces": 3})
            raise RuntimeError("changed my mind")

    assert (await env.get("steps")).state is trypact.State.CONFIRMED
    await assert_atomic(env, warehouse.conserved)
    assert warehouse.shelf == (7, 0, 3)


async def test_half_an_hour_passes_at_once_and_brings_what_is_due(
    env: Environment, warehouse: Warehouse
) -> None:
    began = time.monotonic()
    await env.execute("order.submit", [RESERVE, message("warehouse.tell", delay=1800)], xid="later")

    await env.advance(minutes=29)
    assert warehouse.mail == []
    # To the microsecond, and all that comes with it.
    await env.advance(minutes=1)

    assert warehouse.mail == ["later"]
    assert env.elapsed == 1800
    assert time.monotonic() - began < 30


async def test_no_time_passes_while_nobody_waits(env: Environment) -> None:
    await env.execute("order.submit", [RESERVE])
    before = env.elapsed
    for _ in range(100):
        await asyncio.sleep(0)

    assert env.elapsed == before


async def test_a_lost_reply_is_asked_for_again_and_happens_once(
    env: Environment, warehouse: Warehouse
) -> None:
    env.faults("warehouse.reserve").lose_reply(2)

    await env.execute("order.submit", [RESERVE], xid="lost")

    await assert_atomic(env, warehouse.conserved)
    assert warehouse.shelf == (8, 0, 2)
    assert env.timeline("lost").count("its answer lost") == 2


async def test_a_script_goes_step_by_step_and_then_for_ever(
    env: Environment, warehouse: Warehouse
) -> None:
    env.faults("warehouse.reserve", "try").refuse_once("not now").let_through().then_hang()

    with pytest.raises(trypact.TransactionCancelled, match="not now"):
        await env.execute("order.submit", [RESERVE])
    assert (await env.execute("order.submit", [RESERVE])).confirmed
    with pytest.raises(trypact.TransactionCancelled, match="deadline"):
        await env.execute("order.submit", [RESERVE], timeout=20)

    assert warehouse.shelf == (8, 0, 2)
    env.heal()
    assert (await env.execute("order.submit", [RESERVE])).confirmed
    await assert_atomic(env, warehouse.conserved)


@pytest.mark.parametrize(
    "fault", ["fail", "hang", "lose_reply", "lose_commit", "duplicate", "retry_later"]
)
@pytest.mark.parametrize("operation", ["try", "confirm"])
async def test_what_goes_wrong_twice_ends_well(
    env: Environment, warehouse: Warehouse, fault: str, operation: str
) -> None:
    getattr(env.faults("warehouse.reserve", operation), fault)(times=2)

    assert (await env.execute("order.submit", [RESERVE])).confirmed

    await assert_atomic(env, warehouse.conserved)
    assert warehouse.shelf == (8, 0, 2)


async def test_a_handler_whose_commit_is_lost_has_run_and_only_its_own_database_forgets_it(
    warehouse: Warehouse,
) -> None:
    receipts: list[str] = []

    def send(call: trypact.Call[Any], connection: Connection) -> None:
        tell(call, connection)
        receipts.append(call.xid)

    warehouse.participant.message("send", batch=False)(send)
    async with Environment([warehouse.participant]) as env:
        env.faults("warehouse.send").lose_commit()

        await env.execute("order.submit", [message("warehouse.send")], xid="r")
        await assert_atomic(env)

        assert receipts == ["r", "r"]
        assert warehouse.mail == ["r"]
        assert "Deliver #1 of send (warehouse.send) is run, and not committed" in env.timeline()


async def test_a_try_that_comes_after_its_time_does_not_run(
    env: Environment, warehouse: Warehouse
) -> None:
    env.faults("warehouse.reserve", "try").delay(10).then_hang()

    with pytest.raises(trypact.TransactionCancelled, match="deadline"):
        await env.execute("order.submit", [RESERVE], xid="late")

    assert "is answered nothing that counts: ABORTED" in env.timeline("late")
    await assert_atomic(env, warehouse.conserved)
    assert warehouse.shelf == (10, 0, 0)


async def test_a_try_that_comes_after_its_cancel_is_refused(
    env: Environment, warehouse: Warehouse
) -> None:
    env.faults("warehouse.reserve", "try").delay(3600)
    with pytest.raises(trypact.TransactionCancelled, match="deadline"):
        await env.execute("order.submit", [RESERVE], xid="late", timeout=4)

    await env.advance(hours=2)

    assert "REFUSED: ALREADY_CANCELLED" in env.timeline("late")
    await assert_atomic(env, warehouse.conserved)
    assert warehouse.shelf == (10, 0, 0)


async def test_pending_is_asked_again(env: Environment, warehouse: Warehouse) -> None:
    env.faults("warehouse.reserve").pending(3)

    assert (await env.execute("order.submit", [RESERVE])).confirmed

    assert env.elapsed > 10


@pytest.mark.parametrize("moment", ["begin", "decision", "finish"])
@pytest.mark.parametrize("side", ["before", "after"])
async def test_a_crash_at_each_named_place_leaves_all_or_nothing(
    env: Environment, warehouse: Warehouse, side: str, moment: str
) -> None:
    env.crash_at(f"{side}-{moment}")
    # Where only the finish is not durable yet, the answer is known already.
    with contextlib.suppress(trypact.OutcomeUnknown):
        await env.execute("order.submit", [RESERVE], xid="crash", timeout=300)
        await env.advance(seconds=1)
    assert not env.running

    await env.restart()

    again = await env.execute("order.submit", [RESERVE], xid="crash", timeout=300)
    assert again.confirmed
    await assert_atomic(env, warehouse.conserved)
    assert warehouse.shelf == (8, 0, 2)


async def test_a_decision_outlives_the_coordinator(env: Environment, warehouse: Warehouse) -> None:
    env.crash_at("after-decision")
    with pytest.raises(trypact.OutcomeUnknown):
        await env.execute("order.submit", [RESERVE], xid="decided")
    assert warehouse.shelf == (8, 2, 0)

    await env.restart()
    outcome = await env.wait("decided")

    assert outcome.state is trypact.State.CONFIRMED
    assert warehouse.shelf == (8, 0, 2)


async def test_a_dead_coordinator_is_unavailable_and_says_how_to_start_it(
    env: Environment,
) -> None:
    env.crash()

    with pytest.raises(trypact.CoordinatorUnavailable, match="dead"):
        await env.get("any")
    with pytest.raises(trypact.CoordinatorUnavailable, match=r"env\.restart\(\)"):
        await env.settle()


async def test_async_handlers_over_an_async_database_take_part(tmp_path: Path) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/async.db")
    fence = AsyncSqlAlchemyFence(engine)
    await fence.create_tables()
    ran = []
    inbox = trypact.Participant("inbox", fence=fence)

    @inbox.message("put")
    async def put(call: trypact.Call[dict], connection: AsyncConnection) -> None:
        await asyncio.sleep(0)
        ran.append(call.request["n"])

    async with Environment([inbox]) as env:
        for n in range(3):
            await env.execute("post", [message("inbox.put", {"n": n})])
        await assert_atomic(env)
    await engine.dispose()

    assert ran == [0, 1, 2]


async def test_the_same_seed_is_the_same_history(tmp_path: Path) -> None:
    async def history(name: str) -> str:
        warehouse = Warehouse(trypact.fence.sqlite_engine(tmp_path / name))
        async with Environment([warehouse.participant], seed=7) as env:
            env.faults("warehouse.move").lose_reply().duplicate()
            orders = (
                env.execute("order.submit", [RESERVE, saga("warehouse.move")], xid=f"x{n}")
                for n in range(3)
            )
            await asyncio.gather(*orders)
            await env.settle()
            warehouse.engine.dispose()
            return env.history.trace()

    assert await history("one") == await history("two")


async def test_what_is_not_done_fails_with_the_timeline(env: Environment) -> None:
    env.faults("warehouse.reserve", "confirm").then_hang()
    await env.execute("order.submit", [RESERVE], xid="hangs", wait="decided")

    with pytest.raises(NotAtomic) as raised:
        await assert_atomic(env)

    said = str(raised.value)
    assert said.startswith("transaction hangs is not done after 24 virtual hours")
    assert "Confirm #1 of reserve (warehouse.reserve) is lost by a fault" in said
    assert "journal: decided confirm" in said


async def test_a_participant_that_keeps_what_it_should_release_is_found(
    env: Environment, warehouse: Warehouse
) -> None:
    env.faults("warehouse.move").refuse_once()
    with pytest.raises(trypact.TransactionCancelled):
        await env.execute("order.submit", [RESERVE, saga("warehouse.move", after=["reserve"])])
    with warehouse.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE shelf SET free = free - 1")

    with pytest.raises(NotAtomic, match="conserved does not hold"):
        await assert_atomic(env, warehouse.conserved)


async def test_a_handler_that_never_ends_is_named(
    env: Environment, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(island, "OUTSIDE_PATIENCE_S", 0.05)
    release = asyncio.Event()
    loop = asyncio.get_running_loop()

    @warehouse.participant.message("hang")
    def hang(call: object, connection: object) -> None:
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result()

    await env.restart()
    await env.execute("order.submit", [message("warehouse.hang")])
    with pytest.raises(HandlerHangs, match=r"Deliver #1 of hang \(warehouse\.hang\)"):
        await env.settle()
    release.set()


async def test_a_misspelt_action_or_place_says_what_there_is(env: Environment) -> None:
    with pytest.raises(trypact.errors.InvalidRequest, match=r"allowed: warehouse\.reserve"):
        env.faults("warehouse.reserv")
    with pytest.raises(trypact.errors.InvalidRequest, match="after-decision"):
        env.crash_at("after-lunch")
    with pytest.raises(trypact.errors.InvalidRequest, match="at least 1"):
        env.faults("warehouse.reserve").fail(0)
    with pytest.raises(trypact.errors.InvalidRequest, match="at least 0"):
        await env.advance(seconds=-1)


async def test_the_coordinator_refuses_at_its_door_as_ever(env: Environment) -> None:
    with pytest.raises(trypact.errors.UnknownAction, match="nothing"):
        await env.execute("order.submit", [tcc("warehouse.nothing")])
    with pytest.raises(trypact.errors.InvalidRequest, match="name"):
        await env.execute("x" * 1000, [RESERVE])


def test_importing_the_sdk_does_not_import_the_kit() -> None:
    check = (
        "import sys, trypact; print([m for m in sys.modules if m.startswith('trypact.testing')])"
    )

    ran = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)

    assert ran.stdout == "[]\n"
