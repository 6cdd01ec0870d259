"""What has to arrive: a message is delivered after the decision until it is acknowledged, once.

With `trypact dev` in another terminal:

    $ python message.py
    the order is confirmed
    the member service is closed
    30 points added
"""

import asyncio
import os
import threading

import trypact
from sqlalchemy import Connection
from trypact import Call, message
from trypact.fence import SqlAlchemyFence, sqlite_engine

COORDINATOR = os.environ.get("TRYPACT_SERVER", "127.0.0.1:7000")

fence = SqlAlchemyFence(sqlite_engine("message.db"))
member = trypact.Participant("member", fence=fence)
arrived = threading.Event()


@member.message("add_points")
def add_points(call: Call[int], connection: Connection) -> None:
    if call.attempt == 1:
        print("the member service is closed")
        raise RuntimeError("any exception means: not now, ask again")
    print(call.request, "points added")
    arrived.set()


async def main() -> None:
    fence.create_tables()
    async with (
        member.serve(coordinator=COORDINATOR) as server,
        trypact.Client(COORDINATOR) as client,
    ):
        await server.wait_registered()
        points = message("member.add_points", 30, id="points", delay=0.2)
        outcome = await client.execute("order", [points])
        print("the order is", outcome.state)
        # The outcome does not wait for deliveries; this program does.
        await asyncio.to_thread(arrived.wait)


asyncio.run(main())
