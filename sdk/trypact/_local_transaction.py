"""Statements in a local transaction of the caller's, whatever connection that is held by.

What is to be done is a generator that yields statements and is sent their results; so it is written
once, for SQLAlchemy's connections and sessions and for psycopg's, waiting or awaiting. Nothing here
begins, commits or rolls back a transaction of the caller's.
"""

import asyncio
import sys
from collections.abc import Callable, Generator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar, cast

from sqlalchemy import Connection, Engine
from sqlalchemy.dialects.postgresql import psycopg as psycopg_dialect
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from trypact.errors import InvalidRequest
from trypact.fence.local import BEGIN_FIRST

ResultT = TypeVar("ResultT")

_IDLE = 0


class Query(NamedTuple):
    """A statement of SQLAlchemy's, and its values."""

    statement: Any
    values: Mapping[str, Any]


class Result(NamedTuple):
    """What came of it."""

    rows: list[Any]
    # How many it inserted, changed or deleted.
    changed: int


Queries = Generator[Query, Result, ResultT]
# Makes the queries for a database of that dialect.
Work = Callable[[str], Queries[ResultT]]


def perform(connection: Any, work: Work[ResultT]) -> ResultT:
    """Do it in the open transaction of a SQLAlchemy Connection or Session, or of psycopg's.

    Raises TypeError for anything else, and InvalidRequest for a connection in autocommit.
    """
    if isinstance(connection, Session):
        connection = connection.connection()
    if isinstance(connection, Connection):
        alchemy = connection
        if commits_by_itself(alchemy):
            raise InvalidRequest(BEGIN_FIRST)
        return _drive(work(alchemy.dialect.name), lambda query: _execute(alchemy, query))
    if _is_psycopg(connection, "Connection"):
        _require_transaction(connection)
        return _drive(work("postgresql"), lambda query: _execute_plain(connection, query))
    if isinstance(connection, AsyncConnection | AsyncSession) or _is_psycopg(
        connection, "AsyncConnection"
    ):
        raise TypeError("this connection has to be awaited: use the method whose name ends _async")
    raise _no_connection(connection)


async def perform_async(connection: Any, work: Work[ResultT]) -> ResultT:
    """Do what `perform` does, with an AsyncConnection or AsyncSession, or with psycopg's."""
    if isinstance(connection, AsyncConnection | AsyncSession):
        return await connection.run_sync(lambda below: perform(below, work))
    if not _is_psycopg(connection, "AsyncConnection"):
        raise _no_connection(connection)
    _require_transaction(connection)
    queries = work("postgresql")
    try:
        query = next(queries)
        while True:
            text, values = _plain(query)
            cursor = await connection.execute(text, values)
            rows = await cursor.fetchall() if cursor.description else []
            query = queries.send(Result(rows, cursor.rowcount))
    except StopIteration as done:
        return cast("ResultT", done.value)


class LocalDatabase:
    """The database of an engine, for work in transactions of its own, awaited.

    Args:
        engine: of SQLAlchemy's; a synchronous one works on a thread.
    """

    def __init__(self, engine: Engine | AsyncEngine) -> None:
        if not isinstance(engine, Engine | AsyncEngine):
            raise TypeError(f"{type(engine).__name__} is no Engine or AsyncEngine of SQLAlchemy")
        self._engine = engine

    async def run(self, work: Callable[[Connection], ResultT]) -> ResultT:
        """Do it in one transaction, and commit it."""
        if isinstance(self._engine, AsyncEngine):
            async with self._engine.begin() as connection:
                return await connection.run_sync(work)
        return await asyncio.to_thread(self._run, self._engine, work)

    def _run(self, engine: Engine, work: Callable[[Connection], ResultT]) -> ResultT:
        with engine.begin() as connection:
            return work(connection)


def _drive(queries: Queries[ResultT], execute: Callable[[Query], Result]) -> ResultT:
    try:
        query = next(queries)
        while True:
            query = queries.send(execute(query))
    except StopIteration as done:
        return cast("ResultT", done.value)


def commits_by_itself(connection: Connection | Engine) -> bool:
    """Whether each statement of a connection is a transaction of its own."""
    # What was asked for; only the dialect knows of `create_engine`'s.
    engines = connection.dialect._on_connect_isolation_level  # noqa: SLF001
    level = connection.get_execution_options().get("isolation_level", engines)
    return bool(level == "AUTOCOMMIT")


def _execute(connection: Connection, query: Query) -> Result:
    result = connection.execute(query.statement, query.values)
    return Result(list(result) if result.returns_rows else [], result.rowcount)


def _execute_plain(connection: Any, query: Query) -> Result:
    text, values = _plain(query)
    cursor = connection.execute(text, values)
    return Result(cursor.fetchall() if cursor.description else [], cursor.rowcount)


def _plain(query: Query) -> tuple[str, dict[str, Any]]:
    compiled = _compiled(query.statement, tuple(query.values))
    return str(compiled), compiled.construct_params(query.values)


@lru_cache(maxsize=256)
def _compiled(statement: Any, names: tuple[str, ...]) -> Any:
    dialect = psycopg_dialect.dialect()  # type: ignore[no-untyped-call]
    return statement.compile(dialect=dialect, column_keys=list(names))


def _is_psycopg(connection: Any, name: str) -> bool:
    psycopg = sys.modules.get("psycopg")
    return psycopg is not None and isinstance(connection, getattr(psycopg, name))


def _require_transaction(connection: Any) -> None:
    if connection.autocommit and connection.info.transaction_status == _IDLE:
        raise InvalidRequest(BEGIN_FIRST)


def _no_connection(connection: Any) -> TypeError:
    return TypeError(
        f"a {type(connection).__name__} is no open connection; give a Connection or Session of "
        "SQLAlchemy's or a connection of psycopg's"
    )
