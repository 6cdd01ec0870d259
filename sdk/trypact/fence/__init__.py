"""Fences: what makes a participant's calls idempotent, whatever order they arrive in.

A fence keeps one row for each branch in the participant's own database, written in the same local
transaction as the business rows: duplicates get the first answer, a Cancel without a Try
succeeds, and a Try after its Cancel is refused for ever.

What needs a library of an extra is imported when it is first asked for, so
that `import trypact` stays light:

    trypact[sqlalchemy]  SqlAlchemyFence, AsyncSqlAlchemyFence, fence_table, sqlite_engine,
                         async_sqlite_engine, AsyncExternalFence, AsyncCollector
    trypact[mysql]       PyMySQL, for SqlAlchemyFence on MySQL and MariaDB
    trypact[mysql-async] asyncmy, for AsyncSqlAlchemyFence on MySQL and MariaDB
    trypact[psycopg]     PsycopgFence
    trypact[redis]       RedisFence

    >>> kept = fence.SqlAlchemyFence(fence.sqlite_engine("inventory.db"))
    >>> kept.create_tables()
"""

from typing import TYPE_CHECKING

from trypact._lazy import lazily
from trypact.fence.collector import Collected, Collector
from trypact.fence.contract import AsyncFence, Fence
from trypact.fence.external import Effect, ExternalFence, Known
from trypact.fence.rules import Status

if TYPE_CHECKING:
    from trypact.fence.asynchronous import (
        AsyncCollector,
        AsyncExternalFence,
        AsyncSqlAlchemyFence,
    )
    from trypact.fence.psycopg import PsycopgFence
    from trypact.fence.redis import RedisFence
    from trypact.fence.sql import SqlAlchemyFence
    from trypact.fence.sqlite import async_sqlite_engine, sqlite_engine
    from trypact.fence.statements import fence_table

__all__ = [
    "AsyncCollector",
    "AsyncExternalFence",
    "AsyncFence",
    "AsyncSqlAlchemyFence",
    "Collected",
    "Collector",
    "Effect",
    "ExternalFence",
    "Fence",
    "Known",
    "PsycopgFence",
    "RedisFence",
    "SqlAlchemyFence",
    "Status",
    "async_sqlite_engine",
    "fence_table",
    "sqlite_engine",
]

__getattr__ = lazily(
    __name__,
    {
        "AsyncCollector": "asynchronous",
        "AsyncExternalFence": "asynchronous",
        "AsyncSqlAlchemyFence": "asynchronous",
        "PsycopgFence": "psycopg",
        "RedisFence": "redis",
        "SqlAlchemyFence": "sql",
        "async_sqlite_engine": "sqlite",
        "fence_table": "statements",
        "sqlite_engine": "sqlite",
    },
)
