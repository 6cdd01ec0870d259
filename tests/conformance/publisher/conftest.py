"""Everything a message can be published to, each with real servers and somebody who receives."""

import asyncio
import contextlib
import itertools
from abc import abstractmethod
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Protocol, Self

import nats
import pytest
import trypact
from nats.js.api import StreamConfig
from redis.asyncio import Redis
from sqlalchemy import Connection
from trypact.fence import SqlAlchemyFence, sqlite_engine
from trypact.outbox import (
    BranchPublisher,
    JetStreamDelivery,
    JetStreamPublisher,
    Message,
    Publisher,
    RedisPublisher,
    RedisSubscription,
)
from trypact.outbox.redis_streams import stream_of
from trypact_coordinator.bootstrap import running
from trypact_coordinator.settings import Settings

from tests.servers.nats import NatsServer
from tests.servers.redis import RedisServer

TOPIC, NO_TOPIC = "mail.paid", "nowhere.paid"
PLACES = ("branches", "redis", "jetstream")
SECONDS_MAX = 20


class Place(Protocol):
    """Where messages go, and what has come of them there."""

    publisher: Publisher

    @abstractmethod
    async def received(self, count: int) -> list[Message]:
        """Return what a consumer of TOPIC has received, once it is so many."""

    @abstractmethod
    async def total(self) -> int:
        """Return how many messages of TOPIC there are, acknowledged or not."""

    @abstractmethod
    async def stop(self) -> None:
        """Stop the server, as a crash does."""

    @abstractmethod
    async def start(self) -> None:
        """Start it again, with all it has promised to keep."""


class Branches(Place):
    """A coordinator and a participant that takes messages."""

    def __init__(self, folder: Path) -> None:
        self._settings: dict[str, Any] = {
            "listen": "127.0.0.1:0",
            "journal": f"sqlite:///{folder / 'journal.db'}",
            "backoff_base_ms": 10,
            "backoff_cap_ms": 50,
            "stop_grace_ms": 1,
        }
        self._engine = sqlite_engine(folder / "mail.db")
        self._received: list[Message] = []
        self._changed = asyncio.Condition()
        self._running: contextlib.AsyncExitStack | None = None
        self._loop = asyncio.get_running_loop()

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[Self]:
        await self.start()
        endpoint = str(self._settings["listen"])
        fence = SqlAlchemyFence(self._engine)
        fence.create_tables()
        mail = trypact.Participant("mail", fence=fence)
        mail.message("paid", request=bytes)(self._take)
        async with (
            trypact.Client(endpoint, patience=1.0) as client,
            mail.serve(coordinator=endpoint, grace=0.1) as server,
        ):
            await server.wait_registered()
            self.publisher = BranchPublisher(client)
            yield self
        await self.stop()
        self._engine.dispose()

    def _take(self, call: trypact.Call[bytes], connection: Connection) -> None:
        asyncio.run_coroutine_threadsafe(self._note(call), self._loop)

    async def _note(self, call: trypact.Call[bytes]) -> None:
        async with self._changed:
            self._received.append(Message(TOPIC, call.request, id=call.xid))
            self._changed.notify_all()

    async def received(self, count: int) -> list[Message]:
        async with self._changed, asyncio.timeout(SECONDS_MAX):
            await self._changed.wait_for(lambda: len(self._received) >= count)
        return list(self._received)

    async def total(self) -> int:
        return len(self._received)

    async def stop(self) -> None:
        if self._running is not None:
            await self._running.aclose()
            self._running = None

    async def start(self) -> None:
        self._running = contextlib.AsyncExitStack()
        settings = Settings(**self._settings)
        coordinator = await self._running.enter_async_context(running(settings))
        self._settings["listen"] = coordinator.address


class Streams(Place):
    """A Redis server, and a consumer group."""

    def __init__(self, server: RedisServer, prefix: str) -> None:
        self._server = server
        self._prefix = prefix

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[Self]:
        async with Redis.from_url(self._server.url) as redis:
            self._redis = redis
            await redis.set(stream_of(NO_TOPIC, self._prefix), "no stream")
            self.publisher = RedisPublisher(redis, prefix=self._prefix)
            yield self

    async def received(self, count: int) -> list[Message]:
        group = RedisSubscription(self._redis, TOPIC, "mail", "mail-1", prefix=self._prefix)
        messages: list[Message] = []
        async with asyncio.timeout(SECONDS_MAX):
            async for delivery in group:
                await delivery.ack()
                messages.append(delivery.message)
                if len(messages) == count:
                    break
        return messages

    async def total(self) -> int:
        return int(await self._redis.xlen(stream_of(TOPIC, self._prefix)))

    async def stop(self) -> None:
        self._server.kill()

    async def start(self) -> None:
        self._server.start()


class JetStream(Place):
    """A NATS server, with a stream for each topic."""

    def __init__(self, server: NatsServer, prefix: str) -> None:
        self._server = server
        self._prefix = prefix

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[Self]:
        client = await nats.connect(
            self._server.url,
            reconnect_time_wait=0.05,
            max_reconnect_attempts=-1,
            error_cb=_ignore,
        )
        self._stream = self._prefix.strip(".")
        self._jetstream = client.jetstream(timeout=1.0)
        subject = self._prefix + TOPIC
        await self._jetstream.add_stream(StreamConfig(self._stream, subjects=[subject]))
        self._mail = await self._jetstream.pull_subscribe(subject, durable="mail")
        self.publisher = JetStreamPublisher(self._jetstream, prefix=self._prefix)
        yield self
        await client.close()

    async def received(self, count: int) -> list[Message]:
        messages: list[Message] = []
        while len(messages) < count:
            for one in await self._mail.fetch(count - len(messages), timeout=SECONDS_MAX):
                delivery = JetStreamDelivery(one, self._prefix)
                await delivery.ack()
                messages.append(delivery.message)
        return messages

    async def total(self) -> int:
        return (await self._jetstream.stream_info(self._stream)).state.messages

    async def stop(self) -> None:
        self._server.kill()

    async def start(self) -> None:
        self._server.start()


async def _ignore(error: Exception) -> None:
    """The server goes away on purpose."""


_numbers = itertools.count(1)


@pytest.fixture(params=PLACES)
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """One of them, with nothing in it."""
    name, number = request.param, next(_numbers)
    if name == "redis":
        redis = request.getfixturevalue("redis_server")
        opened: Any = Streams(redis, f"test{number}:").opened()
    elif name == "jetstream":
        opened = JetStream(request.getfixturevalue("nats_server"), f"test{number}.").opened()
    else:
        opened = Branches(tmp_path).opened()
    async with opened as place:
        yield place
