"""The consumer: effects and the inbox's row in one local transaction, then the acknowledgement."""

import asyncio
import logging
from collections.abc import AsyncIterable, Awaitable, Callable
from typing import Protocol, cast

from sqlalchemy import Connection, Engine
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from trypact._local_transaction import LocalDatabase
from trypact.inbox.inbox import Inbox
from trypact.inbox.tables import State
from trypact.outbox.message import Message

logger = logging.getLogger("trypact.inbox")

Handler = Callable[[Message, Connection], object]
AsyncHandler = Callable[[Message, AsyncConnection], Awaitable[object]]


class Delivery(Protocol):
    """A message as a broker delivers it.

    >>> class Letter:
    ...     def __init__(self, message, redelivered=False):
    ...         self.message, self.redelivered = message, redelivered
    ...     async def ack(self):
    ...         print("acknowledged")
    >>> from trypact.outbox import Message
    >>> inbox = Inbox("warehouse")
    >>> with engine.begin() as connection:
    ...     inbox.create_tables(connection)
    >>> ship = Consumer(engine, inbox, lambda message, connection: print("ship", message.read()))
    >>> await ship.handle(Letter(Message("order.paid", 17)))
    ship 17
    acknowledged
    True
    """

    @property
    def message(self) -> Message:
        """What was published."""
        ...

    @property
    def redelivered(self) -> bool:
        """Whether it may have been delivered before."""
        ...

    async def ack(self) -> None:
        """Have it never delivered to this group again."""
        ...


class Consumer:
    """Does what messages ask for, once each.

        await Consumer(engine, inbox, add_points).run(subscription)

    Args:
        engine: of the inbox's database; with a synchronous one the handler runs on a thread.
        inbox: of the consumer's group.
        handler: takes the message and the open connection, and does its effects there; a coroutine
            function for an AsyncEngine. What it raises undoes them, and the message, which is not
            acknowledged, is delivered again in the broker's own time, until its inbox parks it.

    Raises TypeError for a handler that does not fit the engine.

    >>> from redis.asyncio import Redis
    >>> from trypact.outbox import Message, RedisPublisher, RedisSubscription
    >>> inbox = Inbox("warehouse")
    >>> with engine.begin() as connection:
    ...     inbox.create_tables(connection)
    >>> def ship(message, connection):
    ...     print("ship", message.read())
    >>> async with Redis.from_url("redis://127.0.0.1:6379") as redis:
    ...     _ = await RedisPublisher(redis).publish([Message("order.due", 17)])
    ...     async for delivery in RedisSubscription(redis, "order.due", "warehouse", "w-1"):
    ...         if await Consumer(engine, inbox, ship).handle(delivery):
    ...             break
    ship 17
    """

    def __init__(
        self, engine: Engine | AsyncEngine, inbox: Inbox, handler: Handler | AsyncHandler
    ) -> None:
        awaits = asyncio.iscoroutinefunction(handler)
        if awaits != isinstance(engine, AsyncEngine):
            raise TypeError("an AsyncEngine goes with an `async def` handler, an Engine with a def")
        self._engine = engine
        self._database = LocalDatabase(engine)
        self._inbox = inbox
        self._handler = handler

    async def run(self, deliveries: AsyncIterable[Delivery]) -> None:
        """Handle deliveries one after another, until they end or what yields them raises."""
        async for delivery in deliveries:
            try:
                await self.handle(delivery)
            except Exception as error:
                # It is delivered again, and found done.
                logger.warning("message %s is not acknowledged: %s", delivery.message.id, error)

    async def handle(self, delivery: Delivery) -> bool:
        """Handle one; say whether it is done and acknowledged. Raises what `ack` raises."""
        message = delivery.message
        try:
            state = await self._begin(message) if delivery.redelivered else State.PROCESSING
            if state is State.PARKED:
                logger.error(
                    "message %s (%s) is parked, for it failed too often; retry or skip it",
                    message.id,
                    message.topic,
                )
                return False
            if state is State.PROCESSING:
                await self._work(message)
        except Exception as error:
            logger.warning(
                "message %s (%s) failed: %s", message.id, message.topic, error, exc_info=True
            )
            await self._fail(message, f"{type(error).__name__}: {error}")
            return False
        await delivery.ack()
        return True

    async def _begin(self, message: Message) -> State:
        return await self._database.run(lambda connection: self._inbox.begin(connection, message))

    async def _work(self, message: Message) -> None:
        if isinstance(self._engine, AsyncEngine):
            async with self._engine.begin() as connection:
                if await self._inbox.take_async(connection, message):
                    await cast("AsyncHandler", self._handler)(message, connection)
            return

        def work(connection: Connection) -> None:
            if self._inbox.take(connection, message):
                cast("Handler", self._handler)(message, connection)

        await self._database.run(work)

    async def _fail(self, message: Message, why: str) -> None:
        try:
            await self._database.run(lambda one: self._inbox.fail(one, message, why))
        except Exception as error:
            # It is delivered again all the same.
            logger.warning("the inbox's database: %s: %s", type(error).__name__, error)
