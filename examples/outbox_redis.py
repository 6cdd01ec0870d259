"""Write messages beside the orders they are about; consumers of a Redis stream act on each once.

With Redis running:

    $ python outbox_redis.py redis://127.0.0.1:6379
    order 17 is committed with its message
    shipping order 17
    delivered again, and not shipped again
"""

import asyncio
import sys

from redis.asyncio import Redis
from sqlalchemy import Connection, text
from trypact.fence import sqlite_engine
from trypact.inbox import Consumer, Inbox
from trypact.outbox import Message, Outbox, RedisPublisher, RedisSubscription, Relay

orders, outbox = sqlite_engine("outbox_redis_orders.db"), Outbox()
warehouse, inbox = sqlite_engine("outbox_redis_warehouse.db"), Inbox("warehouse")


def place(order: int) -> None:
    """Write the order and its message in one local transaction: both are there, or neither."""
    with orders.begin() as connection:
        connection.execute(text("INSERT INTO orders VALUES (:id)"), {"id": order})
        outbox.add(connection, Message("order.paid", {"order": order}, key=str(order)))
    print(f"order {order} is committed with its message")


def ship(message: Message, connection: Connection) -> None:
    """Send a parcel, in one local transaction with the inbox's row."""
    connection.execute(text("INSERT INTO parcels VALUES (:id)"), {"id": message.read()["order"]})
    print(f"shipping order {message.read()['order']}")


async def main(url: str) -> None:
    with orders.begin() as connection:
        outbox.create_tables(connection)
        connection.execute(text("CREATE TABLE IF NOT EXISTS orders (id INTEGER)"))
    with warehouse.begin() as connection:
        inbox.create_tables(connection)
        connection.execute(text("CREATE TABLE IF NOT EXISTS parcels (id INTEGER)"))
    consumer = Consumer(warehouse, inbox, ship)
    async with Redis.from_url(url) as redis, Relay(orders, outbox, RedisPublisher(redis)):
        place(17)
        async for delivery in RedisSubscription(redis, "order.paid", "warehouse", "warehouse-1"):
            await consumer.handle(delivery)
            # As a broker does when an acknowledgement is lost.
            await consumer.handle(delivery)
            print("delivered again, and not shipped again")
            break


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
