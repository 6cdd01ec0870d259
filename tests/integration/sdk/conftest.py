"""A real coordinator and a real participant, in this process, on free ports."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import trypact
from sqlalchemy import Connection, Engine, text
from trypact.fence import SqlAlchemyFence, sqlite_engine
from trypact_coordinator.bootstrap import Running, running
from trypact_coordinator.settings import Settings

FAST = {"backoff_base_ms": 10, "backoff_cap_ms": 50, "stop_grace_ms": 1, "pending_poll_ms": 20}


class Bank:
    """A participant with one account, which counts what really ran."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.calls: list[tuple[str, str]] = []
        # Waited for by a Try of `hold`, so that a test can be in its middle.
        self.holding = threading.Event()
        self.release = threading.Event()
        self.changed = asyncio.Condition()
        self._loop = asyncio.get_running_loop()
        self.fence = SqlAlchemyFence(engine)
        self.fence.create_tables()
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE account (free INTEGER, frozen INTEGER)"))
            connection.execute(text("INSERT INTO account VALUES (100, 0)"))
        self.participant = trypact.Participant("bank", fence=self.fence)
        self.participant.tcc("freeze")(Freeze(self))
        self.participant.saga("pay")(Freeze(self))
        self.participant.message("mail")(self._mail)
        self.participant.notice("mail")(self._mail)

    @property
    def account(self) -> tuple[int, int]:
        """Free and frozen."""
        with self.engine.connect() as connection:
            free, frozen = connection.execute(text("SELECT free, frozen FROM account")).one()
        return free, frozen

    def note(self, call: trypact.Call[Any]) -> None:
        self.calls.append((str(call.operation), call.branch_id))
        asyncio.run_coroutine_threadsafe(self._tell(), self._loop)

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return once a call made the condition true."""
        async with self.changed:
            await self.changed.wait_for(condition)

    def _mail(self, call: trypact.Call[dict[str, Any]], connection: Connection) -> Any:
        self.note(call)
        return {"sent": call.request, "after": str(call.decision)}


class Freeze:
    """Freezes an amount; the payload says what else may happen."""

    def __init__(self, bank: Bank) -> None:
        self._bank = bank

    def try_(self, call: trypact.Call[dict[str, Any]], connection: Connection) -> Any:
        self._bank.note(call)
        if call.request.get("hold"):
            self._bank.holding.set()
            self._bank.release.wait(10)
        if call.request.get("pending"):
            return trypact.PENDING
        amount = call.request["amount"]
        changed = connection.execute(
            text("UPDATE account SET free = free - :a, frozen = frozen + :a WHERE free >= :a"),
            {"a": amount},
        )
        if changed.rowcount == 0:
            raise trypact.Refuse(f"TOO_LITTLE: {amount} wanted")
        return {"frozen": amount}

    def confirm(self, call: trypact.Call[dict[str, Any]], connection: Connection) -> None:
        self._bank.note(call)
        amount = {"a": call.request["amount"]}
        connection.execute(text("UPDATE account SET frozen = frozen - :a"), amount)

    def cancel(self, call: trypact.Call[dict[str, Any]], connection: Connection) -> None:
        self._bank.note(call)
        if call.request.get("pending"):
            return
        amount = {"a": call.request["amount"]}
        change = text("UPDATE account SET free = free + :a, frozen = frozen - :a")
        connection.execute(change, amount)


class World:
    """The coordinator, which can be stopped and started again on its port, and the bank."""

    def __init__(self, folder: Path) -> None:
        self.settings: dict[str, Any] = {
            "listen": "127.0.0.1:0",
            "journal": f"sqlite:///{folder / 'journal.db'}",
            **FAST,
        }
        self._running: contextlib.AsyncExitStack | None = None
        self.bank = Bank(sqlite_engine(folder / "bank.db"))
        self.coordinator: Running | None = None

    @property
    def endpoint(self) -> str:
        """Where the coordinator serves, or served."""
        return str(self.settings["listen"])

    async def start(self) -> None:
        self._running = contextlib.AsyncExitStack()
        settings = Settings(**self.settings)
        self.coordinator = await self._running.enter_async_context(running(settings))
        self.settings["listen"] = self.coordinator.address

    async def stop(self) -> None:
        if self._running is not None:
            await self._running.aclose()
            self._running = None


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Both of them, and the bank registered."""
    world = World(tmp_path)
    await world.start()
    async with world.bank.participant.serve(coordinator=world.endpoint, grace=0.1) as server:
        await server.wait_registered()
        yield world
        world.bank.release.set()
    await world.stop()
    world.bank.engine.dispose()


@pytest.fixture
async def client(world: World) -> AsyncIterator[trypact.Client]:
    async with trypact.Client(world.endpoint, patience=5.0) as client:
        yield client
