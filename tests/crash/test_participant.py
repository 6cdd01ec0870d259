"""A participant dies by kill -9 inside its handlers and right after its commits."""

import asyncio
import sys
from pathlib import Path

import pytest
import trypact
from trypact.ids import new_xid

from tests.crash.conftest import Coordinators
from tests.crash.vault import TOTAL, Vault
from tests.servers.process import ServerProcess
from tests.tidy.repository import ROOT

KILLED = -9


def start_vault(database: Path, coordinator: str, listen: str) -> ServerProcess:
    command = [sys.executable, "-m", "tests.crash.vault", database, coordinator, listen]
    process = ServerProcess(command, folder=ROOT)
    process.wait_for("is registered with the coordinator")
    return process


@pytest.mark.parametrize("journal", ["sqlite"], indirect=True)
@pytest.mark.parametrize("die", ["try", "after try", "confirm", "after confirm"])
async def test_a_confirmed_transaction_happens_once_and_wholly(
    die: str, coordinators: Coordinators, tmp_path: Path
) -> None:
    database, xid = tmp_path / "vault.db", new_xid()
    await coordinators.start()
    doomed = await asyncio.to_thread(
        start_vault, database, coordinators.address, f"unix:{tmp_path}/vault.sock"
    )
    branches = [
        trypact.tcc("vault.take", {"amount": 7, "die": die}),
        trypact.tcc("vault.take", {"amount": 1}),
    ]
    async with trypact.Client(coordinators.address) as client:
        execute = asyncio.create_task(client.execute("crash", branches, xid=xid))
        assert await asyncio.to_thread(doomed.wait) == KILLED, "it did not die"
        again = await asyncio.to_thread(
            start_vault, database, coordinators.address, f"unix:{tmp_path}/vault.sock"
        )
        outcome = await execute
    again.kill()

    vault = Vault(database)
    assert outcome.confirmed
    assert vault.balance() == (TOTAL - 8, 0, 8)
    assert vault.effects_of(xid) == [
        ("take", "confirm"),
        ("take", "try"),
        ("take-2", "confirm"),
        ("take-2", "try"),
    ]


@pytest.mark.parametrize("journal", ["sqlite"], indirect=True)
@pytest.mark.parametrize("die", ["cancel", "after cancel"])
async def test_a_cancelled_transaction_gives_everything_back_once(
    die: str, coordinators: Coordinators, tmp_path: Path
) -> None:
    database, xid = tmp_path / "vault.db", new_xid()
    await coordinators.start()
    doomed = await asyncio.to_thread(
        start_vault, database, coordinators.address, f"unix:{tmp_path}/vault.sock"
    )
    branches = [
        trypact.tcc("vault.take", {"amount": 7, "die": die}),
        trypact.tcc("vault.take", {"amount": TOTAL}, after=["take"]),
    ]
    async with trypact.Client(coordinators.address) as client:
        execute = asyncio.create_task(client.execute("crash", branches, xid=xid))
        assert await asyncio.to_thread(doomed.wait) == KILLED, "it did not die"
        again = await asyncio.to_thread(
            start_vault, database, coordinators.address, f"unix:{tmp_path}/vault.sock"
        )
        with pytest.raises(trypact.TransactionCancelled) as cancelled:
            await execute
    again.kill()

    vault = Vault(database)
    assert cancelled.value.refused_branch_id == "take-2"
    assert vault.balance() == (TOTAL, 0, 0)
    assert vault.effects_of(xid) == [("take", "cancel"), ("take", "try")]
