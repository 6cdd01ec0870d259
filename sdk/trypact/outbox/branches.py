"""Publishes to participants: each message is a transaction whose one branch is a message.

The topic is the action, "participant.verb". The coordinator then delivers the message until the
participant has acknowledged it, and the participant's fence is its inbox.
"""

import asyncio
from collections.abc import Sequence

from trypact.branches import message as message_branch
from trypact.client import Client
from trypact.errors import (
    CoordinatorFault,
    CoordinatorUnavailable,
    OutcomeUnknown,
    Overloaded,
    ParticipantUnavailable,
    TransactionCancelled,
    TrypactError,
)
from trypact.kinds import BranchState
from trypact.outbox.message import Message
from trypact.outbox.publisher import Arrived, Failed, Published, Sent, Unknown

# What says nothing about the message itself.
_NOBODY_KNOWS = (CoordinatorUnavailable, OutcomeUnknown, Overloaded, CoordinatorFault)
_BRANCH_ID = "message"


class BranchPublisher:
    """Publishes messages as message branches of transactions, whose xid is the message's id.

    The same message is the same transaction, however often it is published; so that is also how
    it is asked for. It has arrived once its branch is DELIVERED or, by hand, SKIPPED. Tag, key and
    group become labels of the transaction.

    Args:
        client: of the coordinator.
        name: of the transactions, for operators.

        >>> publisher = BranchPublisher(client)
        >>> points = Message("member.add_points", {"points": 5}, id="order-30-points")
        >>> (said,) = await publisher.publish([points])
        >>> isinstance(said, Sent | Arrived)  # publish it again to ask how it stands
        True
    """

    def __init__(self, client: Client, *, name: str = "outbox") -> None:
        self._client = client
        self._name = name

    async def publish(self, messages: Sequence[Message], /) -> list[Published]:
        """Begin or ask for a transaction each; see `Publisher.publish`."""
        return list(await asyncio.gather(*map(self._publish, messages)))

    async def _publish(self, message: Message) -> Published:
        named = {"key": message.key, "tag": message.tag, "group": message.group}
        try:
            outcome = await self._client.execute(
                self._name,
                [message_branch(message.topic, message.payload, id=_BRANCH_ID)],
                xid=message.id,
                labels={label: value for label, value in named.items() if value},
                wait="decided",
            )
        except _NOBODY_KNOWS as error:
            return Unknown(str(error))
        except ParticipantUnavailable as error:
            # The coordinator is there, so that others' messages need not wait for this one.
            return Sent(str(error))
        except TransactionCancelled as error:
            return Failed(f"somebody cancelled its transaction: {error.reason}")
        except TrypactError as error:
            return Failed(f"{type(error).__name__}: {error}")
        branch = outcome.branch(_BRANCH_ID)
        # Or an operator has settled it by hand, and answers for it.
        if branch.state in (BranchState.DELIVERED, BranchState.SKIPPED):
            return Arrived()
        about = f"its branch is {branch.state}"
        return Sent(f"{about}: {branch.reason}" if branch.reason else about)
