"""The outbox: a message written in a service's own local transaction arrives, whatever crashes.

`Outbox` writes messages into a table beside the business rows, `Relay` publishes what has been
committed, and a `Publisher` is where they go: message branches of transactions, Redis Streams,
NATS JetStream, or one method of your own. Consumers keep a `trypact.inbox`.

Needs the extra `trypact[sqlalchemy]`; the publishers that have one of their own say so. All are
imported when they are first asked for, so that `import trypact` stays light.

    >>> from trypact.outbox import Message, Outbox
    >>> outbox = Outbox()
    >>> with engine.begin() as connection:
    ...     outbox.create_tables(connection)
    ...     paid = outbox.add(connection, Message("order.paid", {"order": 17}))
"""

from typing import TYPE_CHECKING

from trypact._lazy import lazily
from trypact.outbox.message import Message, State
from trypact.outbox.publisher import Arrived, Failed, Published, Publisher, Sent, Unknown

if TYPE_CHECKING:
    from trypact.outbox.branches import BranchPublisher
    from trypact.outbox.jetstream import JetStreamDelivery, JetStreamPublisher
    from trypact.outbox.outbox import Count, Entry, Outbox
    from trypact.outbox.redis_streams import RedisDelivery, RedisPublisher, RedisSubscription
    from trypact.outbox.relay import Pace, Relay
    from trypact.outbox.tables import outbox_table

__all__ = [
    "Arrived",
    "BranchPublisher",
    "Count",
    "Entry",
    "Failed",
    "JetStreamDelivery",
    "JetStreamPublisher",
    "Message",
    "Outbox",
    "Pace",
    "Published",
    "Publisher",
    "RedisDelivery",
    "RedisPublisher",
    "RedisSubscription",
    "Relay",
    "Sent",
    "State",
    "Unknown",
    "outbox_table",
]

__getattr__ = lazily(
    __name__,
    {
        "BranchPublisher": "branches",
        "Count": "outbox",
        "Entry": "outbox",
        "JetStreamDelivery": "jetstream",
        "JetStreamPublisher": "jetstream",
        "Outbox": "outbox",
        "Pace": "relay",
        "RedisDelivery": "redis_streams",
        "RedisPublisher": "redis_streams",
        "RedisSubscription": "redis_streams",
        "Relay": "relay",
        "outbox_table": "tables",
    },
)
