"""A participant on the event loop: coroutines behind an asynchronous fence.

With `trypact dev` in another terminal:

    $ python async_participant.py 30
    confirmed: 70 free, 0 held
    $ python async_participant.py 130
    cancelled, too_little: 100 free, 0 held
"""

import asyncio
import os
import sys
from dataclasses import dataclass

import trypact
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from trypact import Action, Call, tcc
from trypact.fence import AsyncSqlAlchemyFence, async_sqlite_engine

COORDINATOR = os.environ.get("TRYPACT_SERVER", "127.0.0.1:7000")

engine = async_sqlite_engine("async_participant.db")
fence = AsyncSqlAlchemyFence(engine)
purse = trypact.Participant("purse", fence=fence)


@dataclass
class Hold:
    cents: int


HOLD = Action("purse.hold", request=Hold)


@purse.tcc(HOLD)
async def hold(call: Call[Hold], connection: AsyncConnection) -> None:
    if not await move(connection, "free", "held", call.request.cents):
        raise trypact.Refuse("too_little")


@hold.confirm
async def spend(call: Call[Hold], connection: AsyncConnection) -> None:
    await move(connection, "held", "spent", call.request.cents)


@hold.cancel
async def release(call: Call[Hold], connection: AsyncConnection) -> None:
    await move(connection, "held", "free", call.request.cents)


async def move(connection: AsyncConnection, source: str, target: str, n: int) -> bool:
    change = f"{source} = {source} - :n, {target} = {target} + :n"
    moved = await connection.execute(
        text(f"UPDATE purse SET {change} WHERE {source} >= :n"), {"n": n}
    )
    return moved.rowcount == 1


async def open_the_purse() -> None:
    await fence.create_tables()
    async with engine.begin() as connection:
        await connection.execute(text("DROP TABLE IF EXISTS purse"))
        await connection.execute(text("CREATE TABLE purse (free INT, held INT, spent INT)"))
        await connection.execute(text("INSERT INTO purse VALUES (100, 0, 0)"))


async def main(cents: int) -> None:
    await open_the_purse()
    async with (
        purse.serve(coordinator=COORDINATOR) as server,
        trypact.Client(COORDINATOR) as client,
    ):
        await server.wait_registered()
        try:
            outcome = await client.execute("order", [tcc(HOLD, Hold(cents))])
            ended = str(outcome.state)
        except trypact.TransactionCancelled as no:
            ended = f"{no.outcome.state}, {no.reason}"
    async with engine.connect() as connection:
        free, held = (await connection.execute(text("SELECT free, held FROM purse"))).one()
    await engine.dispose()
    print(f"{ended}: {free} free, {held} held")


asyncio.run(main(int(sys.argv[1])))
