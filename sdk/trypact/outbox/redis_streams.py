"""Redis Streams: a publisher, and what consumers of a group receive. Needs `trypact[redis]`.

How durable a message is that has arrived there is Redis's affair: with `appendonly yes` and
`appendfsync always` it survives a crash of the server, with less it may not.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from inspect import iscoroutinefunction
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    ClusterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import TimeoutError as TimedOut

from trypact._arguments import require_number
from trypact.errors import InvalidRequest, TrypactError
from trypact.outbox.message import Message, received
from trypact.outbox.publisher import Arrived, Failed, Published, Unknown

logger = logging.getLogger("trypact.outbox")

# Adds an entry, unless the message's id was seen within the last so many seconds.
_ADD = """
local seen = redis.call('GET', KEYS[2])
if seen then return seen end
local limits = {}
if tonumber(ARGV[2]) > 0 then limits = {'MAXLEN', '~', ARGV[2]} end
local command = {'XADD', KEYS[1]}
for _, word in ipairs(limits) do table.insert(command, word) end
table.insert(command, '*')
for at = 3, #ARGV do table.insert(command, ARGV[at]) end
local entry = redis.call(unpack(command))
redis.call('SET', KEYS[2], entry, 'EX', ARGV[1])
return entry
"""
# These say something about the server, not about the message.
_SERVERS_TROUBLE = (
    NoConnection,
    TimedOut,
    OutOfMemoryError,
    ReadOnlyError,
    ClusterDownError,
    TryAgainError,
    OSError,
)
# So do these, which redis-py has no class for: too few replicas, a full disk, a long script.
_SERVERS_WORDS = ("NOREPLICAS", "MISCONF", "BUSY")
DAY_S = 86_400
_FIELDS = ("id", "topic", "key", "tag", "group", "payload")
# Where entries begin, and where a look at all of them has come to its end.
_FIRST = b"0-0"
# A read that blocks has to end before the client takes the server for dead: after 5 s, unless told
# otherwise.
_BLOCK_S_MAX = 2.0


def stream_of(topic: str, prefix: str = "trypact:") -> str:
    """Return the name of a topic's stream; it and its messages' ids share a cluster's slot."""
    return f"{prefix}{{{topic}}}"


class RedisPublisher:
    """Adds messages to a stream for each topic, once each.

    Args:
        redis: a client of redis-py's asyncio.
        prefix: of all keys.
        remember: seconds during which a message is not added again, however often it is published.
            Longer than a relay may be down, and at most a year.
        length_max: about how many entries a stream keeps, at most 100 000 000; 0 for all. Entries
            that nobody has read yet are dropped like others, so leave room.

        >>> from redis.asyncio import Redis
        >>> async with Redis.from_url("redis://127.0.0.1:6379") as redis:
        ...     await RedisPublisher(redis).publish([Message("order.paid", {"order": 17})])
        [Arrived()]
    """

    def __init__(
        self,
        redis: "Redis",
        *,
        prefix: str = "trypact:",
        remember: int = DAY_S,
        length_max: int = 0,
    ) -> None:
        _require_awaited(redis)
        require_number("remember", remember, 1, 366 * DAY_S, "seconds")
        require_number("length_max", length_max, 0, 100_000_000)
        self._redis = redis
        self._prefix = prefix
        self._limits = (remember, length_max)
        self._add = redis.register_script(_ADD)

    async def publish(self, messages: Sequence[Message], /) -> list[Published]:
        """Add them in one round trip; see `Publisher.publish`."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            for message in messages:
                stream = stream_of(message.topic, self._prefix)
                fields = [part for name in _FIELDS for part in (name, getattr(message, name))]
                keys = [stream, f"{stream}:{message.id}"]
                await self._add(keys=keys, args=[*self._limits, *fields], client=pipeline)
            said = await _cancellable(pipeline.execute(raise_on_error=False))
        return [_published(one) for one in said]


def _require_awaited(redis: Any) -> None:
    if not iscoroutinefunction(getattr(redis, "execute_command", None)):
        kind = f"{type(redis).__module__}.{type(redis).__name__}"
        raise TypeError(f"redis: is a {kind}; allowed: a client of redis.asyncio")


def _published(said: Any) -> Published:
    if not isinstance(said, Exception):
        return Arrived()
    why = f"{type(said).__name__}: {said}"
    if isinstance(said, _SERVERS_TROUBLE) or str(said).startswith(_SERVERS_WORDS):
        return Unknown(why)
    return Failed(why)


class RedisDelivery:
    """An entry that a consumer has received.

    Attributes:
        message: what was published.
        redelivered: whether some consumer of the group has received it before.

        >>> from redis.asyncio import Redis
        >>> async with Redis.from_url("redis://127.0.0.1:6379") as redis:
        ...     _ = await RedisPublisher(redis).publish([Message("order.sent", {"order": 17})])
        ...     async for delivery in RedisSubscription(redis, "order.sent", "mail", "mail-1"):
        ...         print(delivery.message.read(), delivery.redelivered)
        ...         await delivery.ack()
        ...         break
        {'order': 17} False
    """

    def __init__(
        self, subscription: "RedisSubscription", entry: bytes, message: Message, redelivered: bool
    ) -> None:
        self._subscription = subscription
        self._entry = entry
        self.message = message
        self.redelivered = redelivered

    async def ack(self) -> None:
        """Have it never delivered again; do so after your own commit."""
        await self._subscription.ack(self._entry)


class RedisSubscription:
    """What one consumer of a group receives of a topic, without end.

        async for delivery in RedisSubscription(redis, "order.paid", "members", "members-1"):
            ...
            await delivery.ack()

    What is not acknowledged within `idle` seconds is delivered again, to whoever of the group
    asks first; that is also how the entries of a consumer that died come back. The group is
    created if there is none, and gets the stream from its beginning. An entry that is no message
    is logged and left unacknowledged, for somebody to look at.

    Args:
        redis: a client of redis-py's asyncio that does not decode responses.
        topic: as in `Message.topic`.
        group: a name for all consumers that share the work.
        consumer: this one's name, unlike any other's of the group.
        prefix: as the publisher's.
        idle: seconds; longer than handlers ever take for a batch.
        batch: how many are fetched at a time, at most 1 000.

        >>> from redis.asyncio import Redis
        >>> async with Redis.from_url("redis://127.0.0.1:6379") as redis:
        ...     _ = await RedisPublisher(redis).publish([Message("order.lost", {"order": 17})])
        ...     async for delivery in RedisSubscription(redis, "order.lost", "mail", "mail-1"):
        ...         print(delivery.message.topic)
        ...         await delivery.ack()
        ...         break
        order.lost
    """

    def __init__(
        self,
        redis: "Redis",
        topic: str,
        group: str,
        consumer: str,
        *,
        prefix: str = "trypact:",
        idle: float = 60.0,
        batch: int = 10,
    ) -> None:
        _require_awaited(redis)
        if redis.connection_pool.connection_kwargs.get("decode_responses"):
            raise InvalidRequest("redis: decodes responses; allowed: decode_responses=False")
        require_number("idle", idle, 0, DAY_S, "seconds")
        require_number("batch", batch, 1, 1_000)
        self._redis = redis
        self._stream = stream_of(topic, prefix)
        self._group = group
        self._consumer = consumer
        self._idle_ms = round(idle * 1000)
        patience = redis.connection_pool.connection_kwargs.get("socket_timeout")
        self._block_s = min(max(idle / 2, 0.01), (patience or 2 * _BLOCK_S_MAX) / 2, _BLOCK_S_MAX)
        self._batch = batch

    async def ack(self, entry: bytes) -> None:
        """Have an entry never delivered to this group again."""
        await _cancellable(self._redis.xack(self._stream, self._group, entry))

    async def __aiter__(self) -> AsyncIterator[RedisDelivery]:
        """Yield deliveries; wait while Redis is away. Raises redis-py's other errors."""
        while True:
            try:
                await self._create_group()
                while True:
                    async for delivery in self._look():
                        yield delivery
            except (NoConnection, TimedOut, ResponseError) as error:
                if not _passes(error):
                    raise
                logger.warning("%s cannot be read: %s", self._stream, error)
                await asyncio.sleep(self._block_s)

    async def _look(self) -> AsyncIterator[RedisDelivery]:
        """Yield what others have left, and what comes until it is time to look for that again."""
        async for delivery in self._taken_over():
            yield delivery
        loop = asyncio.get_running_loop()
        look_at = loop.time() + self._block_s
        while (left := look_at - loop.time()) > 0:
            for delivery in self._deliveries(await self._new(left), redelivered=False):
                yield delivery

    async def _create_group(self) -> None:
        creating = self._redis.xgroup_create(self._stream, self._group, id="0", mkstream=True)
        try:
            await _cancellable(creating)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    async def _taken_over(self) -> AsyncIterator[RedisDelivery]:
        """Take over all that nobody has acknowledged for too long, a batch at a time."""
        start: Any = _FIRST
        while True:
            claiming = self._redis.xautoclaim(
                self._stream, self._group, self._consumer, self._idle_ms, start, count=self._batch
            )
            start, entries, *_ = await _cancellable(claiming)
            for delivery in self._deliveries(entries, redelivered=True):
                yield delivery
            if start == _FIRST:
                return

    async def _new(self, seconds: float) -> list[Any]:
        """Wait that long for entries that the group has not received yet."""
        reading = self._redis.xreadgroup(
            self._group,
            self._consumer,
            {self._stream: ">"},
            count=self._batch,
            block=max(1, round(seconds * 1000)),
        )
        found = await _cancellable(reading)
        streams = found.values() if isinstance(found, dict) else [one[1] for one in found or ()]
        return [entry for stream in streams for entry in _flat(stream)]

    def _deliveries(self, entries: Sequence[Any], *, redelivered: bool) -> Iterator[RedisDelivery]:
        for entry, fields in entries:
            try:
                message = _message(fields)
            except (TrypactError, UnicodeDecodeError) as error:
                # One that anybody has added must not keep the group from the rest.
                logger.error(
                    "entry %s of %s is no message: %s", entry.decode(), self._stream, error
                )
            else:
                yield RedisDelivery(self, entry, message, redelivered)


def _passes(error: Exception) -> bool:
    """Whether it is over when Redis is back; if that has lost the group, it is created again."""
    if isinstance(error, ResponseError):
        return str(error).startswith("NOGROUP")
    return not isinstance(error, AuthenticationError | AuthorizationError)


async def _cancellable(asked: Awaitable[Any]) -> Any:
    """Return what redis-py answers, unless this task was cancelled meanwhile.

    redis-py sends through `asyncio.wait_for`, which before Python 3.12 loses a cancellation that
    comes at the turn at which it has sent: whoever reads without end would go on for ever.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    answer = await asked
    if task and task.cancelling() > before:
        raise asyncio.CancelledError
    return answer


def _flat(entries: Any) -> Any:
    # RESP3 has one list more around them.
    return entries[0] if entries and isinstance(entries[0], list) else entries


def _message(fields: Mapping[bytes, bytes]) -> Message:
    values = {name: fields.get(name.encode(), b"") for name in _FIELDS}
    payload = values.pop("payload")
    texts = {name: value.decode() for name, value in values.items()}
    return received(texts.pop("topic"), payload, **texts)
