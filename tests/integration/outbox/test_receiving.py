"""What consumers of the brokers are given, again too when they do not acknowledge."""

import asyncio
import contextlib
import itertools
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nats
import pytest
import trypact
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, ResponseError
from sqlalchemy import Connection
from trypact.fence import sqlite_engine
from trypact.inbox import Consumer, Inbox
from trypact.outbox import (
    Arrived,
    JetStreamDelivery,
    JetStreamPublisher,
    Message,
    RedisDelivery,
    RedisPublisher,
    RedisSubscription,
    Unknown,
)
from trypact.outbox.redis_streams import _BLOCK_S_MAX

from tests.servers.nats import NatsServer
from tests.servers.redis import RedisServer

TOPIC = "order.paid"
_numbers = itertools.count(1)


@pytest.fixture(params=[2, 3])
async def client(redis_server: RedisServer, request: pytest.FixtureRequest) -> AsyncIterator[Redis]:
    """A client of the older protocol, or of the newer, whose answers differ."""
    async with Redis.from_url(redis_server.url, protocol=request.param) as client:
        yield client


@pytest.fixture
def prefix() -> str:
    return f"receiving{next(_numbers)}:"


async def first_of(subscription: RedisSubscription) -> RedisDelivery:
    async with asyncio.timeout(20):
        return await anext(aiter(subscription))


async def test_what_a_consumer_leaves_is_given_to_another_of_its_group(
    client: Redis, prefix: str
) -> None:
    message = Message(TOPIC, {"order": 17}, key="17", tag="books", group="orders")
    await RedisPublisher(client, prefix=prefix).publish([message])
    dying = RedisSubscription(client, TOPIC, "members", "members-1", prefix=prefix)
    heir = RedisSubscription(client, TOPIC, "members", "members-2", prefix=prefix, idle=0.0)
    other = RedisSubscription(client, TOPIC, "billing", "billing-1", prefix=prefix)

    left = await first_of(dying)
    taken_over = await first_of(heir)
    await taken_over.ack()
    elsewhere = await first_of(other)

    assert (left.message, left.redelivered) == (message, False)
    assert (taken_over.message, taken_over.redelivered) == (message, True)
    assert (elsewhere.message, elsewhere.redelivered) == (message, False)
    await RedisPublisher(client, prefix=prefix).publish([Message(TOPIC, 2)])
    assert (await first_of(heir)).message.read() == 2


async def test_a_consumer_that_waits_is_given_what_comes(client: Redis, prefix: str) -> None:
    subscription = RedisSubscription(client, TOPIC, "members", "members-1", prefix=prefix)
    waiting = asyncio.create_task(first_of(subscription))
    await asyncio.sleep(0)
    await RedisPublisher(client, prefix=prefix).publish([Message(TOPIC, 1)])
    assert (await waiting).message.read() == 1


async def test_a_consumer_waits_for_longer_than_its_client_waits_for_an_answer(
    redis_server: RedisServer, client: Redis, prefix: str
) -> None:
    async with Redis.from_url(redis_server.url, socket_timeout=0.3) as hasty:
        subscription = RedisSubscription(hasty, TOPIC, "members", "members-1", prefix=prefix)
        with pytest.raises(TimeoutError):  # our own, and none of the client's
            async with asyncio.timeout(0.4):
                await anext(aiter(subscription))
    ordinary = client.connection_pool.make_connection().socket_timeout
    assert ordinary is not None
    assert ordinary > _BLOCK_S_MAX


class Forgetful(Redis):
    """Loses a cancellation as `asyncio.wait_for` does before Python 3.12: it has sent by then."""

    losing = ""
    sent: asyncio.Event

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        said = await super().execute_command(*args, **options)
        if args[0] == self.losing:
            self.losing = ""
            self.sent.set()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        return said


@pytest.mark.parametrize("command", ["XGROUP CREATE", "XAUTOCLAIM", "XREADGROUP", "XACK"])
async def test_a_cancellation_that_the_client_loses_is_heeded(
    redis_server: RedisServer, prefix: str, command: str
) -> None:
    async with Forgetful.from_url(redis_server.url) as forgetful:
        forgetful.losing, forgetful.sent = command, asyncio.Event()
        await RedisPublisher(forgetful, prefix=prefix).publish([Message(TOPIC, 1)])
        subscription = RedisSubscription(forgetful, TOPIC, "members", "members-1", prefix=prefix)

        async def acknowledge_all() -> None:
            async for delivery in subscription:
                await delivery.ack()

        running = asyncio.create_task(acknowledge_all())
        await forgetful.sent.wait()
        running.cancel()
        await asyncio.wait([running], timeout=5)
        heeded = running.cancelled()
        running.cancel()
    assert heeded


async def test_a_consumer_outlives_its_broker_and_what_that_has_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server, finished = RedisServer(appendonly="no"), asyncio.Event()
    loop = asyncio.get_running_loop()
    engine, inbox = sqlite_engine(tmp_path / "members.db"), Inbox("members")
    done: list[int] = []
    with engine.begin() as connection:
        inbox.create_tables(connection)

    async def publish(number: int) -> None:
        async with Redis.from_url(server.url) as client:
            await RedisPublisher(client).publish([Message(TOPIC, number)])

    def handle(message: Message, connection: Connection) -> None:
        done.append(message.read())
        if done == [1]:
            # Before it is acknowledged; neither the stream nor the group is there afterwards.
            server.kill()
            server.start()
            asyncio.run_coroutine_threadsafe(publish(2), loop)
        else:
            loop.call_soon_threadsafe(finished.set)

    async with Redis.from_url(server.url, retry=Retry(NoBackoff(), 0)) as client:
        subscription = RedisSubscription(client, TOPIC, "members", "members-1", idle=1.0)
        running = asyncio.create_task(Consumer(engine, inbox, handle).run(subscription))
        await publish(1)
        async with asyncio.timeout(60):
            await asyncio.wait(
                [running, asyncio.ensure_future(finished.wait())],
                return_when=asyncio.FIRST_COMPLETED,
            )
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    server.remove()
    engine.dispose()
    assert done == [1, 2]
    assert {record.levelname for record in caplog.records} == {"WARNING"}


async def test_a_consumer_does_not_wait_for_what_no_time_mends(
    redis_server: RedisServer, prefix: str
) -> None:
    async with Redis.from_url(redis_server.url, username="nobody", password="x") as client:
        with pytest.raises(AuthenticationError):
            await first_of(RedisSubscription(client, TOPIC, "g", "c", prefix=prefix))
    async with Redis.from_url(redis_server.url) as client:
        await client.set(f"{prefix}{{{TOPIC}}}", "no stream")
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            await first_of(RedisSubscription(client, TOPIC, "g", "c", prefix=prefix))


async def test_all_that_was_left_is_given_to_another_however_much_it_is(
    client: Redis, prefix: str
) -> None:
    messages = [Message(TOPIC, number) for number in range(25)]
    await RedisPublisher(client, prefix=prefix).publish(messages)
    dying = RedisSubscription(client, TOPIC, "members", "members-1", prefix=prefix, batch=100)
    heir = RedisSubscription(client, TOPIC, "members", "members-2", prefix=prefix, idle=0, batch=1)
    await first_of(dying)

    taken_over = aiter(heir)
    async with asyncio.timeout(20):
        given = [(await anext(taken_over)).message for _ in messages]
    assert given == messages


async def test_an_entry_that_is_no_message_keeps_nobody_from_the_rest(
    client: Redis, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    stream = f"{prefix}{{{TOPIC}}}"
    await client.xadd(stream, {"topic": TOPIC, "payload": "17"})
    await client.xadd(stream, {"topic": TOPIC, "id": b"\xff"})
    message = Message(TOPIC, {"order": 17})
    await RedisPublisher(client, prefix=prefix).publish([message])
    subscription = RedisSubscription(client, TOPIC, "members", "members-1", prefix=prefix)

    delivery = await first_of(subscription)
    await delivery.ack()

    assert delivery.message == message
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert "is no message: id: is empty" in caplog.text
    assert (await client.xpending(stream, "members"))["pending"] == 2


async def test_a_stream_keeps_about_as_many_entries_as_it_is_told(
    client: Redis, prefix: str
) -> None:
    publisher = RedisPublisher(client, prefix=prefix, length_max=100)
    for _ in range(5):
        await publisher.publish([Message(TOPIC, number) for number in range(100)])
    assert 100 <= await client.xlen(f"{prefix}{{{TOPIC}}}") < 300


async def test_what_a_server_cannot_take_just_now_is_not_refused(
    client: Redis, prefix: str
) -> None:
    publisher, message = RedisPublisher(client, prefix=prefix), Message(TOPIC, 1)
    for setting, trouble in (("min-replicas-to-write", "1"), ("maxmemory", "1")):
        await client.config_set(setting, trouble)
        try:
            (answer,) = await publisher.publish([message])
        finally:
            await client.config_set(setting, "0")
        assert isinstance(answer, Unknown), setting
    assert await publisher.publish([message]) == [Arrived()]


async def test_jetstream_says_what_was_delivered_before(nats_server: NatsServer) -> None:
    connection = await nats.connect(nats_server.url)
    jetstream = connection.jetstream()
    subject = f"receiving.{TOPIC}"
    await jetstream.add_stream(name="receiving", subjects=[subject])
    consumer = await jetstream.pull_subscribe(subject, durable="members")
    message = Message(TOPIC, {"order": 17}, key="17")
    await JetStreamPublisher(jetstream, prefix="receiving.").publish([message])

    (received,) = await consumer.fetch(1, timeout=20)
    first = JetStreamDelivery(received, "receiving.")
    await received.nak()
    (again,) = await consumer.fetch(1, timeout=20)
    second = JetStreamDelivery(again, "receiving.")
    await second.ack()
    await jetstream.publish(subject, b"{}")
    (foreign,) = await consumer.fetch(1, timeout=20)
    with pytest.raises(trypact.errors.InvalidRequest, match="id: is empty"):
        JetStreamDelivery(foreign, "receiving.")
    await connection.drain()

    assert (first.message, first.redelivered) == (message, False)
    assert (second.message, second.redelivered) == (message, True)


async def test_what_cannot_be_received_is_refused_at_the_door(
    redis_server: RedisServer, client: Redis
) -> None:
    def subscribe(redis: Redis, **options: float) -> RedisSubscription:
        return RedisSubscription(redis, TOPIC, "g", "c", **options)  # type: ignore[arg-type]

    async with Redis.from_url(redis_server.url, decode_responses=True) as decoding:
        with pytest.raises(trypact.errors.InvalidRequest, match="decode_responses=False"):
            subscribe(decoding)
    with pytest.raises(trypact.errors.InvalidRequest, match="idle: is -1; allowed: 0 to 86400 s"):
        subscribe(client, idle=-1)
    with pytest.raises(trypact.errors.InvalidRequest, match="batch: is 0; allowed: 1 to 1000"):
        subscribe(client, batch=0)
    with pytest.raises(
        trypact.errors.InvalidRequest, match="remember: is 0; allowed: 1 to 31622400"
    ):
        RedisPublisher(client, remember=0)
    with pytest.raises(trypact.errors.InvalidRequest, match="remember: is 31622401"):
        RedisPublisher(client, remember=31_622_401)
    with pytest.raises(trypact.errors.InvalidRequest, match="length_max: is -1; allowed: 0 to"):
        RedisPublisher(client, length_max=-1)
    with pytest.raises(trypact.errors.InvalidRequest, match="length_max: is 100000001"):
        RedisPublisher(client, length_max=100_000_001)
    RedisPublisher(client, remember=31_622_400, length_max=100_000_000)


def test_the_packages_import_what_is_optional_only_when_it_is_asked_for() -> None:
    script = (
        "import sys, trypact.outbox, trypact.inbox;"
        "print([name for name in ('sqlalchemy', 'redis', 'nats', 'click') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("package", ["outbox", "inbox"])
def test_every_exported_name_is_there(package: str) -> None:
    module = getattr(__import__(f"trypact.{package}"), package)
    assert [name for name in module.__all__ if getattr(module, name).__doc__ is None] == []
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        module.nothing  # noqa: B018
