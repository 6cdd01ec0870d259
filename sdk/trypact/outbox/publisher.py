"""What a relay needs of whatever messages are published to: one method, which is safe to repeat."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from trypact.outbox.message import Message


@dataclass(frozen=True, slots=True)
class Arrived:
    """It is where it was sent to, and durable there as far as that place promises."""


@dataclass(frozen=True, slots=True)
class Sent:
    """It was accepted and is on its way; ask again later.

    Attributes:
        why: what it waits for, for operators.
    """

    why: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """It was refused, and is not there. Counts against the message's budget.

    Attributes:
        why: what the other side said.
    """

    why: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody knows whether it is there: ask again later.

    Attributes:
        why: what stood in the way of an answer.
    """

    why: str


Published = Arrived | Sent | Failed | Unknown


class Publisher(Protocol):
    """Where messages go."""

    async def publish(self, messages: Sequence[Message], /) -> Sequence[Published]:
        """Make sure that messages are there, and say how each stands, in their order.

        It is also how a relay asks back about messages that were sent before: what is there
        already, recognised by its id, must not be there twice. No two messages have the same key,
        so their order does not matter. What it raises means `Unknown` for all of them; it is
        cancelled when it takes too long.
        """
        ...
