"""When nobody answers in time: not a no, but a question. Ask again with the same xid.

With `trypact dev` in another terminal:

    $ python outcome_unknown.py
    not known yet, so nothing is done twice
    asked again: confirmed
    never sent: unknown, and now cancel for ever
"""

import asyncio
import os
import threading

import trypact
from sqlalchemy import Connection
from trypact import Call, tcc
from trypact.fence import SqlAlchemyFence, sqlite_engine

COORDINATOR = os.environ.get("TRYPACT_SERVER", "127.0.0.1:7000")

fence = SqlAlchemyFence(sqlite_engine("outcome_unknown.db"))
bank = trypact.Participant("slow_bank", fence=fence)
awake = threading.Event()


@bank.tcc("pay", batch=False)
class Pay:
    def try_(self, call: Call[int], connection: Connection) -> None:
        awake.wait()

    def confirm(self, call: Call[int], connection: Connection) -> None: ...

    def cancel(self, call: Call[int], connection: Connection) -> None: ...


async def main() -> None:
    fence.create_tables()
    async with (
        bank.serve(coordinator=COORDINATOR) as server,
        trypact.Client(COORDINATOR, patience=0.5) as client,
    ):
        await server.wait_registered()
        # Chosen, and in real life written down, before the first call.
        xid = trypact.new_xid()
        try:
            await client.execute("payment", [tcc("slow_bank.pay", 30)], xid=xid)
        except trypact.OutcomeUnknown:
            print("not known yet, so nothing is done twice")
        awake.set()
        outcome = await client.wait(xid, patience=30.0)
        print("asked again:", outcome.state)

        lost = trypact.new_xid()
        before = await client.decision(lost)
        after = await client.decision(lost, settle=True)
        print(f"never sent: {before.decision}, and now {after.decision} for ever")


asyncio.run(main())
