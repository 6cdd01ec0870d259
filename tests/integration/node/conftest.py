"""A coordinator as a process, a participant in Node as another, and one in Python beside them."""

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trypact
from sqlalchemy import Connection
from trypact.fence import SqlAlchemyFence, sqlite_engine

from tests.servers.process import ServerProcess, start_coordinator
from tests.tidy.repository import ROOT

HERE = Path(__file__).parent
QUICK = ("--backoff-base", "10ms", "--backoff-cap", "50ms", "--stop-grace", "1ms")
REGISTERED = r"stalls is registered with the coordinator, (\d+) free"


class Purse:
    """The Python participant: counts what ran, and a test can keep its Try waiting."""

    def __init__(self, folder: Path) -> None:
        self.ran: list[str] = []
        self.may_try = threading.Event()
        self.may_try.set()
        fence = SqlAlchemyFence(sqlite_engine(f"sqlite:///{folder}/purse.db"))
        fence.create_tables()
        self.participant = trypact.Participant("purse", fence=fence)
        self.participant.tcc("pay")(Pay(self))


class Pay:
    """Pays anything below a hundred."""

    def __init__(self, purse: Purse) -> None:
        self._purse = purse

    def try_(self, call: Any, connection: Connection) -> None:
        self._purse.may_try.wait()
        if call.request["cents"] >= 100:
            raise trypact.Refuse("too_much")
        self._purse.ran.append("Try")

    def confirm(self, call: Any, connection: Connection) -> None:
        self._purse.ran.append("Confirm")

    def cancel(self, call: Any, connection: Connection) -> None:
        self._purse.ran.append("Cancel")


class Stage:
    """What a test has to do with."""

    def __init__(self, folder: Path, address: str, url: str, purse: Purse) -> None:
        self.folder = folder
        self.address = address
        self.url = url
        self.purse = purse
        self.client = trypact.Client(address)
        self.stalls = self.start_stalls()

    def start_stalls(self) -> ServerProcess:
        """Start the Node participant over the same file; its output is new."""
        node = shutil.which("node")
        assert node, "Node is missing; `tools/servers.sh` installs it, or says what to do"
        assert (HERE / "node_modules").is_dir(), "its packages are missing: run tools/servers.sh"
        command = [
            node,
            HERE / "stalls.js",
            self.address,
            self.folder / "stalls.log",
            ROOT / "proto",
        ]
        return ServerProcess(command)

    async def said(self, pattern: str) -> str:
        """Wait until the Node participant says so; return the first group."""
        return (await asyncio.to_thread(self.stalls.wait_for, pattern))[1]

    async def execute(self, xid: str, seats: int, cents: int) -> trypact.Outcome:
        return await self.ask(xid, {"seats": seats}, cents)

    async def ask(self, xid: str, payload: object, cents: int) -> trypact.Outcome:
        branches = [
            trypact.tcc("stalls.book", payload, id="stalls"),
            trypact.tcc("purse.pay", {"cents": cents}, id="purse"),
        ]
        return await self.client.execute("theatre.book", branches, xid=xid)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    coordinator, address = await asyncio.to_thread(
        start_coordinator,
        f"sqlite:///{tmp_path}/journal.db",
        arguments=("--http-listen", "127.0.0.1:0", *QUICK),
    )
    url = coordinator.wait_for(r"metrics at (\S+)/metrics")[1]
    purse = Purse(tmp_path)
    async with purse.participant.serve(coordinator=address) as serving:
        await serving.wait_registered()
        made = Stage(tmp_path, address, url, purse)
        try:
            assert await made.said(REGISTERED) == "10"
            yield made
        finally:
            purse.may_try.set()
            await made.client.close()
            made.stalls.kill()
    await asyncio.to_thread(coordinator.stop)
