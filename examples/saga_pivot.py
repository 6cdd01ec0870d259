"""A step with no way back: steps before it are undone if need be, those after it only go forward.

With `trypact dev` in another terminal:

    $ python saga_pivot.py good-card
    seats held
    the bank does not answer
    the bank does not answer
    card charged
    the mailbox is full
    tickets sent
    the order is confirmed
    $ python saga_pivot.py bad-card
    seats held
    the bank does not answer
    the bank does not answer
    seats free again
    the order is cancelled: card declined
"""

import asyncio
import os
import sys

import trypact
from sqlalchemy import Connection
from trypact import Call, saga
from trypact.fence import SqlAlchemyFence, sqlite_engine

COORDINATOR = os.environ.get("TRYPACT_SERVER", "127.0.0.1:7000")

fence = SqlAlchemyFence(sqlite_engine("saga_pivot.db"))
box = trypact.Participant("box", fence=fence)


@box.saga("hold_seats")
class Seats:
    def try_(self, call: Call[None], connection: Connection) -> None:
        print("seats held")

    def cancel(self, call: Call[None], connection: Connection) -> None:
        print("seats free again")


@box.saga("charge_card")
class Charge:
    def try_(self, call: Call[str], connection: Connection) -> None:
        if call.attempt < 3:
            print("the bank does not answer")
            raise trypact.RetryLater(0.1, "the bank does not answer")
        if call.request == "bad-card":
            raise trypact.Refuse("card declined")
        print("card charged")

    def cancel(self, call: Call[str], connection: Connection) -> None:
        raise AssertionError("a pivot is never cancelled: it decides")


@box.saga("send_tickets")
class Tickets:
    def try_(self, call: Call[None], connection: Connection) -> None:
        if call.attempt == 1:
            print("the mailbox is full")
            raise trypact.RetryLater(0.1, "the mailbox is full")
        print("tickets sent")

    def cancel(self, call: Call[None], connection: Connection) -> None:
        raise AssertionError("what comes after a pivot is never cancelled")


async def main(card: str) -> None:
    fence.create_tables()
    async with (
        box.serve(coordinator=COORDINATOR) as server,
        trypact.Client(COORDINATOR) as client,
    ):
        await server.wait_registered()
        steps = [
            # Given up, and the order cancelled, if it fails five times.
            saga("box.hold_seats", id="seats", attempts=5),
            saga("box.charge_card", card, id="card", after=["seats"], pivot=True),
            # Retried for as long as it takes: the card is charged.
            saga("box.send_tickets", id="tickets", after=["card"]),
        ]
        try:
            outcome = await client.execute("tickets", steps)
            print("the order is", outcome.state)
        except trypact.TransactionCancelled as no:
            print(f"the order is {no.outcome.state}: {no.reason}")


asyncio.run(main(sys.argv[1]))
