"""Tell whoever it concerns: a message to a topic reaches every participant that has subscribed.

With `trypact dev` in another terminal:

    $ python message_topic.py
    the order is confirmed
    30 points for order 17
    a parcel for order 17
"""

import asyncio
import os
import threading

import trypact
from sqlalchemy import Connection
from trypact import Call, message
from trypact.fence import SqlAlchemyFence, sqlite_engine

COORDINATOR = os.environ.get("TRYPACT_SERVER", "127.0.0.1:7000")

fence = SqlAlchemyFence(sqlite_engine("message_topic.db"))
points = trypact.Participant("points", fence=fence)
parcels = trypact.Participant("parcels", fence=fence)
credited, packed = threading.Event(), threading.Event()


@points.subscribe("order.paid")
def add_points(call: Call[int], connection: Connection) -> None:
    print("30 points for order", call.request)
    credited.set()


@parcels.subscribe("order.paid")
def pack(call: Call[int], connection: Connection) -> None:
    if not credited.is_set():
        raise trypact.RetryLater(0.1, "points come first, in this program's output")
    print("a parcel for order", call.request)
    packed.set()


async def main() -> None:
    fence.create_tables()
    async with (
        points.serve(coordinator=COORDINATOR) as one,
        parcels.serve(coordinator=COORDINATOR) as other,
        trypact.Client(COORDINATOR) as client,
    ):
        await asyncio.gather(one.wait_registered(), other.wait_registered())
        # Whoever sends it need not know who takes it.
        paid = message(topic="order.paid", payload=17, id="paid", delay=0.2)
        outcome = await client.execute("order", [paid])
        print("the order is", outcome.state)
        await asyncio.to_thread(packed.wait)


asyncio.run(main())
