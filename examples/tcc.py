"""Reserve in two services, then use both reservations or release them: try, confirm, cancel.

With `trypact dev` in another terminal:

    $ python tcc.py 3
    confirmed: 7 free, 0 held
    $ python tcc.py 11
    cancelled, out_of_stock: 10 free, 0 held
"""

import asyncio
import os
import sys
from dataclasses import dataclass

import trypact
from sqlalchemy import Connection, text
from trypact import Call, tcc
from trypact.fence import SqlAlchemyFence, sqlite_engine

COORDINATOR = os.environ.get("TRYPACT_SERVER", "127.0.0.1:7000")

engine = sqlite_engine("tcc.db")
fence = SqlAlchemyFence(engine)
stock = trypact.Participant("stock", fence=fence)


@dataclass
class Reserve:
    quantity: int


@stock.tcc("reserve")
class Stock:
    def try_(self, call: Call[Reserve], connection: Connection) -> None:
        if not move(connection, "free", "held", call.request.quantity):
            raise trypact.Refuse("out_of_stock")

    def confirm(self, call: Call[Reserve], connection: Connection) -> None:
        move(connection, "held", "sold", call.request.quantity)

    def cancel(self, call: Call[Reserve], connection: Connection) -> None:
        move(connection, "held", "free", call.request.quantity)


def move(connection: Connection, source: str, target: str, n: int) -> bool:
    sql = (
        f"UPDATE stock SET {source} = {source} - :n, {target} = {target} + :n WHERE {source} >= :n"
    )
    return connection.execute(text(sql), {"n": n}).rowcount == 1


def open_the_shop() -> None:
    fence.create_tables()
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS stock"))
        connection.execute(text("CREATE TABLE stock (free INT, held INT, sold INT)"))
        connection.execute(text("INSERT INTO stock VALUES (10, 0, 0)"))


async def main(quantity: int) -> None:
    open_the_shop()
    async with (
        stock.serve(coordinator=COORDINATOR) as server,
        trypact.Client(COORDINATOR) as client,
    ):
        await server.wait_registered()
        try:
            outcome = await client.execute("order", [tcc("stock.reserve", Reserve(quantity))])
            ended = str(outcome.state)
        except trypact.TransactionCancelled as no:
            ended = f"{no.outcome.state}, {no.reason}"
    with engine.connect() as connection:
        free, held = connection.execute(text("SELECT free, held FROM stock")).one()
    print(f"{ended}: {free} free, {held} held")


asyncio.run(main(int(sys.argv[1])))
