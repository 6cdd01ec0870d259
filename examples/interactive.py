"""Step by step: a later branch uses what an earlier one answered, and typed actions say what it is.

With `trypact dev` in another terminal:

    $ python interactive.py 2 500
    room 12 costs 180
    room taken
    confirm
    $ python interactive.py 2 100
    room 12 costs 180
    room free again
    too dear: cancel
"""

import asyncio
import os
import sys
from dataclasses import dataclass

import trypact
from sqlalchemy import Connection
from trypact import Action, Call
from trypact.fence import SqlAlchemyFence, sqlite_engine

COORDINATOR = os.environ.get("TRYPACT_SERVER", "127.0.0.1:7000")


@dataclass
class Room:
    number: int
    price: int


HOLD = Action("hotel.hold", request=int, result=Room)
CHARGE = Action("hotel.charge", request=int)

fence = SqlAlchemyFence(sqlite_engine("interactive.db"))
hotel = trypact.Participant("hotel", fence=fence)


@hotel.tcc(HOLD)
class Hold:
    def try_(self, call: Call[int], connection: Connection) -> Room:
        return Room(number=12, price=90 * call.request)

    def confirm(self, call: Call[int], connection: Connection) -> None:
        print("room taken")

    def cancel(self, call: Call[int], connection: Connection) -> None:
        print("room free again")


@hotel.saga(CHARGE)
class Charge:
    def try_(self, call: Call[int], connection: Connection) -> None: ...

    def cancel(self, call: Call[int], connection: Connection) -> None:
        print("card refunded")


async def main(nights: int, purse: int) -> None:
    fence.create_tables()
    async with (
        hotel.serve(coordinator=COORDINATOR) as server,
        trypact.Client(COORDINATOR) as client,
    ):
        await server.wait_registered()
        try:
            async with client.transaction("hotel.book", timeout=20.0) as tx:
                room = await tx.try_(HOLD, nights)
                print(f"room {room.number} costs {room.price}")
                if room.price > purse:
                    raise ValueError("too dear")
                await tx.try_(CHARGE, room.price, kind="saga")
            print(tx.outcome.decision)
        except ValueError as no:
            await client.wait(tx.xid)
            print(f"{no}: {tx.outcome.decision}")


asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
