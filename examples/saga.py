"""Do it at once, and undo it if a later step says no: the steps of a saga, and their compensation.

With `trypact dev` in another terminal:

    $ python saga.py Lisbon
    flight booked
    hotel booked
    the trip is confirmed
    $ python saga.py Atlantis
    flight booked
    flight given back
    the trip is cancelled: there is no hotel in Atlantis
"""

import asyncio
import os
import sys

import trypact
from sqlalchemy import Connection
from trypact import Call, saga
from trypact.fence import SqlAlchemyFence, sqlite_engine

COORDINATOR = os.environ.get("TRYPACT_SERVER", "127.0.0.1:7000")

fence = SqlAlchemyFence(sqlite_engine("saga.db"))
travel = trypact.Participant("travel", fence=fence)


@travel.saga("book_flight")
class Flight:
    def try_(self, call: Call[str], connection: Connection) -> None:
        print("flight booked")

    def cancel(self, call: Call[str], connection: Connection) -> None:
        print("flight given back")


@travel.saga("book_hotel")
class Hotel:
    def try_(self, call: Call[str], connection: Connection) -> None:
        if call.request == "Atlantis":
            raise trypact.Refuse(f"there is no hotel in {call.request}")
        print("hotel booked")

    def cancel(self, call: Call[str], connection: Connection) -> None:
        print("hotel given back")


async def main(place: str) -> None:
    fence.create_tables()
    async with (
        travel.serve(coordinator=COORDINATOR) as server,
        trypact.Client(COORDINATOR) as client,
    ):
        await server.wait_registered()
        steps = [
            saga("travel.book_flight", place, id="flight"),
            saga("travel.book_hotel", place, id="hotel", after=["flight"]),
        ]
        try:
            outcome = await client.execute("trip", steps)
            print("the trip is", outcome.state)
        except trypact.TransactionCancelled as no:
            print(f"the trip is {no.outcome.state}: {no.reason}")


asyncio.run(main(sys.argv[1]))
