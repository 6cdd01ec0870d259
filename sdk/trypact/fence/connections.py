"""What a fence has to know of an open connection: is its transaction sound, and may it end.

A driver reports a COMMIT of a transaction that the database has already given up as a success. So
whoever commits what a handler has done asks here first.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from trypact.errors import ParticipantError
from trypact.fence.local import ENDED, HIDDEN, Trouble
from trypact.fence.sqlstate import trouble_of_state

# MySQL: a deadlock (on Galera also of two nodes, found at COMMIT), a row that has changed since
# the snapshot. Not the end of a wait for a lock: that was longer than anybody still waits.
_GIVEN_UP_CODES = frozenset({1213, 1020})
# MySQL's: too many connections, Galera not ready, shutting down, network, lock wait, read only,
# interrupted, killed; and all that the client itself found out.
_UNAVAILABLE_CODES = frozenset(
    {1040, 1047, 1053, 1158, 1159, 1160, 1161, 1203, 1205, 1290, 1317, 1927, *range(2000, 3000)}
)
_SAVEPOINT_IS_GONE = 1305
_IN_FAILED_TRANSACTION = "25P02"
MYSQL = ("mysql", "mariadb")
# Of libpq's transaction states: no transaction is open; one is, and can be committed.
_IDLE, _IN_TRANSACTION = 0, 2
# In the `info` of a connection on which a batch is being run.
_HELD = "trypact.held"

_NO_ENDING = "a handler must not {}; the local transaction is the fence's"
# What begins or ends a transaction of SQLite's or PostgreSQL's, at the start of a statement.
_ENDS = re.compile(
    r"""(?: \s | -- [^\n]* (?:\n|$) | /\* .*? \*/ | ; )*
    ( COMMIT | END | ABORT | BEGIN | START \s+ TRANSACTION | PREPARE \s+ TRANSACTION
    | ROLLBACK (?! \s+ (?: (?:WORK|TRANSACTION) \s+ )? TO \b ) ) \b""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
# What MySQL commits for besides.
_COMMITS = re.compile(
    r"""(?: \s | -- [^\n]* (?:\n|$) | \# [^\n]* (?:\n|$) | /\* .*? \*/ | ; )*
    ( (?: CREATE | DROP ) (?! \s+ TEMPORARY \b ) | ALTER | TRUNCATE | RENAME | LOCK | UNLOCK | GRANT
    | REVOKE | ANALYZE | OPTIMIZE | REPAIR | FLUSH | SET \s+ (?:@@|SESSION\s+)? AUTOCOMMIT ) \b""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
# Where a semicolon separates nothing: in texts, names and comments.
_QUOTED = re.compile(
    r"""' (?:[^']|'')* ' | " [^"]* " | \$(\w*)\$ .*? \$\1\$ | -- [^\n]* | /\* .*? \*/""",
    re.DOTALL | re.VERBOSE,
)


def trouble_with(error: DBAPIError) -> Trouble:
    """Return what an error of a driver's means for the transaction."""
    state, code = _said_of(error)
    if code:
        if code in _GIVEN_UP_CODES:
            return Trouble.GIVEN_UP
        known = code in _UNAVAILABLE_CODES
    else:
        if (trouble := trouble_of_state(state)) is not Trouble.NONE:
            return trouble
        known = isinstance(error, OperationalError)
    lost = error.connection_invalidated or isinstance(error, InterfaceError)
    return Trouble.UNAVAILABLE if known or lost else Trouble.NONE


def lost_savepoint(error: DBAPIError) -> str | None:
    """Return what a handler has done if its savepoint cannot be left; None for other errors."""
    state, code = _said_of(error)
    if code == _SAVEPOINT_IS_GONE:
        return ENDED
    return HIDDEN if state == _IN_FAILED_TRANSACTION else None


def ends_all(error: Exception) -> bool:
    """Whether no savepoint helps: the connection is lost, or the whole transaction given up."""
    if not isinstance(error, DBAPIError):
        return False
    return error.connection_invalidated or trouble_with(error) is Trouble.GIVEN_UP


def _said_of(error: Exception) -> tuple[str, int]:
    """Return the SQLSTATE of PostgreSQL's drivers and the number of MySQL's; "" and 0 for none."""
    original = getattr(error, "orig", None) or error
    state = getattr(original, "sqlstate", None) or getattr(original, "pgcode", None) or ""
    code = original.args[0] if original.args and isinstance(original.args[0], int) else 0
    return state, code


def trouble_of(connection: Connection) -> str | None:
    """Return what is wrong with the open transaction, for what the driver knows; None if sound."""
    raw: Any = connection.connection.driver_connection
    dialect = connection.dialect.name
    if dialect == "sqlite":
        # SQLite itself rolls back where it cannot undo one statement: a full disk, for example.
        return None if raw.in_transaction else HIDDEN
    if dialect in MYSQL:
        # Only a savepoint that is gone tells.
        return None
    status = getattr(getattr(raw, "info", None), "transaction_status", None)
    if status is None:
        # A driver that does not tell; the database does.
        try:
            connection.exec_driver_sql("SELECT 1")
        except DBAPIError:
            return HIDDEN
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
    if not connection.info.get(_HELD):
        return
    if ending := ending_in(statement, commits=connection.dialect.name in MYSQL):
        raise ParticipantError(_NO_ENDING.format(ending))


def ending_in(statement: str, *, commits: bool = False) -> str | None:
    """Return the words in a text of SQL that begin or end a transaction, in upper case.

    Args:
        statement: one statement, or several with semicolons between them.
        commits: whether the database commits by itself for some others, as MySQL does.
    """
    beginnings = (_ENDS, _COMMITS) if commits else (_ENDS,)
    parts = [statement]
    if ";" in statement:
        # PostgreSQL takes several statements in one text.
        parts += _QUOTED.sub(" ", statement).split(";")
    for part in parts:
        for beginning in beginnings:
            if found := beginning.match(part):
                return found[1].upper()
    return None


class Savepoint:
    """The one savepoint of a batch, moved on from handler to handler.

    It speaks to the driver itself, in one round trip for each move where the driver can do that: a
    savepoint of SQLAlchemy's takes two and costs as much as a small statement each.
    """

    _NAME = "trypact_batch"

    def __init__(self, connection: Connection) -> None:
        raw: Any = connection.connection.driver_connection
        self._cursor = raw.cursor()
        # Only PostgreSQL takes several statements in one text.
        self._one_by_one = connection.dialect.name != "postgresql"
        # Whether nothing else says that the transaction has ended.
        self.tells = connection.dialect.name in MYSQL
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

    def end(self) -> None:
        """Keep what came since `begin`. Raises the driver's error if the transaction has ended."""
        if self._begun:
            self._execute(f"RELEASE SAVEPOINT {self._NAME}")
        self._begun = self._used = False

    def _execute(self, *statements: str) -> None:
        for statement in statements if self._one_by_one else ("; ".join(statements),):
            self._cursor.execute(statement)
