"""The inbox: a row for each message a group has received, in its own local transactions.

The row that says DONE is written together with the effects. So they happen once, however often a
broker delivers a message: a duplicate finds the row, or waits for it.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, MetaData, Table

from trypact._arguments import require_number
from trypact._local_transaction import Queries, Query, Work, perform, perform_async
from trypact._schema import create_table
from trypact.clock import now_us
from trypact.inbox.tables import WAITING, State, Statements, inbox_table
from trypact.limits import shortened
from trypact.outbox.message import GROUP_BYTES_MAX, Message, text_of

PAGE_MAX = 1_000


class Count(NamedTuple):
    """How many messages are in a state.

    >>> from trypact.outbox import Message
    >>> inbox = Inbox("warehouse")
    >>> with engine.begin() as connection:
    ...     inbox.create_tables(connection)
    ...     _ = inbox.take(connection, Message("order.paid"))
    ...     [(count.state, count.messages) for count in inbox.counts(connection)]
    [(<State.DONE: 'DONE'>, 1)]
    """

    state: State
    messages: int
    # When the oldest was first met, in microseconds since 1970-01-01T00:00Z.
    oldest_at: int


class Entry(NamedTuple):
    """A message in the table, for those who look after it.

    >>> from trypact.outbox import Message
    >>> inbox, paid = Inbox("warehouse"), Message("order.paid", id="order-17-paid")
    >>> with engine.begin() as connection:
    ...     inbox.create_tables(connection)
    ...     _ = inbox.fail(connection, paid, "KeyError: 'order'")
    ...     [(entry.id, entry.state, entry.remark) for entry in inbox.entries(connection)]
    [('order-17-paid', <State.FAILED: 'FAILED'>, "KeyError: 'order'")]
    """

    id: str
    topic: str
    state: State
    # How often its processing began.
    times: int
    # What the last handler that failed raised.
    remark: str
    # When it was first met, in microseconds since 1970-01-01T00:00Z.
    created_at: int


class _Standing(NamedTuple):
    """How a message stands, and whether that was written just now."""

    state: State
    wrote: bool


class Inbox:
    """The messages that one group of consumers has received, in the database of their effects.

        with engine.begin() as connection:
            if inbox.take(connection, message):
                ...  # the effects, on the same connection

    Every method takes an open connection, inside a transaction of the caller's, which it neither
    commits nor rolls back: a SQLAlchemy Connection or Session, or one of psycopg's. Acknowledge
    the message to its broker after your commit. `Consumer` does all of this.

    Args:
        group: names whose effects these are: each group does its own, once.
        attempts_max: a message whose processing began so often, and always failed or crashed, is
            parked: no handler is given it, and it is not acknowledged, until `retry` or `skip`.
        table: what `inbox_table` returned, if the service's migrations create it.
        now: microseconds since 1970-01-01T00:00Z.

        >>> from trypact.outbox import Message
        >>> inbox = Inbox("warehouse")
        >>> with engine.begin() as connection:
        ...     inbox.create_tables(connection)
        >>> paid = Message("order.paid", {"order": 17})
        >>> for delivery in range(2):
        ...     with engine.begin() as connection:
        ...         print("ship" if inbox.take(connection, paid) else "shipped already")
        ship
        shipped already
    """

    def __init__(
        self,
        group: str,
        *,
        attempts_max: int = 20,
        table: Table | None = None,
        now: Callable[[], int] = now_us,
    ) -> None:
        require_number("attempts_max", attempts_max, 1, 1_000_000)
        self._attempts_max = attempts_max
        self.group = text_of("group", group, GROUP_BYTES_MAX, required=True)
        self.table = inbox_table(MetaData()) if table is None else table
        self._sql = Statements(self.table)
        self._now = now

    def create_tables(self, connection: Connection) -> None:
        """Create the inbox's table, or add what an earlier version's has not.

        Raises WrongTable for a table of that name that is not trypact's.
        """
        create_table(connection, self.table)

    def take(self, connection: Any, message: Message) -> bool:
        """Say whether the message's effects are still to be done, in this transaction.

        False means that they are there already: do nothing, and acknowledge the message. Waits
        for another consumer that is just doing them.
        """
        return perform(connection, self._recording(message, State.DONE)).wrote

    async def take_async(self, connection: Any, message: Message) -> bool:
        """Do what `take` does, with an AsyncConnection or AsyncSession, or psycopg's."""
        return (await perform_async(connection, self._recording(message, State.DONE))).wrote

    def begin(self, connection: Any, message: Message) -> State:
        """Note, in a transaction of its own, that a message is about to be worked on again.

        What crashes its consumer each time can then be told by its count. Returns how it stands:
        PROCESSING if it is to be worked on, DONE, or PARKED.
        """
        return perform(connection, self._recording(message, State.PROCESSING)).state

    def fail(self, connection: Any, message: Message, why: str) -> State:
        """Note that nothing came of a message, after its own transaction was undone.

        Returns how it stands: FAILED, PARKED if that was once too often, or DONE meanwhile.
        """
        return perform(connection, self._recording(message, State.FAILED, shortened(why))).state

    def counts(self, connection: Connection) -> list[Count]:
        """Return how many messages of the group are in each state."""
        found = connection.execute(self._sql.count, {"key_group": self.group})
        return [Count(State(state), messages, oldest) for state, messages, oldest in found]

    def entries(
        self,
        connection: Connection,
        states: Sequence[State] = WAITING,
        limit: int = 100,
    ) -> list[Entry]:
        """Return messages of the group in these states, the oldest first; at most 1 000."""
        values = {
            "key_group": self.group,
            "states": list(map(str, states)),
            "many": min(limit, PAGE_MAX),
        }
        return [
            Entry._make(row)._replace(state=State(row.state))
            for row in connection.execute(self._sql.listed, values)
        ]

    def retry(self, connection: Connection, ids: Sequence[str] | None = None) -> int:
        """Have parked messages worked on when they are delivered next, as often as new ones.

        Args:
            connection: in a transaction of the caller's.
            ids: which; all that are parked if not given.

        Returns how many there were.
        """
        values: dict[str, Any] = {"key_group": self.group, "now": self._now()}
        if ids is None:
            return connection.execute(self._sql.retry_all, values).rowcount
        return connection.execute(self._sql.retry, {**values, "ids": list(ids)}).rowcount

    def skip(self, connection: Connection, ids: Sequence[str]) -> int:
        """Give messages up: they are done, and acknowledged when they are delivered next.

        Returns how many of them were not done.
        """
        values = {"key_group": self.group, "now": self._now(), "ids": list(ids)}
        return connection.execute(self._sql.skip, values).rowcount

    def purge(self, connection: Connection, older_than: float) -> int:
        """Forget what was done that many seconds ago or earlier; return how many there were.

        A duplicate that comes after this is done again: keep them for longer than a broker, or a
        relay that was down, may take to deliver one. A week is a good choice.
        """
        before = self._now() - round(older_than * 1_000_000)
        values = {"key_group": self.group, "before": before}
        return connection.execute(self._sql.forget, values).rowcount

    def _recording(self, message: Message, state: State, remark: str = "") -> Work[_Standing]:
        """Write how a message stands now, unless it is done; say how, and whether that is new."""
        now, first = self._now(), self._limited(state, 0, 1)
        values = {
            "group_name": self.group,
            "message_id": message.id,
            "topic": message.topic,
            "state": str(first),
            "times": 1,
            "remark": remark,
            "created_at": now,
            "updated_at": now,
        }
        key = {"key_group": self.group, "key_id": message.id}

        def queries(dialect: str) -> Queries[_Standing]:
            put = yield Query(self._sql.put(dialect), values)
            if put.changed == 1:
                return _Standing(first, wrote=True)
            found = yield Query(self._sql.state, key)
            before, times = State(found.rows[0][0]), found.rows[0][1]
            # What has begun is counted already.
            more = 0 if before is State.PROCESSING and state is not State.PROCESSING else 1
            after = self._limited(state, times, more)
            if before is State.DONE or before is after is State.PARKED:
                return _Standing(before, wrote=False)
            why = remark
            if after is State.PARKED and state is State.PROCESSING:
                more, why = 0, f"its consumers ended in the middle of it; it began {times} times"
            yield Query(
                self._sql.change,
                {**key, "state": str(after), "more": more, "remark": why, "now": now},
            )
            return _Standing(after, wrote=True)

        return queries

    def _limited(self, state: State, times: int, more: int) -> State:
        """Return the state of a message that began so often before, and so often more."""
        tried = times if state is State.PROCESSING else times + more
        if state is not State.DONE and tried >= self._attempts_max:
            return State.PARKED
        return state
