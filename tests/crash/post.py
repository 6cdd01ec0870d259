"""A desk that writes orders with messages, and a shelf that receives them; each can be told to die.

`python -m tests.crash.post desk DATABASE REDIS POINT ORDER` writes an order and its message in one
transaction (none for an empty ORDER), and relays messages until one has arrived.
`python -m tests.crash.post shelf DATABASE REDIS POINT` puts what it receives on the shelf until it
has acknowledged a message. POINT names the place at which the process kills itself, if any.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence

from redis.asyncio import Redis
from sqlalchemy import Connection, Engine, create_engine, text
from trypact.fence import sqlite_engine
from trypact.inbox import Consumer, Inbox
from trypact.outbox import (
    Arrived,
    Message,
    Outbox,
    Pace,
    Published,
    RedisDelivery,
    RedisPublisher,
    RedisSubscription,
    Relay,
)

TOPIC = "order.placed"
DESK_POINTS = ("before-commit", "after-commit", "before-publish", "after-publish", "after-arrival")
SHELF_POINTS = ("before-effect", "before-commit", "after-commit")
# A claim ends by itself after twice the time-out.
PACE = Pace(timeout=0.2, poll=0.01, retry_first=0.01, retry_most=0.01)


def engine_of(database: str) -> Engine:
    return sqlite_engine(database) if database.endswith(".db") else create_engine(database)


def visit(point: str, armed: str) -> None:
    """Die here, as by kill -9, if it is this point's turn."""
    if point == armed:
        os.kill(os.getpid(), signal.SIGKILL)


class DoomedPublisher:
    """Publishes to Redis, and dies before or after it, or ends its relay when all have arrived."""

    def __init__(self, redis: Redis, armed: str) -> None:
        self._inner = RedisPublisher(redis)
        self._armed = armed
        self.relay: Relay | None = None

    async def publish(self, messages: Sequence[Message], /) -> list[Published]:
        visit("before-publish", self._armed)
        outcomes = await self._inner.publish(messages)
        visit("after-publish", self._armed)
        if self.relay is not None and all(isinstance(one, Arrived) for one in outcomes):
            self.relay.stop()
        return outcomes


class DoomedDelivery:
    """Dies before its acknowledgement, which is the first thing after the commit."""

    def __init__(self, inner: RedisDelivery, armed: str) -> None:
        self._inner = inner
        self._armed = armed
        self.message, self.redelivered = inner.message, inner.redelivered

    async def ack(self) -> None:
        visit("after-commit", self._armed)
        await self._inner.ack()


async def desk(database: str, redis_url: str, armed: str, order: str) -> None:
    engine, outbox = engine_of(database), Outbox()
    with engine.begin() as connection:
        outbox.create_tables(connection)
        connection.execute(text("CREATE TABLE IF NOT EXISTS orders (id VARCHAR(64) PRIMARY KEY)"))
    if order:
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO orders VALUES (:id)"), {"id": order})
            outbox.add(connection, Message(TOPIC, {"order": order}))
            visit("before-commit", armed)
        visit("after-commit", armed)
    async with Redis.from_url(redis_url) as redis:
        publisher = DoomedPublisher(redis, armed)
        publisher.relay = Relay(engine, outbox, publisher, pace=PACE)
        await publisher.relay.run()
    visit("after-arrival", armed)


async def shelf(database: str, redis_url: str, armed: str) -> None:
    engine, inbox = engine_of(database), Inbox("shelf")
    with engine.begin() as connection:
        inbox.create_tables(connection)
        connection.execute(text("CREATE TABLE IF NOT EXISTS shelf (id VARCHAR(64))"))

    def put(message: Message, connection: Connection) -> None:
        visit("before-effect", armed)
        connection.execute(text("INSERT INTO shelf VALUES (:id)"), {"id": message.read()["order"]})
        visit("before-commit", armed)

    consumer = Consumer(engine, inbox, put)
    async with Redis.from_url(redis_url) as redis:
        async for delivery in RedisSubscription(redis, TOPIC, "shelf", "shelf-1", idle=0.0):
            if await consumer.handle(DoomedDelivery(delivery, armed)):
                return


if __name__ == "__main__":
    asyncio.run({"desk": desk, "shelf": shelf}[sys.argv[1]](*sys.argv[2:]))
