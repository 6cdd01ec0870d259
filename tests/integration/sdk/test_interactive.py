"""Interactive transactions against a real coordinator and a real participant."""

import asyncio
import logging

import pytest
import trypact
from trypact import errors
from trypact.kinds import BranchState, Decision, State

from tests.integration.sdk.conftest import World
from tests.integration.sdk.test_client import Frozen, freeze


async def test_leaving_the_block_confirms_what_was_tried(
    world: World, client: trypact.Client
) -> None:
    async with client.transaction("order.submit", xid="17") as tx:
        money = await tx.try_("bank.freeze", freeze(30), returns=Frozen)
        again = await tx.try_("bank.freeze", freeze(5))
        await tx.try_("bank.pay", freeze(1), kind="saga")
        tx.message("bank.mail", {"frozen": money.frozen})
        tx.notice("bank.mail", {"sorry": True}, on="cancel")
    await world.bank.until(lambda: ("deliver", "mail") in world.bank.calls)

    assert (money, again) == (Frozen(30), {"frozen": 5})
    assert tx.outcome.state is State.CONFIRMED
    assert [b.id for b in tx.outcome.branches] == ["freeze", "freeze-2", "pay", "mail", "mail-2"]
    assert tx.outcome.branch("mail-2").state is BranchState.NOT_NEEDED
    assert world.bank.account == (64, 1)


async def test_tries_may_run_at_once(world: World, client: trypact.Client) -> None:
    async with client.transaction("order") as tx:
        await asyncio.gather(*(tx.try_("bank.freeze", freeze(i)) for i in range(1, 5)))

    assert world.bank.account == (90, 0)


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
async def test_a_try_that_nobody_awaits_keeps_its_block_from_confirming(
    world: World, client: trypact.Client
) -> None:
    with pytest.raises(errors.TryUnsettled, match="Try b was never awaited"):
        async with client.transaction("order", xid="17") as tx:
            await tx.try_("bank.freeze", freeze(30), id="a")
            tx.try_("bank.freeze", freeze(30), id="b")  # type: ignore[unused-coroutine]
    assert (await client.wait("17")).cancelled
    assert world.bank.account == (100, 0)


async def test_a_task_that_tries_beyond_its_block_keeps_it_from_confirming(
    world: World, client: trypact.Client
) -> None:
    with pytest.raises(errors.TryUnsettled, match="Try b was never awaited"):
        async with client.transaction("order", xid="17") as tx:
            await tx.try_("bank.freeze", freeze(30), id="a")
            beyond = asyncio.create_task(tx.try_("bank.freeze", freeze(30), id="b"))
    with pytest.raises(errors.InvalidRequest, match="its block is left"):
        await beyond
    with pytest.raises(errors.TryUnsettled, match="Try b was never awaited"):
        async with client.transaction("order", xid="18") as tx:
            held = asyncio.create_task(tx.try_("bank.freeze", freeze(30, hold=True), id="b"))
            await asyncio.to_thread(world.bank.holding.wait)
    world.bank.release.set()
    with pytest.raises(trypact.TransactionCancelled):
        await held
    assert (await client.wait("17")).cancelled
    assert (await client.wait("18")).cancelled
    assert world.bank.account == (100, 0)


async def test_a_refused_branch_raises_and_rolls_back(world: World, client: trypact.Client) -> None:
    with pytest.raises(trypact.BranchRefused) as caught:
        async with client.transaction("order", xid="17") as tx:
            await tx.try_("bank.freeze", freeze(30))
            await tx.try_("bank.freeze", freeze(500), id="too-much")

    assert (caught.value.branch_id, caught.value.reason) == ("too-much", "TOO_LITTLE: 500 wanted")
    assert (await client.wait("17")).refused_branch_id == "too-much"
    assert world.bank.account == (100, 0)


async def test_what_follows_a_cancel_is_delivered_though_a_refusal_decides_first(
    world: World, client: trypact.Client
) -> None:
    with pytest.raises(trypact.BranchRefused):
        async with client.transaction("order", xid="17") as tx:
            tx.message("bank.mail", {"sorry": True}, on="cancel", id="sorry")
            tx.notice("bank.mail", {"any": True}, on="any", id="either", after=["too-much"])
            tx.message("bank.mail", {"glad": True}, id="glad")
            await tx.try_("bank.freeze", freeze(500), id="too-much")

    await world.bank.until(lambda: ("deliver", "sorry") in world.bank.calls)
    await world.bank.until(lambda: ("deliver", "either") in world.bank.calls)
    assert ("deliver", "glad") not in world.bank.calls


async def test_an_exception_inside_the_block_rolls_back(
    world: World, client: trypact.Client
) -> None:
    with pytest.raises(KeyError, match="price"):
        async with client.transaction("order", xid="17") as tx:
            await tx.try_("bank.freeze", freeze(30))
            tx.notice("bank.mail", {"sorry": True}, on="cancel", id="sorry")
            raise KeyError("price")

    outcome = await client.wait("17")
    await world.bank.until(lambda: ("deliver", "sorry") in world.bank.calls)
    assert tx.outcome.cancelled
    assert outcome.reason == "KeyError: 'price'"
    assert world.bank.account == (100, 0)


async def test_deliveries_that_cannot_be_do_not_keep_a_rollback_from_happening(
    world: World, client: trypact.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(KeyError):
        async with client.transaction("order", xid="17") as tx:
            await tx.try_("bank.freeze", freeze(30))
            tx.notice("nobody.mail", on="any")
            raise KeyError("price")

    assert (await client.wait("17")).cancelled
    assert "drops its deliveries" in caplog.text


async def test_a_cancelled_task_rolls_back_before_it_ends(
    world: World, client: trypact.Client
) -> None:
    inside = asyncio.Event()

    async def order() -> None:
        async with client.transaction("order", xid="17") as tx:
            await tx.try_("bank.freeze", freeze(30))
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(order())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    outcome = await client.wait("17")
    assert outcome.cancelled
    assert outcome.reason == "the initiator's task was cancelled"
    assert world.bank.account == (100, 0)


async def test_a_task_cancelled_twice_still_rolls_back(
    world: World, client: trypact.Client
) -> None:
    inside = asyncio.Event()

    async def order() -> None:
        async with client.transaction("order", xid="17") as tx:
            await tx.try_("bank.freeze", freeze(30))
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(order())
    await inside.wait()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await client.close()

    async with trypact.Client(world.endpoint) as other:
        assert (await other.wait("17")).cancelled
    assert world.bank.account == (100, 0)


async def test_a_task_cancelled_during_a_try_leaves_nothing_behind(
    world: World, client: trypact.Client
) -> None:
    async def order() -> None:
        async with client.transaction("order", xid="17") as tx:
            await tx.try_("bank.freeze", freeze(30, hold=True))

    task = asyncio.create_task(order())
    await asyncio.to_thread(world.bank.holding.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    world.bank.release.set()

    assert (await client.wait("17")).cancelled
    assert world.bank.account == (100, 0)


async def test_a_block_that_asks_for_nothing_calls_nothing(client: trypact.Client) -> None:
    async with client.transaction("order", xid="17") as tx:
        pass

    with pytest.raises(errors.NotDecided):
        _ = tx.outcome
    assert (await client.decision("17")).decision is Decision.UNKNOWN


async def test_what_is_asked_outside_of_the_block_is_refused_since_nobody_would_decide_it(
    world: World, client: trypact.Client
) -> None:
    tx = client.transaction("order", xid="17")
    with pytest.raises(errors.InvalidRequest, match="17: its block is not entered yet"):
        await tx.try_("bank.freeze", freeze(1))
    async with tx:
        pass
    with pytest.raises(errors.InvalidRequest, match=r"left; allowed: bank\.freeze inside"):
        await tx.try_("bank.freeze", freeze(1))
    with pytest.raises(errors.InvalidRequest, match="its block is left"):
        tx.message("bank.mail")
    with pytest.raises(errors.InvalidRequest, match="entered before; allowed: once"):
        async with tx:
            pass

    assert (await client.decision("17")).decision is Decision.UNKNOWN
    assert world.bank.account == (100, 0)


async def test_a_block_with_deliveries_alone_is_a_transaction(
    world: World, client: trypact.Client
) -> None:
    async with client.transaction("order") as tx:
        tx.message("bank.mail", {"hello": 1}, id="hello")
    await world.bank.until(lambda: ("deliver", "hello") in world.bank.calls)

    assert tx.outcome.confirmed


async def test_somebody_elses_transaction_is_left_alone(
    world: World, client: trypact.Client
) -> None:
    async with client.transaction("order", xid="17") as tx:
        await tx.try_("bank.freeze", freeze(30))
        with pytest.raises(errors.XidInUse):
            async with client.transaction("order", xid="17") as other:
                await other.try_("bank.freeze", freeze(1), id="mine")

    assert tx.outcome.confirmed
    assert world.bank.account == (70, 0)


async def test_a_transaction_whose_deadline_passed_is_told_as_cancelled(
    world: World, client: trypact.Client
) -> None:
    with pytest.raises(trypact.TransactionCancelled) as caught:
        async with client.transaction("order", xid="17", timeout=0.05) as tx:
            await tx.try_("bank.freeze", freeze(30))
            await world.bank.until(lambda: ("cancel", "freeze") in world.bank.calls)

    assert "deadline" in caught.value.reason
    assert world.bank.account == (100, 0)


async def test_a_swallowed_refusal_cannot_be_confirmed(
    world: World, client: trypact.Client
) -> None:
    with pytest.raises(errors.TryUnsettled, match="too-much"):
        async with client.transaction("order", xid="17") as tx:
            await tx.try_("bank.freeze", freeze(30))
            with pytest.raises(trypact.BranchRefused):
                await tx.try_("bank.freeze", freeze(500), id="too-much")

    assert (await client.wait("17")).cancelled
    assert world.bank.account == (100, 0)


async def test_a_commit_nobody_answers_is_an_unknown_outcome(world: World) -> None:
    async with trypact.Client(world.endpoint, patience=0.3) as client:
        with pytest.raises(trypact.OutcomeUnknown) as caught:
            async with client.transaction("order", xid="17") as tx:
                await tx.try_("bank.freeze", freeze(30))
                await world.stop()
    await world.start()

    assert caught.value.xid == "17"
    async with trypact.Client(world.endpoint) as other:
        assert (await other.decision("17")).decision in (Decision.UNDECIDED, Decision.CONFIRM)


async def test_a_rollback_nobody_answers_is_logged_and_the_error_stays(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trypact._interactive.ROLLBACK_PATIENCE_S", 0.1)
    async with trypact.Client(world.endpoint) as client:
        with pytest.raises(KeyError), caplog.at_level(logging.WARNING, "trypact.client"):
            async with client.transaction("order", xid="17") as tx:
                await tx.try_("bank.freeze", freeze(30))
                await world.stop()
                raise KeyError("price")

    assert "could not be rolled back" in caplog.text
