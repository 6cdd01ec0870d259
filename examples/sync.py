"""Without asyncio: an initiator with `SyncClient`, and a participant that is a process of its own.

With `trypact dev` in another terminal:

    $ python sync.py serve &
    $ python sync.py 5
    5 seats are confirmed
    $ python sync.py 50
    50 seats are cancelled: only 9 are left
"""

import logging
import os
import sys

import trypact
from sqlalchemy import Connection
from trypact import Call
from trypact.fence import SqlAlchemyFence, sqlite_engine

COORDINATOR = os.environ.get("TRYPACT_SERVER", "127.0.0.1:7000")

fence = SqlAlchemyFence(sqlite_engine("sync.db"))
cinema = trypact.Participant("cinema", fence=fence)


@cinema.tcc("hold")
class Hold:
    def try_(self, call: Call[int], connection: Connection) -> None:
        if call.request > 9:
            raise trypact.Refuse("only 9 are left")

    def confirm(self, call: Call[int], connection: Connection) -> None: ...

    def cancel(self, call: Call[int], connection: Connection) -> None: ...


def serve() -> None:
    logging.basicConfig(level=logging.INFO)
    fence.create_tables()
    cinema.run("127.0.0.1:0", coordinator=COORDINATOR)


def hold(seats: int) -> None:
    with trypact.SyncClient(COORDINATOR) as client:
        try:
            with client.transaction("cinema.visit") as tx:
                tx.try_("cinema.hold", seats)
            print(f"{seats} seats are {tx.outcome.state}")
        except trypact.BranchRefused as no:
            print(f"{seats} seats are {client.wait(tx.xid).state}: {no.reason}")


if sys.argv[1] == "serve":
    serve()
else:
    hold(int(sys.argv[1]))
