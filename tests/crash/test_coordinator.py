"""A coordinator dies by kill -9 at each named point of the protocol. Nothing is lost or doubled.

The initiator is not told anything: it asks again until another coordinator, started on the same
journal at the same address, answers.
"""

import asyncio
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import trypact
from trypact.ids import new_xid
from trypact.v1 import admin_pb2, admin_pb2_grpc
from trypact_coordinator.runtime.failpoints import Failpoint

from tests.crash.conftest import Coordinators
from tests.crash.vault import TOTAL, Vault, participant_of
from tests.servers.process import NotSaid

KILLED = -9
CONFIRMED = [
    ("charge", "try"),
    ("hint", "deliver"),
    ("moved#1", "deliver"),
    ("ship", "try"),
    ("stamp", "try"),
    ("take", "confirm"),
    ("take", "try"),
    ("take-2", "confirm"),
    ("take-2", "try"),
    ("tell", "deliver"),
]


def mixed(charge: int = 6) -> list[trypact.Branch]:
    """A transaction of all kinds, with budgets, a pivot, a step after it, and topics."""
    before = ["take", "take-2", "ship"]
    return [
        trypact.tcc("vault.take", {"amount": 3}, attempts=100),
        trypact.tcc("vault.take", {"amount": 4}),
        trypact.saga("vault.ship", {"amount": 5}, retry_for=60.0),
        trypact.saga("vault.ship", {"amount": charge}, id="charge", after=before, pivot=True),
        trypact.saga("vault.ship", {"amount": 1}, id="stamp", after=["charge"]),
        trypact.message("vault.tell", {}, after=["stamp"]),
        trypact.message(topic="vault.moved", payload={}, after=["stamp"]),
        trypact.message(topic="vault.kept", payload={}, on="cancel"),
        trypact.notice("vault.hint", {}, after=["tell"], attempts=100),
    ]


@pytest.mark.parametrize("failpoint", Failpoint, ids=lambda failpoint: failpoint.value)
async def test_a_confirmed_transaction_happens_once_and_wholly_after_kill_nine(
    failpoint: Failpoint, coordinators: Coordinators, tmp_path: Path
) -> None:
    vault, xid = Vault(tmp_path / "vault.db"), new_xid()
    doomed = await coordinators.start(failpoint.value)
    serving = participant_of(vault).serve(coordinator=coordinators.address, instance="vault-1")
    async with serving, trypact.Client(coordinators.address) as client:
        await serving.wait_registered()
        execute = asyncio.create_task(client.execute("crash", mixed(), xid=xid))
        assert await asyncio.to_thread(doomed.wait) == KILLED, "the failpoint was not hit"
        await coordinators.start()

        outcome = await execute
        for delivery in ("hint", "moved#1"):
            await asyncio.to_thread(vault.wait_for, xid, delivery, "deliver")

    assert outcome.final
    assert outcome.confirmed
    assert vault.effects_of(xid) == CONFIRMED
    assert vault.balance() == (TOTAL - 19, 0, 19)


@pytest.mark.parametrize("failpoint", Failpoint, ids=lambda failpoint: failpoint.value)
async def test_a_refused_transaction_leaves_nothing_behind_after_kill_nine(
    failpoint: Failpoint, coordinators: Coordinators, tmp_path: Path
) -> None:
    vault, xid = Vault(tmp_path / "vault.db"), new_xid()
    branches = mixed(charge=TOTAL + 1)
    doomed = await coordinators.start(failpoint.value)
    serving = participant_of(vault).serve(coordinator=coordinators.address, instance="vault-1")
    async with serving, trypact.Client(coordinators.address) as client:
        await serving.wait_registered()
        execute = asyncio.create_task(client.execute("crash", branches, xid=xid))
        assert await asyncio.to_thread(doomed.wait) == KILLED, "the failpoint was not hit"
        await coordinators.start()

        with pytest.raises(trypact.TransactionCancelled) as cancelled:
            await execute
        await asyncio.to_thread(vault.wait_for, xid, "kept#1", "deliver")

    assert cancelled.value.outcome.final
    assert cancelled.value.refused_branch_id == "charge"
    assert vault.balance() == (TOTAL, 0, 0)
    undone = [(one, what) for one in ("take", "take-2", "ship") for what in ("try", "cancel")]
    assert vault.effects_of(xid) == sorted([*undone, ("kept#1", "deliver")])


async def test_a_delayed_message_is_a_timer_that_survives_kill_nine(
    coordinators: Coordinators, tmp_path: Path
) -> None:
    """The order is closed when its time is up, by a coordinator that never saw it begin."""
    vault, xid = Vault(tmp_path / "vault.db"), new_xid()
    branches = [
        trypact.tcc("vault.take", {"amount": 1}),
        trypact.message("vault.tell", {}, id="close", delay=1.5),
    ]
    doomed = await coordinators.start(Failpoint.AFTER_FINISH.value)
    serving = participant_of(vault).serve(coordinator=coordinators.address, instance="vault-1")
    async with serving, trypact.Client(coordinators.address) as client:
        await serving.wait_registered()
        execute = asyncio.create_task(client.execute("order", branches, xid=xid))
        assert await asyncio.to_thread(doomed.wait) == KILLED, "the failpoint was not hit"
        assert ("close", "deliver") not in vault.effects_of(xid)
        await coordinators.start()

        assert (await execute).confirmed
        await asyncio.to_thread(vault.wait_for, xid, "close", "deliver")
        decided, delivered = await _instants(coordinators.address, xid)

    assert delivered - decided >= 1_500_000
    assert vault.effects_of(xid) == [("close", "deliver"), ("take", "confirm"), ("take", "try")]


async def _instants(address: str, xid: str) -> tuple[int, int]:
    """When it was decided, and when its delivery was acknowledged, as its timeline says."""
    async with grpc.aio.insecure_channel(address) as channel:
        show: Any = admin_pb2_grpc.AdminServiceStub(channel).ShowTransaction
        at: dict[str, int] = {}
        while "deliver ok" not in at:
            shown = await show(admin_pb2.ShowTransactionRequest(xid=xid))
            at = {line.event: line.at.ToMicroseconds() for line in shown.transaction.timeline}
    return at["decided confirm"], at["deliver ok"]


async def test_a_hundred_transactions_in_flight_all_end_after_kill_nine(
    coordinators: Coordinators, tmp_path: Path
) -> None:
    vault = Vault(tmp_path / "vault.db")
    xids = [f"order-{number}" for number in range(100)]
    # Every fourth one wants more than there is.
    amounts = [TOTAL + 1 if number % 4 == 3 else 2 for number in range(100)]
    doomed = await coordinators.start(f"{Failpoint.AFTER_DECISION.value}:20")
    serving = participant_of(vault).serve(coordinator=coordinators.address, instance="vault-1")
    async with serving, trypact.Client(coordinators.address) as client:
        await serving.wait_registered()
        orders = [
            asyncio.create_task(
                client.execute(
                    "crash",
                    [trypact.tcc("vault.take", {"amount": amount}), trypact.saga("vault.ship", {})],
                    xid=xid,
                )
            )
            for xid, amount in zip(xids, amounts, strict=True)
        ]
        assert await asyncio.to_thread(doomed.wait) == KILLED
        await coordinators.start()

        ended = await asyncio.gather(*orders, return_exceptions=True)
        outcomes = [await client.get(xid) for xid in xids]

    ends = (trypact.Outcome, trypact.TransactionCancelled)
    assert [one for one in ended if not isinstance(one, ends)] == []
    assert [outcome.final for outcome in outcomes] == [True] * 100
    assert [outcome.confirmed for outcome in outcomes] == [amount == 2 for amount in amounts]
    told = [isinstance(one, trypact.Outcome) for one in ended]
    assert told == [outcome.confirmed for outcome in outcomes]
    assert vault.balance() == (TOTAL - 75 * 3, 0, 75 * 3)


async def test_a_decision_that_was_durable_is_told_by_the_next_coordinator(
    coordinators: Coordinators, tmp_path: Path
) -> None:
    vault, xid = Vault(tmp_path / "vault.db"), new_xid()
    doomed = await coordinators.start(Failpoint.AFTER_DECISION.value)
    serving = participant_of(vault).serve(coordinator=coordinators.address, instance="vault-1")
    async with serving, trypact.Client(coordinators.address) as client:
        await serving.wait_registered()
        execute = asyncio.create_task(client.execute("crash", mixed(), xid=xid))
        await asyncio.to_thread(doomed.wait)
        # Decided, and nobody was told: no Confirm has left.
        assert not [one for one in vault.effects_of(xid) if one[1] == "confirm"]
        await coordinators.start()

        standing = await client.decision(xid)
        await execute

    assert standing.decision is trypact.Decision.CONFIRM


async def test_a_second_coordinator_on_the_journal_is_refused_and_harms_nobody(
    coordinators: Coordinators, tmp_path: Path
) -> None:
    vault, xid = Vault(tmp_path / "vault.db"), new_xid()
    await coordinators.start()
    intruder = Coordinators(coordinators.journal)
    serving = participant_of(vault).serve(coordinator=coordinators.address, instance="vault-1")
    async with serving, trypact.Client(coordinators.address) as client:
        await serving.wait_registered()

        with pytest.raises(NotSaid, match="owned by another coordinator"):
            await intruder.start()
        outcome = await client.execute("crash", mixed(), xid=xid)

    assert outcome.confirmed
