"""The inbox: consumers of messages get effects once, however often a broker delivers them.

`Inbox` keeps a row for each message beside the effects, and `Consumer` runs handlers behind it.
Messages that arrive as branches of transactions need none: there the participant's fence is it.

Needs the extra `trypact[sqlalchemy]`; imported when first asked for, so that `import trypact`
stays light.

    >>> from trypact.inbox import Inbox
    >>> inbox = Inbox("warehouse")
    >>> with engine.begin() as connection:
    ...     inbox.create_tables(connection)
"""

from typing import TYPE_CHECKING

from trypact._lazy import lazily

if TYPE_CHECKING:
    from trypact.inbox.consumer import Consumer, Delivery
    from trypact.inbox.inbox import Count, Entry, Inbox
    from trypact.inbox.tables import State, inbox_table

__all__ = ["Consumer", "Count", "Delivery", "Entry", "Inbox", "State", "inbox_table"]

__getattr__ = lazily(
    __name__,
    {
        "Consumer": "consumer",
        "Count": "inbox",
        "Delivery": "consumer",
        "Entry": "inbox",
        "Inbox": "inbox",
        "State": "tables",
        "inbox_table": "tables",
    },
)
