"""What a fence has to know of an open connection: is its transaction sound, and may it commit.

A driver reports a COMMIT of a transaction that the database has already given up as a success. So
whoever commits what a handler has done asks here first.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError

from trypact.errors import ParticipantError

# PostgreSQL: serialization_failure, deadlock_detected.
_GIVEN_UP = frozenset({"40001", "40P01"})
# Of libpq's transaction states: the transaction failed and waits for its end.
_FAILED = 3
# In the `info` of a connection on which a batch is being run.
_HELD = "trypact.held"

ENDED = "ended the fence's local transaction; what it did cannot be undone any more"
HIDDEN = "hid an error of the database, which undid the local transaction; nothing of it was kept"


def given_up(error: Exception) -> bool:
    """Whether the database undid the transaction in favour of another one."""
    original = getattr(error, "orig", None) or error
    state = getattr(original, "sqlstate", None) or getattr(original, "pgcode", None)
    return state in _GIVEN_UP


def ends_all(error: Exception) -> bool:
    """Whether no savepoint helps: the connection is lost, or the whole transaction given up."""
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    return lost or given_up(error)


def said_by(error: Exception) -> str:
    """Return what the database said, without the statement and its parameters."""
    original = getattr(error, "orig", None) or error
    text = str(original).strip().splitlines()
    return f"{type(original).__name__}: {text[0] if text else ''}"


def is_sound(connection: Connection) -> bool:
    """Whether the open transaction can still be committed, for what the driver knows of it."""
    raw: Any = connection.connection.driver_connection
    if connection.dialect.name == "sqlite":
        # SQLite itself rolls back where it cannot undo one statement: a full disk, for example.
        return bool(raw.in_transaction)
    status = getattr(getattr(raw, "info", None), "transaction_status", None)
    if status is None:
        # A driver that does not tell; the database does.
        connection.exec_driver_sql("SELECT 1")
        return True
    return bool(status != _FAILED)


def guard_commits(engine: Engine) -> None:
    """Let nobody commit a connection of this engine while it is `held`. Harmless twice."""
    event.listen(engine, "commit", _refuse_if_held)


@contextmanager
def held(connection: Connection) -> Iterator[None]:
    """Keep handlers from committing: their neighbours in the batch are not done yet."""
    info = connection.info
    info[_HELD] = True
    try:
        yield
    finally:
        info.pop(_HELD, None)


def _refuse_if_held(connection: Connection) -> None:
    if connection.info.get(_HELD):
        raise ParticipantError("a handler must not commit; the local transaction is the fence's")


class Savepoint:
    """The one savepoint of a batch, moved on from handler to handler.

    It speaks to the driver itself, in one round trip for each move where the driver can do that: a
    savepoint of SQLAlchemy's takes two and costs as much as a small statement each.
    """

    _NAME = "trypact_batch"

    def __init__(self, connection: Connection) -> None:
        raw: Any = connection.connection.driver_connection
        self._cursor = raw.cursor()
        self._one_by_one = connection.dialect.name == "sqlite"
        self._begun = False
        self._used = False

    def begin(self) -> None:
        """Protect everything before from what comes now."""
        if not self._begun:
            self._execute(f"SAVEPOINT {self._NAME}")
        elif self._used:
            self._execute(f"RELEASE SAVEPOINT {self._NAME}", f"SAVEPOINT {self._NAME}")
        self._begun = self._used = True

    def rollback(self) -> None:
        """Undo what came since `begin`. Raises the driver's error if all has been undone."""
        self._execute(f"ROLLBACK TO SAVEPOINT {self._NAME}")
        # It stays, and the next one begins where this one did.
        self._used = False

    def _execute(self, *statements: str) -> None:
        for statement in statements if self._one_by_one else ("; ".join(statements),):
            self._cursor.execute(statement)
