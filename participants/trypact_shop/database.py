"""Opens a participant's own database: SQLite by default, PostgreSQL by its URL.

On SQLite every writing transaction takes the write lock at BEGIN, so that two of them never meet
half-way, and a commit is on disk before it is acknowledged (synchronous=FULL).
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    CursorResult,
    Engine,
    Integer,
    MetaData,
    create_engine,
    event,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from trypact import Refuse

from trypact_shop.checks import Invalid

# An id that the database counts up by itself; SQLite does that only for INTEGER.
COUNTED = BigInteger().with_variant(Integer, "sqlite")

# How long a writer waits for SQLite's write lock.
SQLITE_BUSY_TIMEOUT_MS = 10_000

_ALLOWED = "sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME"


def open_database(url: str, tables: MetaData) -> Engine:
    """Return an engine whose database has the given tables.

    Raises Invalid for an URL of no supported database, and SQLAlchemyError when the database
    cannot be reached or written.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise Invalid("database", f"{url!r} is not an URL", _ALLOWED) from error
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise Invalid("database", f"{parsed.get_backend_name()} is not supported", _ALLOWED)
    try:
        engine = create_engine(parsed, pool_pre_ping=True)
    except (NoSuchModuleError, ImportError) as error:
        raise Invalid("database", str(error), _ALLOWED) from error
    if engine.dialect.name == "sqlite":
        _make_sqlite_safe(engine)
    tables.create_all(engine)
    return engine


def reading(engine: Engine) -> Engine:
    """Return the same engine for look-ups: its transactions take no write lock."""
    return engine.execution_options(trypact_shop_reading=True)


def must_change(result: CursorResult[Any], rows: int, what: str) -> None:
    """Raise Refuse unless a Confirm or Cancel changed what its Try had reserved.

    It always does, unless someone changed the rows by hand; then the branch is stuck with this
    reason, for a human to look at, instead of silently doing nothing.
    """
    if result.rowcount != rows:
        raise Refuse(f"reservation_lost: {what} is not as its Try left it")


def _make_sqlite_safe(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def connect(connection: Any, _record: object) -> None:
        # We begin transactions ourselves; the driver's own BEGIN comes too late.
        connection.isolation_level = None
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            f"busy_timeout={SQLITE_BUSY_TIMEOUT_MS}",
        ):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        reads = connection.get_execution_options().get("trypact_shop_reading", False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
