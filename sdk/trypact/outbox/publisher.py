"""What a relay needs of whatever messages are published to: one method, which is safe to repeat."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from trypact.outbox.message import Message


@dataclass(frozen=True, slots=True)
class Arrived:
    """It is where it was sent to, and durable there as far as that place promises.

    >>> [Arrived()]  # what a publisher says of one message
    [Arrived()]
    """


@dataclass(frozen=True, slots=True)
class Sent:
    """It is on its way, or waits for whom it is for; ask again later, and go on with others.

    Attributes:
        why: what it waits for, for operators.

        >>> Sent("its branch is delivering").why
        'its branch is delivering'
    """

    why: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """It was refused, and is not there. Counts against the message's budget.

    Attributes:
        why: what the other side said.

        >>> Failed("no stream takes the subject 'order.paid'").why
        "no stream takes the subject 'order.paid'"
    """

    why: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody knows whether it is there: ask again later. Where all are, others wait as well.

    Attributes:
        why: what stood in the way of an answer.

        >>> Unknown("the broker does not answer").why
        'the broker does not answer'
    """

    why: str


Published = Arrived | Sent | Failed | Unknown


class Publisher(Protocol):
    """Where messages go.

    >>> class Printer:
    ...     async def publish(self, messages):
    ...         for message in messages:
    ...             print(message.topic, message.read())
    ...         return [Arrived() for message in messages]
    >>> await Printer().publish([Message("order.paid", {"order": 17})])
    order.paid {'order': 17}
    [Arrived()]
    """

    async def publish(self, messages: Sequence[Message], /) -> Sequence[Published]:
        """Make sure that messages are there, and say how each stands, in their order.

        It is also how a relay asks back about messages that were sent before: what is there
        already, recognised by its id, must not be there twice. No two messages have the same key,
        so their order does not matter. What it raises means `Unknown` for all of them; it is
        cancelled when it takes too long.
        """
        ...
