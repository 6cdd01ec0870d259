"""Reserve in Redis: read first, then queue what is written together with the fence's row.

With `trypact dev` in another terminal, and a Redis server:

    $ python fence_redis.py redis://127.0.0.1:6379 3
    confirmed: 7 free, 0 held
    $ python fence_redis.py redis://127.0.0.1:6379 11
    cancelled, out_of_stock: 10 free, 0 held
"""

import asyncio
import os
import sys
from dataclasses import dataclass
from typing import Any

import trypact
from redis import Redis
from trypact import Call, tcc
from trypact.fence import RedisFence

COORDINATOR = os.environ.get("TRYPACT_SERVER", "127.0.0.1:7000")


@dataclass
class Reserve:
    quantity: int


class Stock:
    """Its handlers get redis-py's own pipeline."""

    def try_(self, call: Call[Reserve], redis: Any) -> None:
        # If somebody else changes what was watched, this runs again.
        redis.watch("stock:free")
        if int(redis.get("stock:free") or 0) < call.request.quantity:
            raise trypact.Refuse("out_of_stock")
        redis.multi()
        redis.decrby("stock:free", call.request.quantity)
        redis.incrby("stock:held", call.request.quantity)

    def confirm(self, call: Call[Reserve], redis: Any) -> None:
        redis.multi()
        redis.decrby("stock:held", call.request.quantity)

    def cancel(self, call: Call[Reserve], redis: Any) -> None:
        redis.multi()
        redis.decrby("stock:held", call.request.quantity)
        redis.incrby("stock:free", call.request.quantity)


async def main(url: str, quantity: int) -> None:
    redis = Redis.from_url(url, decode_responses=True)
    redis.mset({"stock:free": 10, "stock:held": 0})
    stock = trypact.Participant("stock", fence=RedisFence(redis))
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
    free, held = (int(redis.get(f"stock:{name}") or 0) for name in ("free", "held"))
    print(f"{ended}: {free} free, {held} held")
    redis.close()


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
