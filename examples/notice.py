"""What may get lost: a notice is tried a few times after the decision, and never matters to it.

With `trypact dev` in another terminal:

    $ python notice.py
    the order is confirmed
    attempt 1: no network
    attempt 2: no network
    attempt 3: no network
    the text is undelivered, the order is confirmed
"""

import asyncio
import os

import trypact
from sqlalchemy import Connection
from trypact import Call, notice
from trypact.fence import SqlAlchemyFence, sqlite_engine

COORDINATOR = os.environ.get("TRYPACT_SERVER", "127.0.0.1:7000")

fence = SqlAlchemyFence(sqlite_engine("notice.db"))
phone = trypact.Participant("phone", fence=fence)


@phone.notice("text")
def text(call: Call[str], connection: Connection) -> None:
    print(f"attempt {call.attempt}: no network")
    raise ConnectionError("no network")


async def main() -> None:
    fence.create_tables()
    async with (
        phone.serve(coordinator=COORDINATOR) as server,
        trypact.Client(COORDINATOR) as client,
    ):
        await server.wait_registered()
        greeting = notice("phone.text", "thank you", id="greeting", delay=0.2)
        outcome = await client.execute("order", [greeting])
        print("the order is", outcome.state)
        while outcome.branch("greeting").state != "undelivered":
            await asyncio.sleep(0.05)
            outcome = await client.get(outcome.xid)
        print("the text is undelivered, the order is", outcome.state)


asyncio.run(main())
