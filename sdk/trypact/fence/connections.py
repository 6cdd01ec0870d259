"""What a fence has to know of an open connection: is its transaction sound, and may it end.

A driver reports a COMMIT of a transaction that the database has already given up as a success. So
whoever commits what a handler has done asks here first.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError

from trypact.errors import ParticipantError

# PostgreSQL: serialization_failure, deadlock_detected.
_GIVEN_UP = frozenset({"40001", "40P01"})
# Of libpq's transaction states: no transaction is open; one is, and can be committed.
_IDLE, _IN_TRANSACTION = 0, 2
# In the `info` of a connection on which a batch is being run.
_HELD = "trypact.held"

ENDED = "ended the fence's local transaction; what it did cannot be undone any more"
HIDDEN = "hid an error of the database, which undid the local transaction; nothing of it was kept"

_NO_ENDING = "a handler must not {}; the local transaction is the fence's"
# What begins or ends a transaction of SQLite's or PostgreSQL's, at the start of a statement.
_ENDS = re.compile(
    r"""(?: \s | -- [^\n]* (?:\n|$) | /\* .*? \*/ | ; )*
    ( COMMIT | END | ABORT | BEGIN | START \s+ TRANSACTION | PREPARE \s+ TRANSACTION
    | ROLLBACK (?! \s+ (?: (?:WORK|TRANSACTION) \s+ )? TO \b ) ) \b""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
# Where a semicolon separates nothing: in texts, names and comments.
_QUOTED = re.compile(
    r"""' (?:[^']|'')* ' | " [^"]* " | \$(\w*)\$ .*? \$\1\$ | -- [^\n]* | /\* .*? \*/""",
    re.DOTALL | re.VERBOSE,
)


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


def trouble_of(connection: Connection) -> str | None:
    """Return what is wrong with the open transaction, for what the driver knows; None if sound."""
    raw: Any = connection.connection.driver_connection
    if connection.dialect.name == "sqlite":
        # SQLite itself rolls back where it cannot undo one statement: a full disk, for example.
        return None if raw.in_transaction else HIDDEN
    status = getattr(getattr(raw, "info", None), "transaction_status", None)
    if status is None:
        # A driver that does not tell; the database does.
        connection.exec_driver_sql("SELECT 1")
        return None
    if status == _IDLE:
        return ENDED
    return None if status == _IN_TRANSACTION else HIDDEN


def guard_endings(engine: Engine) -> None:
    """Let nobody end the transaction of a connection that is `held`. Harmless twice."""
    event.listen(engine, "commit", _refuse_commit)
    event.listen(engine, "before_cursor_execute", _refuse_statement)


@contextmanager
def held(connection: Connection) -> Iterator[None]:
    """Keep handlers from ending the transaction: their neighbours are not done yet."""
    info = connection.info
    info[_HELD] = True
    try:
        yield
    finally:
        info.pop(_HELD, None)


def _refuse_commit(connection: Connection) -> None:
    if connection.info.get(_HELD):
        raise ParticipantError(_NO_ENDING.format("commit"))


def _refuse_statement(connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
    """Refuse before it is run what nobody could undo after it."""
    if connection.info.get(_HELD) and (ending := ending_in(statement)):
        raise ParticipantError(_NO_ENDING.format(ending))


def ending_in(statement: str) -> str | None:
    """Return the words in a text of SQL that begin or end a transaction, in upper case."""
    found = _ENDS.match(statement)
    if found is None and ";" in statement:
        # PostgreSQL takes several statements in one text.
        parts = _QUOTED.sub(" ", statement).split(";")
        found = next(filter(None, map(_ENDS.match, parts)), None)
    return found[1].upper() if found else None


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
