"""The outbox: messages written in the local transaction of the rows they are about.

Nothing is sent from here. A `Relay` publishes what has been committed, in this process or another.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from sqlalchemy import Connection, MetaData, Table, event
from sqlalchemy.orm import Session

from trypact._local_transaction import Queries, Query, Work, perform, perform_async
from trypact._schema import create_table
from trypact.clock import now_us
from trypact.outbox.message import WAITING, Message, State
from trypact.outbox.tables import CLOCKS, Statements, outbox_table

# In the `info` of a connection: whom to wake when it goes back to its pool.
_WRITTEN = "trypact.outbox"
PAGE_MAX = 1_000


class Count(NamedTuple):
    """How many messages are in a state.

    >>> outbox = Outbox()
    >>> with engine.begin() as connection:
    ...     outbox.create_tables(connection)
    ...     _ = outbox.add(connection, Message("order.paid"))
    ...     [(count.state, count.messages) for count in outbox.counts(connection)]
    [(<State.NEW: 'NEW'>, 1)]
    """

    state: State
    # Whether no relay will look at them again by itself: they wait for `resend`.
    parked: bool
    messages: int
    # When the oldest was written, in microseconds since 1970-01-01T00:00Z.
    oldest_at: int


class Entry(NamedTuple):
    """A message in the table, for those who look after it.

    >>> outbox = Outbox()
    >>> with engine.begin() as connection:
    ...     outbox.create_tables(connection)
    ...     _ = outbox.add(connection, Message("order.paid", key="17"))
    ...     [(entry.topic, entry.key, entry.attempts) for entry in outbox.entries(connection)]
    [('order.paid', '17', 0)]
    """

    id: str
    topic: str
    key: str
    state: State
    attempts: int
    failures: int
    # The last error, or what it waits for.
    remark: str
    created_at: int
    # When a relay looks at it next; None for never by itself.
    due_at: int | None


class Outbox:
    """A table of messages in a service's own database.

    Every method takes an open connection, inside a transaction of the caller's, which it neither
    commits nor rolls back: a SQLAlchemy Connection or Session, or one of psycopg's. With an
    AsyncConnection, `await connection.run_sync(outbox.create_tables)` and its like.

    Args:
        table: what `outbox_table` returned, if the service's migrations create it.
        now: microseconds since 1970-01-01T00:00Z; the database's own clock if not given.

        >>> outbox = Outbox()
        >>> with engine.begin() as connection:
        ...     outbox.create_tables(connection)
        ...     # ... the rows that the message is about ...
        ...     outbox.add(connection, Message("order.paid", {"order": 17}, id="order-17-paid"))
        'order-17-paid'
    """

    def __init__(self, *, table: Table | None = None, now: Callable[[], int] | None = None) -> None:
        self.table = outbox_table(MetaData()) if table is None else table
        self.statements = Statements(self.table)
        self._given_now = now
        self._wakers: set[Callable[[], object]] = set()
        self._lock = threading.Lock()

    def create_tables(self, connection: Connection) -> None:
        """Create the outbox's table, or add what an earlier version's has not.

        Raises WrongTable for a table of that name that is not trypact's.
        """
        create_table(connection, self.table)

    # ------------------------------------------------------------ writing

    def add(self, connection: Any, message: Message) -> str:
        """Write a message, which is published once the caller's transaction has committed.

        Returns the message's id. A relay that shares this outbox is woken when SQLAlchemy's
        connection goes back to its pool, which is right after the commit; others find the message
        at their next poll. With psycopg, call `wake` after the commit, or leave it to the poll.

        Raises TypeError for what is no open connection, InvalidRequest for one that commits every
        statement by itself, and what the database raises.
        """
        perform(connection, self._adding(message))
        self._wake_after(connection)
        return message.id

    async def add_async(self, connection: Any, message: Message) -> str:
        """Do what `add` does, with an AsyncConnection or AsyncSession, or psycopg's."""
        await perform_async(connection, self._adding(message))
        self._wake_after(getattr(connection, "sync_session", connection))
        return message.id

    def _adding(self, message: Message) -> Work[None]:
        now = (self._given_now or now_us)()
        values = {
            "id": message.id,
            "topic": message.topic,
            "tag": message.tag,
            "message_key": message.key,
            "group_name": message.group,
            "payload": message.payload,
            "state": str(State.NEW),
            "attempts": 0,
            "failures": 0,
            "remark": "",
            "claim": "",
            "created_at": now,
            "updated_at": now,
            "due_at": 0,
        }

        def queries(dialect: str) -> Queries[None]:
            yield Query(self.statements.add, values)

        return queries

    # ------------------------------------------------------------ waking relays

    def wake(self) -> None:
        """Have the relays that share this outbox look at once. Safe from any thread."""
        with self._lock:
            wakers = list(self._wakers)
        for waker in wakers:
            waker()

    @contextmanager
    def waking(self, waker: Callable[[], object]) -> Iterator[None]:
        """Call `waker`, on whatever thread, when there may be something new."""
        with self._lock:
            self._wakers.add(waker)
        try:
            yield
        finally:
            with self._lock:
                self._wakers.discard(waker)

    def _wake_after(self, connection: Any) -> None:
        """Wake relays when the connection goes back to its pool: no event tells of a COMMIT."""
        if isinstance(connection, Session):
            connection = connection.connection()
        connection = getattr(connection, "sync_connection", connection)
        if not isinstance(connection, Connection):
            return
        # Even if there is no relay yet: it may start before the commit.
        pool = connection.engine.pool
        if not event.contains(pool, "checkin", _returned):
            event.listen(pool, "checkin", _returned)
        connection.info.setdefault(_WRITTEN, set()).add(self)

    # ------------------------------------------------------------ looking after it

    def now(self, connection: Connection) -> int:
        """Return microseconds since 1970-01-01T00:00Z by the clock that dates claims."""
        if self._given_now is not None:
            return self._given_now()
        clock = CLOCKS.get(connection.dialect.name)
        return now_us() if clock is None else int(connection.execute(clock).scalar_one())

    def counts(self, connection: Connection) -> list[Count]:
        """Return how many messages are in each state."""
        return [
            Count(State(state), bool(parked) and state == State.FAILED, count, oldest)
            for state, parked, count, oldest in connection.execute(self.statements.count)
        ]

    def entries(
        self,
        connection: Connection,
        states: Sequence[State] = WAITING,
        limit: int = 100,
    ) -> list[Entry]:
        """Return messages in these states, the oldest first; at most 1 000."""
        values = {"states": list(map(str, states)), "many": min(limit, PAGE_MAX)}
        return [
            Entry._make(row)._replace(state=State(row.state))
            for row in connection.execute(self.statements.listed, values)
        ]

    def resend(self, connection: Connection, ids: Sequence[str] | None = None) -> int:
        """Have failed messages sent again at once, parked ones too, with a budget as if new.

        Args:
            connection: in a transaction of the caller's.
            ids: which, also of those that were skipped; all that have failed if not given.

        Returns how many there were.
        """
        values: dict[str, Any] = {"now": self.now(connection)}
        if ids is None:
            return connection.execute(self.statements.resend_all, values).rowcount
        return connection.execute(self.statements.resend, {**values, "ids": list(ids)}).rowcount

    def skip(self, connection: Connection, ids: Sequence[str]) -> int:
        """Give messages up that have not arrived, so that what waits behind their keys goes on.

        One that is being published meanwhile, or was before, may arrive all the same. `resend`
        takes it back, as long as the message is kept.

        Returns how many of them had not arrived.
        """
        values = {"now": self.now(connection), "ids": list(ids)}
        return connection.execute(self.statements.skip, values).rowcount

    def purge(self, connection: Connection, older_than: float) -> int:
        """Remove messages that arrived or were skipped that many seconds ago or earlier, no others.

        Returns how many there were; at most 1 000 at a time, so repeat it until it is 0.
        """
        before = self.now(connection) - round(older_than * 1_000_000)
        values = {"before": before, "many": PAGE_MAX}
        seqs = list(connection.execute(self.statements.old, values).scalars())
        if not seqs:
            return 0
        return connection.execute(self.statements.forget, {"seqs": seqs}).rowcount


def _returned(_: Any, record: Any) -> None:
    """Wake the relays of whoever wrote through a connection that has come back to its pool."""
    if record is not None:
        for outbox in record.info.pop(_WRITTEN, ()):
            outbox.wake()
