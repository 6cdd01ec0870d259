"""Reserve in PostgreSQL with plain psycopg, without SQLAlchemy.

With `trypact dev` in another terminal, and a PostgreSQL server:

    $ python fence_psycopg.py postgresql://postgres@127.0.0.1:5432/shop 3
    confirmed: 7 free, 0 held
    $ python fence_psycopg.py postgresql://postgres@127.0.0.1:5432/shop 11
    cancelled, out_of_stock: 10 free, 0 held
"""

import asyncio
import os
import sys
from dataclasses import dataclass
from typing import Any

import psycopg
import trypact
from psycopg import sql
from trypact import Call, tcc
from trypact.fence import PsycopgFence

COORDINATOR = os.environ.get("TRYPACT_SERVER", "127.0.0.1:7000")

Connection = psycopg.Connection[Any]


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
    statement = sql.SQL(
        "UPDATE stock SET {s} = {s} - %(n)s, {t} = {t} + %(n)s WHERE {s} >= %(n)s"
    ).format(s=sql.Identifier(source), t=sql.Identifier(target))
    return connection.execute(statement, {"n": n}).rowcount == 1


async def main(url: str, quantity: int) -> None:
    # A pool is better for a service: PsycopgFence(pool.connection).
    fence = PsycopgFence(lambda: psycopg.connect(url))
    fence.create_tables()
    with psycopg.connect(url) as connection:
        connection.execute("DROP TABLE IF EXISTS stock")
        connection.execute("CREATE TABLE stock (free INT, held INT, sold INT)")
        connection.execute("INSERT INTO stock VALUES (10, 0, 0)")
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
    with psycopg.connect(url) as connection:
        free, held = connection.execute("SELECT free, held FROM stock").fetchall()[0]
    print(f"{ended}: {free} free, {held} held")


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
