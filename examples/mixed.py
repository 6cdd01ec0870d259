"""All four kinds under one decision: a saga step, a reservation, a message and a notice.

With `trypact dev` in another terminal:

    $ python mixed.py Lisbon
    car rented
    seat held
    seat taken
    900 miles added
    text sent: confirm
    $ python mixed.py Atlantis
    car rented
    car given back
    text sent: cancel
"""

import asyncio
import contextlib
import os
import sys
import threading

import trypact
from sqlalchemy import Connection
from trypact import Call, message, notice, saga, tcc
from trypact.fence import SqlAlchemyFence, sqlite_engine

COORDINATOR = os.environ.get("TRYPACT_SERVER", "127.0.0.1:7000")

fence = SqlAlchemyFence(sqlite_engine("mixed.db"))
trip = trypact.Participant("trip", fence=fence)
told = threading.Event()


@trip.saga("rent")
class Rent:
    def try_(self, call: Call[str], connection: Connection) -> None:
        print("car rented")

    def cancel(self, call: Call[str], connection: Connection) -> None:
        print("car given back")


@trip.tcc("hold")
class Hold:
    def try_(self, call: Call[str], connection: Connection) -> None:
        if call.request == "Atlantis":
            raise trypact.Refuse("no flight goes there")
        print("seat held")

    def confirm(self, call: Call[str], connection: Connection) -> None:
        print("seat taken")

    def cancel(self, call: Call[str], connection: Connection) -> None:
        print("seat free again")


@trip.message("add_miles")
def add_miles(call: Call[int], connection: Connection) -> None:
    print(call.request, "miles added")


@trip.notice("text")
def text(call: Call[None], connection: Connection) -> None:
    print("text sent:", call.decision)
    told.set()


async def main(place: str) -> None:
    fence.create_tables()
    async with (
        trip.serve(coordinator=COORDINATOR) as server,
        trypact.Client(COORDINATOR) as client,
    ):
        await server.wait_registered()
        branches = [
            saga("trip.rent", place, id="car"),
            tcc("trip.hold", place, id="seat", after=["car"]),
            message("trip.add_miles", 900, id="miles", after=["seat"]),
            notice("trip.text", id="text", on="any", after=["miles"], delay=0.2),
        ]
        with contextlib.suppress(trypact.TransactionCancelled):
            await client.execute("trip.book", branches)
        await asyncio.to_thread(told.wait)


asyncio.run(main(sys.argv[1]))
