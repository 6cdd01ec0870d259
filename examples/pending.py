"""A participant that answers later: PENDING, until somebody has decided.

With `trypact dev` in another terminal:

    $ python pending.py yes
    Grace is asked about 500 cents
    confirmed by Grace, and 500 cents are lent
    $ python pending.py no
    Grace is asked about 500 cents
    cancelled, too_risky, and 0 cents are lent
"""

import asyncio
import os
import sys
from dataclasses import dataclass
from typing import Any

import trypact
from sqlalchemy import Connection, text
from trypact import Call, tcc
from trypact.fence import SqlAlchemyFence, sqlite_engine

COORDINATOR = os.environ.get("TRYPACT_SERVER", "127.0.0.1:7000")

engine = sqlite_engine("pending.db")
fence = SqlAlchemyFence(engine)
loans = trypact.Participant("loans", fence=fence)
# Who is to be asked: (xid, branch id, cents). A table of the service's, in real life.
desk: asyncio.Queue[tuple[str, str, int]] = asyncio.Queue()


@dataclass
class Lend:
    cents: int


@loans.tcc("lend")
class Loans:
    def try_(self, call: Call[Lend], connection: Connection) -> Any:
        asked = (call.xid, call.branch_id, call.request.cents)
        loop.call_soon_threadsafe(desk.put_nowait, asked)
        return trypact.PENDING

    def confirm(self, call: Call[Lend], connection: Connection) -> None: ...

    def cancel(self, call: Call[Lend], connection: Connection) -> None:
        sql = text("DELETE FROM loan WHERE xid = :xid")
        connection.execute(sql, {"xid": call.xid})


async def decide(client: trypact.Client, yes: bool) -> None:
    """Grace decides, minutes or days later, in this process or in another one."""
    reporter = loans.reporter(client)
    xid, branch_id, cents = await desk.get()
    print(f"Grace is asked about {cents} cents")

    def lend(connection: Connection) -> dict[str, str]:
        sql = text("INSERT INTO loan VALUES (:xid, :cents)")
        connection.execute(sql, {"xid": xid, "cents": cents})
        return {"by": "Grace"}

    if yes:
        await reporter.run(xid, branch_id, "try", lend)
    else:
        await reporter.refuse(xid, branch_id, "try", "too_risky")


async def main(yes: bool) -> None:
    fence.create_tables()
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS loan"))
        connection.execute(text("CREATE TABLE loan (xid TEXT, cents INT)"))
    async with (
        loans.serve(coordinator=COORDINATOR) as server,
        trypact.Client(COORDINATOR) as client,
    ):
        await server.wait_registered()
        deciding = asyncio.create_task(decide(client, yes))
        try:
            outcome = await client.execute("loan.ask", [tcc("loans.lend", Lend(500))])
            ended = f"confirmed by {outcome.result('lend')['by']}"
        except trypact.TransactionCancelled as no:
            ended = f"cancelled, {no.reason}"
        await deciding
    with engine.connect() as connection:
        lent = connection.execute(text("SELECT coalesce(sum(cents), 0) FROM loan")).scalar_one()
    print(f"{ended}, and {lent} cents are lent")


with asyncio.Runner() as runner:
    loop = runner.get_loop()
    runner.run(main(sys.argv[1] == "yes"))
