"""The services that examples in docstrings talk to, and a coordinator, on a thread of their own.

On a thread, because an example without `await` would hold up whoever shares its event loop.
"""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import trypact
from sqlalchemy import Connection
from trypact.fence import SqlAlchemyFence, sqlite_engine
from trypact_coordinator.bootstrap import running
from trypact_coordinator.settings import Settings

Request = trypact.Call[dict[str, Any]]
PIECES_MAX = 10


class Reserve:
    """Refuses more than ten pieces; has to look at those that are asked about."""

    def try_(self, call: Request, connection: Connection) -> Any:
        pieces = call.request["pieces"]
        if pieces > PIECES_MAX:
            raise trypact.Refuse("out_of_stock")
        return trypact.PENDING if call.request.get("look") else {"pieces": pieces}

    def confirm(self, call: Request, connection: Connection) -> None: ...

    def cancel(self, call: Request, connection: Connection) -> None: ...


def deliver(call: trypact.Call[Any], connection: Connection) -> None:
    """Acknowledges whatever it gets."""


def participants(folder: Path) -> Iterator[trypact.Participant]:
    """Each with a database of its own."""
    for name in ("inventory", "member", "notification"):
        fence = SqlAlchemyFence(sqlite_engine(folder / f"{name}.db"))
        fence.create_tables()
        participant = trypact.Participant(name, fence=fence)
        participant.tcc("reserve")(Reserve)
        participant.saga("book")(Reserve)
        participant.message("add_points")(deliver)
        participant.notice("send")(deliver)
        yield participant


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve all of them; gives the coordinator's address."""
    address: Future[str] = Future()
    done = threading.Event()

    async def serve() -> None:
        settings = Settings(listen="127.0.0.1:0", journal="memory:")
        async with contextlib.AsyncExitStack() as stack:
            coordinator = await stack.enter_async_context(running(settings))
            for participant in participants(folder):
                server = participant.serve(coordinator=coordinator.address, grace=0.1)
                await (await stack.enter_async_context(server)).wait_registered()
            address.set_result(coordinator.address)
            await asyncio.to_thread(done.wait)

    def work() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            if not address.done():
                address.set_exception(error)
            raise

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield address.result()
    finally:
        done.set()
        thread.join()
