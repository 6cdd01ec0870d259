"""A participant dies by kill -9 between completing what was PENDING and reporting it."""

import asyncio
import sys
from pathlib import Path

import pytest
import trypact
from trypact.ids import new_xid

from tests.crash.conftest import Coordinators
from tests.crash.desk import desk_of, signed
from tests.servers.process import ServerProcess
from tests.tidy.repository import ROOT

KILLED = -9


def start_desk(database: Path, coordinator: str, *die: str) -> ServerProcess:
    listen = f"unix:{database.with_suffix('.sock')}"
    command = [sys.executable, "-m", "tests.crash.desk", database, coordinator, listen, *die]
    process = ServerProcess(command, folder=ROOT)
    process.wait_for("is registered with the coordinator")
    return process


@pytest.mark.parametrize("journal", ["sqlite"], indirect=True)
async def test_what_was_completed_is_told_though_nobody_lived_to_report_it(
    coordinators: Coordinators, tmp_path: Path
) -> None:
    database, xid = tmp_path / "desk.db", new_xid()
    await coordinators.start()
    doomed = await asyncio.to_thread(start_desk, database, coordinators.address, "die")
    async with trypact.Client(coordinators.address) as client:
        executed = asyncio.create_task(
            client.execute("contract", [trypact.tcc("desk.sign")], xid=xid)
        )
        assert await asyncio.to_thread(doomed.wait) == KILLED, "it did not die"
        engine, _ = await asyncio.to_thread(desk_of, database)
        assert signed(engine) == [xid], "it died too early"
        again = await asyncio.to_thread(start_desk, database, coordinators.address)
        outcome = await executed
    again.kill()

    assert outcome.confirmed
    assert outcome.result("sign") == {"signed": xid}
    assert signed(engine) == [xid]
    engine.dispose()
