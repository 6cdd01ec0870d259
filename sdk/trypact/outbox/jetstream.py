"""NATS JetStream: a publisher, and what its consumers receive. Needs the extra `trypact[nats]`."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nats.errors import BadHeaderError, BadSubjectError, MaxPayloadError
from nats.errors import Error as NatsError
from nats.js.errors import APIError, NoStreamResponseError, ServerError, ServiceUnavailableError

from trypact.outbox.message import Message, received
from trypact.outbox.publisher import Arrived, Failed, Published, Unknown

if TYPE_CHECKING:
    from nats.aio.msg import Msg
    from nats.js import JetStreamContext

_ID = "Nats-Msg-Id"
_HEADERS = {"key": "Trypact-Key", "tag": "Trypact-Tag", "group": "Trypact-Group"}


class JetStreamPublisher:
    """Publishes each message on the subject that is its topic, with its id in `Nats-Msg-Id`.

    A stream that takes the subjects has to exist. It recognises duplicates within its
    `duplicate_window`: two minutes unless you make it longer, as you should.

    Args:
        jetstream: what `nats.jetstream()` returned.
        prefix: comes before the topic in the subject.

        >>> import nats
        >>> async with await nats.connect("nats://127.0.0.1:4222") as connection:
        ...     jetstream = connection.jetstream()
        ...     _ = await jetstream.add_stream(name="payments", subjects=["order.paid"])
        ...     await JetStreamPublisher(jetstream).publish([Message("order.paid", {"order": 17})])
        [Arrived()]
    """

    def __init__(self, jetstream: "JetStreamContext", *, prefix: str = "") -> None:
        self._jetstream = jetstream
        self._prefix = prefix

    async def publish(self, messages: Sequence[Message], /) -> list[Published]:
        """Publish them at once, and wait for the stream's acknowledgements."""
        return list(await asyncio.gather(*map(self._publish, messages)))

    async def _publish(self, message: Message) -> Published:
        named = {header: getattr(message, name) for name, header in _HEADERS.items()}
        headers = {header: value for header, value in named.items() if value}
        subject = self._prefix + message.topic
        try:
            await self._jetstream.publish(
                subject, message.payload, headers={_ID: message.id, **headers}
            )
        except NoStreamResponseError:
            return Failed(f"no stream takes the subject {subject!r}; add one that does")
        except (ServerError, ServiceUnavailableError) as error:
            return Unknown(str(error))
        except (APIError, BadHeaderError, BadSubjectError, MaxPayloadError) as error:
            return Failed(f"{type(error).__name__}: {error}")
        except (NatsError, OSError, TimeoutError) as error:
            return Unknown(f"{type(error).__name__}: {error}")
        return Arrived()


class JetStreamDelivery:
    """A message that a JetStream consumer has received from a `JetStreamPublisher`.

    Args:
        delivered: what NATS's client gave.
        prefix: as the publisher's.

    Attributes:
        message: what was published.
        redelivered: whether it was delivered before.

    Raises InvalidRequest for what nobody has published so: without an id, for example.

    >>> import nats
    >>> async with await nats.connect("nats://127.0.0.1:4222") as connection:
    ...     jetstream = connection.jetstream()
    ...     _ = await jetstream.add_stream(name="parcels", subjects=["order.sent"])
    ...     _ = await JetStreamPublisher(jetstream).publish([Message("order.sent", {"order": 17})])
    ...     mail = await jetstream.pull_subscribe("order.sent", durable="mail")
    ...     for delivered in await mail.fetch():
    ...         delivery = JetStreamDelivery(delivered)
    ...         print(delivery.message.read(), delivery.redelivered)
    ...         await delivery.ack()
    {'order': 17} False
    """

    def __init__(self, delivered: "Msg", prefix: str = "") -> None:
        headers = delivered.headers or {}
        self._delivered = delivered
        self.redelivered = delivered.metadata.num_delivered > 1
        self.message = received(
            delivered.subject.removeprefix(prefix),
            delivered.data,
            id=headers.get(_ID, ""),
            **{name: headers.get(header, "") for name, header in _HEADERS.items()},
        )

    async def ack(self) -> None:
        """Have it never delivered again; do so after your own commit."""
        await self._delivered.ack()
