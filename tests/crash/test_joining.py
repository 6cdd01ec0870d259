"""Who joins a transaction, whose call it came with, or who drives it dies by kill -9.

What was joined is confirmed once where its caller is told so, and released where nobody goes on.
"""

import asyncio
import sys
from pathlib import Path

import grpc
import pytest
import trypact
from trypact.ids import new_xid
from trypact_coordinator.runtime.failpoints import Failpoint

from tests.crash.booth import BEFORE_ANSWER, calling
from tests.crash.conftest import Coordinators
from tests.crash.vault import TOTAL, Move, Vault
from tests.servers.process import ServerProcess
from tests.tidy.repository import ROOT

KILLED = -9
ONLY_SQLITE = pytest.mark.parametrize("journal", ["sqlite"], indirect=True)
WITHOUT_PIVOT = pytest.mark.parametrize(
    "failpoint",
    [point for point in Failpoint if point not in (Failpoint.BEFORE_PIVOT, Failpoint.AFTER_PIVOT)],
    ids=lambda failpoint: failpoint.value,
)
WHILE_CALLED = pytest.mark.parametrize("die", ["try", "after try", BEFORE_ANSWER])


class Booth:
    """The service, which is started again at its old address when it has died."""

    def __init__(self, folder: Path, coordinator: str) -> None:
        self.database = folder / "vault.db"
        self.address = f"unix:{folder}/booth.sock"
        self._coordinator = coordinator
        self.process = self._start()

    async def rise_again(self) -> None:
        """Wait for its death, and start it."""
        assert await asyncio.to_thread(self.process.wait) == KILLED, "it did not die"
        self.process = await asyncio.to_thread(self._start)

    def close(self) -> Vault:
        """End it, and return what it leaves."""
        self.process.kill()
        return Vault(self.database)

    def _start(self) -> ServerProcess:
        arguments = [str(self.database), self._coordinator, self.address]
        command = [sys.executable, "-m", "tests.crash.booth", "serve", *arguments]
        process = ServerProcess(command, folder=ROOT)
        process.wait_for("is registered with the coordinator")
        return process


@pytest.fixture
async def booth(coordinators: Coordinators, tmp_path: Path) -> Booth:
    await coordinators.start()
    return await asyncio.to_thread(Booth, tmp_path, coordinators.address)


@ONLY_SQLITE
@WHILE_CALLED
async def test_a_caller_that_lets_the_call_go_gets_everything_back(
    die: str, booth: Booth, coordinators: Coordinators
) -> None:
    xid = new_xid()
    async with trypact.Client(coordinators.address) as client, calling(booth.address) as take:
        with pytest.raises(grpc.aio.AioRpcError):
            async with client.transaction("evening", xid=xid):
                await take(Move(7, die))
        await booth.rise_again()
        outcome = await client.wait(xid)
    vault = booth.close()

    assert outcome.cancelled
    assert vault.balance() == (TOTAL, 0, 0)
    done = [] if die == "try" else [("Take/take", "cancel"), ("Take/take", "try")]
    assert vault.effects_of(xid) == done


@ONLY_SQLITE
@WHILE_CALLED
async def test_a_call_that_is_repeated_by_its_name_happens_once(
    die: str, booth: Booth, coordinators: Coordinators
) -> None:
    xid, name = new_xid(), [("trypact-call", "first")]
    async with (
        trypact.Client(coordinators.address) as client,
        calling(booth.address) as take,
        client.transaction("evening", xid=xid) as tx,
    ):
        with pytest.raises(grpc.aio.AioRpcError):
            await take(Move(7, die), metadata=name)
        await booth.rise_again()
        await take(Move(7, die), metadata=name, wait_for_ready=True)
    vault = booth.close()

    assert tx.outcome.confirmed
    assert vault.balance() == (TOTAL - 7, 0, 7)
    assert vault.effects_of(xid) == [("first/take", "confirm"), ("first/take", "try")]


@ONLY_SQLITE
@pytest.mark.parametrize("die", ["confirm", "after confirm"])
async def test_what_was_joined_is_confirmed_once_though_its_service_dies_of_it(
    die: str, booth: Booth, coordinators: Coordinators
) -> None:
    xid = new_xid()
    async with trypact.Client(coordinators.address) as client, calling(booth.address) as take:
        rising = asyncio.create_task(booth.rise_again())
        async with client.transaction("evening", xid=xid) as tx:
            await take(Move(7, die))
        await rising
    vault = booth.close()

    assert tx.outcome.confirmed
    assert vault.balance() == (TOTAL - 7, 0, 7)
    assert vault.effects_of(xid) == [("Take/take", "confirm"), ("Take/take", "try")]


@ONLY_SQLITE
async def test_what_was_joined_is_released_when_its_initiator_is_killed(
    booth: Booth, coordinators: Coordinators
) -> None:
    xid = new_xid()
    arguments = [coordinators.address, booth.address, xid]
    command = [sys.executable, "-m", "tests.crash.booth", "buy", *arguments]
    buyer = ServerProcess(command, folder=ROOT)
    assert await asyncio.to_thread(buyer.wait) == KILLED, buyer.output
    async with trypact.Client(coordinators.address) as client:
        outcome = await client.wait(xid)
    vault = booth.close()

    assert outcome.cancelled
    assert vault.balance() == (TOTAL, 0, 0)
    assert vault.effects_of(xid) == [("Take/take", "cancel"), ("Take/take", "try")]


@WITHOUT_PIVOT
async def test_what_was_joined_happens_once_and_with_the_rest_though_the_coordinator_dies(
    failpoint: Failpoint, coordinators: Coordinators, tmp_path: Path
) -> None:
    xid = new_xid()
    doomed = await coordinators.start(failpoint.value)
    booth = await asyncio.to_thread(Booth, tmp_path, coordinators.address)
    async with trypact.Client(coordinators.address) as client, calling(booth.address) as take:
        replacing = asyncio.create_task(replace(doomed, coordinators))
        async with client.transaction("evening", xid=xid) as tx:
            await take(Move(7))
            await tx.try_("vault.ship", Move(5), kind="saga")
        await replacing
        outcome = await client.wait(xid)
    vault = booth.close()

    assert tx.outcome.confirmed
    assert outcome.confirmed
    assert vault.balance() == (TOTAL - 12, 0, 12)
    done = [("Take/take", "confirm"), ("Take/take", "try"), ("ship", "try")]
    assert vault.effects_of(xid) == done


@WITHOUT_PIVOT
async def test_what_was_joined_is_undone_with_the_rest_though_the_coordinator_dies(
    failpoint: Failpoint, coordinators: Coordinators, tmp_path: Path
) -> None:
    xid = new_xid()
    doomed = await coordinators.start(failpoint.value)
    booth = await asyncio.to_thread(Booth, tmp_path, coordinators.address)
    async with trypact.Client(coordinators.address) as client, calling(booth.address) as take:
        replacing = asyncio.create_task(replace(doomed, coordinators))
        with pytest.raises(trypact.BranchRefused):
            async with client.transaction("evening", xid=xid) as tx:
                await take(Move(7))
                await tx.try_("vault.ship", Move(5), kind="saga")
                await tx.try_("vault.take", Move(TOTAL + 1), id="too-much")
        await replacing
        outcome = await client.wait(xid)
    vault = booth.close()

    assert outcome.cancelled
    assert outcome.refused_branch_id == "too-much"
    assert vault.balance() == (TOTAL, 0, 0)
    undone = [(one, what) for one in ("Take/take", "ship") for what in ("cancel", "try")]
    assert vault.effects_of(xid) == undone


async def replace(doomed: ServerProcess, coordinators: Coordinators) -> None:
    """Wait for the end of a coordinator, and start the next one on its journal."""
    assert await asyncio.to_thread(doomed.wait) == KILLED, "the failpoint was not hit"
    await coordinators.start()
