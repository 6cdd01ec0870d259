"""Write a message beside the order it is about; it reaches a participant, whatever crashes.

With `trypact dev` in another terminal:

    $ python outbox_messages.py
    order 17 is committed with its message
    points for order 17
    1 message has arrived
"""

import asyncio
import os

import trypact
from sqlalchemy import Connection, text
from trypact import Call
from trypact.fence import SqlAlchemyFence, sqlite_engine
from trypact.outbox import BranchPublisher, Message, Outbox, Pace, Relay, State

COORDINATOR = os.environ.get("TRYPACT_SERVER", "127.0.0.1:7000")

orders, outbox = sqlite_engine("outbox_messages_orders.db"), Outbox()
fence = SqlAlchemyFence(sqlite_engine("outbox_messages_members.db"))
member = trypact.Participant("member", fence=fence)


@member.message("add_points", request=dict)
def add_points(call: Call[dict[str, int]], connection: Connection) -> None:
    print(f"points for order {call.request['order']}")


def place(order: int) -> None:
    """Write the order and its message in one local transaction: both are there, or neither."""
    with orders.begin() as connection:
        connection.execute(text("INSERT INTO orders VALUES (:id)"), {"id": order})
        outbox.add(connection, Message("member.add_points", {"order": order}, key=str(order)))
    print(f"order {order} is committed with its message")


async def arrival() -> None:
    """Wait until the table says that all has arrived."""
    while True:
        with orders.connect() as connection:
            counts = outbox.counts(connection)
        if all(count.state is State.ARRIVED for count in counts):
            break
        await asyncio.sleep(0.05)
    print(f"{sum(count.messages for count in counts)} message has arrived")


async def main() -> None:
    fence.create_tables()
    with orders.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS orders"))
        connection.execute(text("CREATE TABLE orders (id INTEGER PRIMARY KEY)"))
        outbox.table.drop(connection, checkfirst=True)
        outbox.create_tables(connection)
    async with (
        member.serve(coordinator=COORDINATOR) as server,
        trypact.Client(COORDINATOR) as client,
    ):
        await server.wait_registered()
        place(17)
        # In a service it runs beside the rest from the start, here only to be seen afterwards.
        async with Relay(orders, outbox, BranchPublisher(client), pace=Pace(retry_first=0.1)):
            await arrival()


asyncio.run(main())
