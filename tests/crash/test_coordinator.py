"""A coordinator dies by kill -9 at each named point of the protocol. Nothing is lost or doubled.

The initiator is not told anything: it asks again until another coordinator, started on the same
journal at the same address, answers.
"""

import asyncio
from pathlib import Path

import pytest
import trypact
from trypact.ids import new_xid
from trypact_coordinator.runtime.failpoints import Failpoint

from tests.crash.conftest import Coordinators
from tests.crash.vault import TOTAL, Vault, participant_of
from tests.servers.process import NotSaid

KILLED = -9
CONFIRMED = [
    ("ship", "try"),
    ("take", "confirm"),
    ("take", "try"),
    ("take-2", "confirm"),
    ("take-2", "try"),
    ("tell", "deliver"),
]


def mixed() -> list[trypact.Branch]:
    """A transaction with a branch of each kind that must not be lost."""
    return [
        trypact.tcc("vault.take", {"amount": 3}),
        trypact.tcc("vault.take", {"amount": 4}),
        trypact.saga("vault.ship", {"amount": 5}),
        trypact.message("vault.tell", {}, after=["ship"]),
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
        await asyncio.to_thread(vault.wait_for, xid, "tell", "deliver")

    assert outcome.final
    assert outcome.confirmed
    assert vault.effects_of(xid) == CONFIRMED
    assert vault.balance() == (TOTAL - 12, 0, 12)


@pytest.mark.parametrize("failpoint", Failpoint, ids=lambda failpoint: failpoint.value)
async def test_a_refused_transaction_leaves_nothing_behind_after_kill_nine(
    failpoint: Failpoint, coordinators: Coordinators, tmp_path: Path
) -> None:
    vault, xid = Vault(tmp_path / "vault.db"), new_xid()
    branches = [*mixed(), trypact.tcc("vault.take", {"amount": TOTAL + 1}, after=["ship"])]
    doomed = await coordinators.start(failpoint.value)
    serving = participant_of(vault).serve(coordinator=coordinators.address, instance="vault-1")
    async with serving, trypact.Client(coordinators.address) as client:
        await serving.wait_registered()
        execute = asyncio.create_task(client.execute("crash", branches, xid=xid))
        assert await asyncio.to_thread(doomed.wait) == KILLED, "the failpoint was not hit"
        await coordinators.start()

        with pytest.raises(trypact.TransactionCancelled) as cancelled:
            await execute

    assert cancelled.value.outcome.final
    assert cancelled.value.refused_branch_id == "take-3"
    assert vault.balance() == (TOTAL, 0, 0)
    effects = vault.effects_of(xid)
    tried = [branch_id for branch_id, operation in effects if operation == "try"]
    assert effects == sorted((one, what) for one in tried for what in ("try", "cancel"))


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
