"""The fence for coroutines, over SQLAlchemy's asyncio extension.

It is the synchronous fence, run as SQLAlchemy itself runs below its asyncio extension: in a
greenlet, from which whatever waits is awaited on the event loop. So there is no second copy of
the steps, and no thread.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.util import await_only, greenlet_spawn

from trypact.call import Answer, FencedCall, Ok, PendingType, Refused
from trypact.client import Client
from trypact.clock import now_us
from trypact.fence.collector import OLDER_THAN_S, Collected, Collector, require_waiting
from trypact.fence.contract import AsyncHandler, CollectableFence
from trypact.fence.database import SqlAlchemyDatabase
from trypact.fence.external import Effect, ExternalFence
from trypact.fence.local import LocalFence
from trypact.kinds import Operation
from trypact.outcome import Standing

# Does what was pending, and returns what is kept of its result.
AsyncEffect = Callable[[AsyncConnection], Awaitable[bytes]]


class AsyncSqlAlchemyFence:
    """A fence in the database of an engine of SQLAlchemy's asyncio extension.

    Args:
        engine: an asynchronous engine of SQLite (a file; see `async_sqlite_engine`), PostgreSQL,
            MySQL or MariaDB. Each call takes one of its connections for as long as it runs.
        table: what `fence_table` returned, if the service's migrations create it.
        now: microseconds since 1970-01-01T00:00Z.

    Raises ValueError for another database, for SQLite in memory, and for an engine in AUTOCOMMIT.

    >>> engine = async_sqlite_engine("purse.db")
    >>> fence = AsyncSqlAlchemyFence(engine)
    >>> await fence.create_tables()
    >>> purse = Participant("purse", fence=fence)
    >>> await engine.dispose()
    """

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        table: Table | None = None,
        now: Callable[[], int] = now_us,
    ) -> None:
        if not isinstance(engine, AsyncEngine):
            raise ValueError("this fence takes an engine from `create_async_engine`")
        self._engine = engine
        self._database = SqlAlchemyDatabase(engine.sync_engine, table)
        # The fence that runs below; to be called in a greenlet only.
        self.local = LocalFence(self._database, now=now, pause=_pause)
        self.table = self._database.table

    async def create_tables(self) -> None:
        """Create the fence's table, or add the columns that an earlier version's has not."""
        await greenlet_spawn(self._database.create_tables)

    async def run(self, call: FencedCall, handler: AsyncHandler, /) -> Answer:
        """Answer a call, running the handler only if it has not run before; see `Fence.run`.

        The handler gets an `AsyncConnection`.
        """

        def awaited(connection: Connection) -> bytes | PendingType:
            return await_only(handler(AsyncConnection(self._engine, connection)))

        return await greenlet_spawn(self.local.run, call, awaited)

    async def complete(
        self,
        connection: AsyncConnection,
        xid: str,
        branch_id: str,
        operation: Operation | str,
        *,
        ok: Any = None,
        refused: str | None = None,
    ) -> None:
        """Complete a PENDING operation in the caller's transaction; see `LocalFence.complete`."""

        def complete(handle: Connection) -> None:
            self.local.complete(handle, xid, branch_id, operation, ok=ok, refused=refused)

        await connection.run_sync(complete)

    async def finish(
        self, xid: str, branch_id: str, operation: Operation | str, effect: AsyncEffect
    ) -> Ok | Refused:
        """Complete a PENDING operation in a transaction of its own; see `LocalFence.finish`."""

        def awaited(connection: Connection) -> bytes:
            return await_only(effect(AsyncConnection(self._engine, connection)))

        return await greenlet_spawn(self.local.finish, xid, branch_id, operation, awaited)


class AsyncExternalFence:
    """The fence for effects that are in no database, for coroutines; see `ExternalFence`.

    Args:
        fence: keeps its rows; it serves no other handlers.

    Raises TypeError for another fence.

        >>> rows = AsyncSqlAlchemyFence(async_sqlite_engine("post.db"))
        >>> post = Participant("post", fence=AsyncExternalFence(rows))
        >>> @post.message("send")
        ... async def send(call, effect):
        ...     print("once more" if effect.known is Known.UNKNOWN else "the first time")
    """

    def __init__(self, fence: AsyncSqlAlchemyFence) -> None:
        if not isinstance(fence, AsyncSqlAlchemyFence):
            raise TypeError(
                f"fence: is a {type(fence).__name__}; allowed: an AsyncSqlAlchemyFence, which "
                "keeps the rows; for plain functions see ExternalFence"
            )
        self._fence = fence
        self._external = ExternalFence(fence.local)
        # The fence that keeps the rows; to be called in a greenlet only.
        self.local = fence.local

    async def run(self, call: FencedCall, handler: AsyncHandler, /) -> Answer:
        """Answer a call, running the handler unless its end is known; see `Fence.run`.

        The handler gets an `Effect`.
        """

        def awaited(effect: Effect) -> bytes | PendingType:
            return await_only(handler(effect))

        return await greenlet_spawn(self._external.run, call, awaited)

    async def finish(
        self, xid: str, branch_id: str, operation: Operation | str, effect: AsyncEffect
    ) -> Ok | Refused:
        """Complete an operation whose end comes from elsewhere; see `ExternalFence.finish`."""
        return await self._fence.finish(xid, branch_id, operation, effect)


class AsyncCollector:
    """Removes what a fence of coroutines need not keep any more; see `Collector`.

    Args:
        client: a `Client` of the coordinator that drives the fence's transactions.
        fence: an AsyncSqlAlchemyFence or AsyncExternalFence.
        older_than: seconds for which a row has been left alone.

    Raises ValueError for an `older_than` below 60 s, and TypeError for a fence or a client that is
    not awaited.

    >>> engine = async_sqlite_engine("purse.db")
    >>> fence = AsyncSqlAlchemyFence(engine)
    >>> await fence.create_tables()
    >>> await AsyncCollector(client, fence).collect()
    Collected(removed=0, kept=0, unknown=0)
    >>> await engine.dispose()
    """

    def __init__(
        self,
        client: Client,
        fence: CollectableFence,
        *,
        older_than: float = OLDER_THAN_S,
    ) -> None:
        require_waiting(self, client.decision, fence.run, awaited=True)
        self._collector = Collector(_Awaited(client), fence.local, older_than=older_than)

    async def collect(self) -> Collected:
        """Go once through all rows that are old enough; see `Collector.collect`."""
        return await greenlet_spawn(self._collector.collect)


class _Awaited(NamedTuple):
    """A client that is asked from within a greenlet."""

    client: Client

    def decision(self, xid: str) -> Standing:
        """Return what is decided about an xid."""
        return await_only(self.client.decision(xid))


def _pause(seconds: float) -> None:
    await_only(asyncio.sleep(seconds))
