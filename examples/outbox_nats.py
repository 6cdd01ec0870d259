"""Write messages beside the orders they are about; consumers of a NATS stream act on each once.

With `nats-server --jetstream` running:

    $ python outbox_nats.py nats://127.0.0.1:4222
    order 17 is committed with its message
    shipping order 17
"""

import asyncio
import sys

import nats
from sqlalchemy import Connection, text
from trypact.fence import sqlite_engine
from trypact.inbox import Consumer, Inbox
from trypact.outbox import JetStreamDelivery, JetStreamPublisher, Message, Outbox, Relay

orders, outbox = sqlite_engine("outbox_nats_orders.db"), Outbox()
warehouse, inbox = sqlite_engine("outbox_nats_warehouse.db"), Inbox("warehouse")


def place(order: int) -> None:
    """Write the order and its message in one local transaction: both are there, or neither."""
    with orders.begin() as connection:
        connection.execute(text("INSERT INTO orders VALUES (:id)"), {"id": order})
        outbox.add(connection, Message("order.placed", {"order": order}, key=str(order)))
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
    async with await nats.connect(url) as connected:
        jetstream = connected.jetstream()
        # It recognises duplicates for this many seconds; the inbox does so for good.
        await jetstream.add_stream(
            name="orders", subjects=["order.placed"], duplicate_window=7 * 86_400.0
        )
        subscription = await jetstream.pull_subscribe("order.placed", durable="warehouse")
        async with Relay(orders, outbox, JetStreamPublisher(jetstream)):
            place(17)
            (delivered,) = await subscription.fetch(timeout=30.0)
            await consumer.handle(JetStreamDelivery(delivered))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
