"""Reserve in MySQL or MariaDB; only the engine differs from any other database.

With `trypact dev` in another terminal, and a MySQL or MariaDB server:

    $ python fence_mysql.py mysql+pymysql://root@127.0.0.1:3306/shop 3
    confirmed: 7 free, 0 held
    $ python fence_mysql.py mysql+pymysql://root@127.0.0.1:3306/shop 11
    cancelled, out_of_stock: 10 free, 0 held
"""

import asyncio
import os
import sys
from dataclasses import dataclass

import trypact
from sqlalchemy import Connection, create_engine, text
from trypact import Call, tcc
from trypact.fence import SqlAlchemyFence

COORDINATOR = os.environ.get("TRYPACT_SERVER", "127.0.0.1:7000")


@dataclass
class Reserve:
    quantity: int


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


async def main(url: str, quantity: int) -> None:
    engine = create_engine(url)
    fence = SqlAlchemyFence(engine)
    fence.create_tables()
    # Not in a handler: MySQL commits before and after such statements.
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS stock"))
        connection.execute(text("CREATE TABLE stock (free INT, held INT, sold INT)"))
        connection.execute(text("INSERT INTO stock VALUES (10, 0, 0)"))
    stock = trypact.Participant("stock", fence=fence)
    stock.tcc("reserve")(Stock)
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


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
