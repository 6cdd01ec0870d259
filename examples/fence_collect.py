"""Let the fence forget what nobody can ask for any more, once the coordinator says so.

With `trypact dev` in another terminal:

    $ python fence_collect.py
    today: 0 rows removed
    in two days: 1 row removed
"""

import asyncio
import os
import time
from typing import Any

import trypact
from sqlalchemy import Connection
from trypact import Call, tcc
from trypact.fence import Collector, SqlAlchemyFence, sqlite_engine

COORDINATOR = os.environ.get("TRYPACT_SERVER", "127.0.0.1:7000")
TWO_DAYS_US = 2 * 24 * 60 * 60 * 1_000_000

engine = sqlite_engine("fence_collect.db")
fence = SqlAlchemyFence(engine)
doors = trypact.Participant("doors", fence=fence)


@doors.tcc("lock")
class Lock:
    def try_(self, call: Call[Any], connection: Connection) -> None:
        """Nothing to do: the fence's row is what this is about."""

    confirm = cancel = try_


def collect(later_us: int = 0) -> str:
    """Collect once; a participant does so by itself, about hourly."""
    with trypact.SyncClient(COORDINATOR) as client:
        later = SqlAlchemyFence(engine, now=lambda: time.time_ns() // 1_000 + later_us)
        collected = Collector(client, later).collect()
    return f"{collected.removed} {'row' if collected.removed == 1 else 'rows'} removed"


async def evening() -> None:
    """Leave a row, of a transaction that is over."""
    fence.create_tables()
    async with (
        doors.serve(coordinator=COORDINATOR) as server,
        trypact.Client(COORDINATOR) as client,
    ):
        await server.wait_registered()
        outcome = await client.execute("evening", [tcc("doors.lock")])
        while not (await client.decision(outcome.xid)).closed:
            # The record that says so is written a moment later.
            pass


asyncio.run(evening())
print(f"today: {collect()}")
print(f"in two days: {collect(TWO_DAYS_US)}")
