"""An order that has to be paid in time: a delayed message is the timer that closes it if it is not.

With `trypact dev` in another terminal:

    $ python message_timer.py pay
    the order is open
    the order is paid
    time is up: nothing to do
    $ python message_timer.py wait
    the order is open
    time is up: the order is closed
"""

import asyncio
import os
import sys
import threading

import trypact
from sqlalchemy import Connection, text
from trypact import Call, message, tcc
from trypact.fence import SqlAlchemyFence, sqlite_engine

COORDINATOR = os.environ.get("TRYPACT_SERVER", "127.0.0.1:7000")
SECONDS_TO_PAY = 1.0

engine = sqlite_engine("message_timer.db")
fence = SqlAlchemyFence(engine)
order = trypact.Participant("order", fence=fence)
time_is_up = threading.Event()


@order.tcc("open")
class Open:
    def try_(self, call: Call[None], connection: Connection) -> None:
        opens = text("INSERT INTO orders VALUES (:id, 'opening')")
        connection.execute(opens, {"id": call.xid})

    def confirm(self, call: Call[None], connection: Connection) -> None:
        become(connection, call.xid, "opening", "open")

    def cancel(self, call: Call[None], connection: Connection) -> None:
        become(connection, call.xid, "opening", "closed")


@order.message("close_unless_paid")
def close_unless_paid(call: Call[None], connection: Connection) -> None:
    closed = become(connection, call.xid, "open", "closed")
    print("time is up:", "the order is closed" if closed else "nothing to do")
    time_is_up.set()


def become(connection: Connection, order_id: str, was: str, now: str) -> bool:
    change = text("UPDATE orders SET state = :now WHERE id = :id AND state = :was")
    return connection.execute(change, {"id": order_id, "was": was, "now": now}).rowcount == 1


async def main(pays: bool) -> None:
    fence.create_tables()
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE IF NOT EXISTS orders (id TEXT, state TEXT)"))
    async with (
        order.serve(coordinator=COORDINATOR) as server,
        trypact.Client(COORDINATOR) as client,
    ):
        await server.wait_registered()
        # The timer is in the coordinator's journal, and outlives every process.
        timer = message("order.close_unless_paid", delay=SECONDS_TO_PAY)
        opened = await client.execute("order.open", [tcc("order.open"), timer])
        print("the order is open")
        if pays:
            with engine.begin() as connection:
                become(connection, opened.xid, "open", "paid")
            print("the order is paid")
        await asyncio.to_thread(time_is_up.wait)


asyncio.run(main(pays=sys.argv[1] == "pay"))
