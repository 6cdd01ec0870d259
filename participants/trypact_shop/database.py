"""Opens a participant's own database: SQLite by default, PostgreSQL by its URL."""

from typing import Any

from sqlalchemy import BigInteger, CursorResult, Engine, Integer, MetaData, create_engine
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from trypact import Refuse
from trypact.fence import sqlite_engine

from trypact_shop.errors import Invalid

# An id that the database counts up by itself; SQLite does that only for INTEGER.
COUNTED = BigInteger().with_variant(Integer, "sqlite")

# Enough for the participant's threads; PostgreSQL has a hundred connections for everybody.
_POOL: dict[str, Any] = {"pool_size": 8, "max_overflow": 8, "pool_pre_ping": True}
_ALLOWED = "sqlite:///FILE or postgresql://USER@HOST/NAME"


def open_database(url: str, tables: MetaData) -> Engine:
    """Return an engine whose database has the given tables.

    Raises Invalid for an URL of no supported database, and SQLAlchemyError when the database
    cannot be reached or written.
    """
    parsed = _parsed(url)
    try:
        if parsed.get_backend_name() == "sqlite":
            engine = sqlite_engine(parsed)
        else:
            engine = create_engine(parsed, hide_parameters=True, **_POOL)
    except (ValueError, NoSuchModuleError, ImportError) as error:
        raise Invalid("database", str(error), _ALLOWED) from error
    tables.create_all(engine)
    return engine


def reading(engine: Engine) -> Engine:
    """Return an engine for look-ups of the same database.

    On SQLite every transaction of the participant takes the write lock at its start, and who
    only looks should not wait for it. On PostgreSQL a look needs no transaction around it.
    """
    if engine.dialect.name != "sqlite":
        return engine.execution_options(isolation_level="AUTOCOMMIT")
    return create_engine(engine.url, hide_parameters=True)


def must_change(result: CursorResult[Any], rows: int, what: str) -> None:
    """Raise Refuse unless a Confirm or Cancel changed what its Try had reserved.

    It always does, unless someone changed the rows by hand; then the branch is stuck with this
    reason, for a human to look at, instead of silently doing nothing.
    """
    if result.rowcount != rows:
        raise Refuse(f"reservation_lost: {what} is not as its Try left it")


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise Invalid("database", f"{url!r} is not an URL", _ALLOWED) from error
    if parsed.drivername in ("postgres", "postgresql"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise Invalid("database", f"{parsed.get_backend_name()} is not supported", _ALLOWED)
    return parsed
