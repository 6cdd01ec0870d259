"""From an address to a journal: `memory:`, `sqlite:///path`, `postgresql://...`."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from trypact_coordinator.core.errors import InvalidArgument
from trypact_coordinator.ports import Journal

LASTING = "sqlite:///file.db, sqlite:////folder/file.db or postgresql://user@host/database"
ALLOWED = f"memory: (forgotten at the end), {LASTING}"
_PASSWORD_PARAMETER = re.compile(r"((?:ssl)?password)=[^&]*")


def open_journal(url: str) -> Journal:
    """Return the journal at an address, closed; nothing is touched before its `open`.

    As everywhere with such addresses, a path after three slashes is relative, after four absolute.
    Raises InvalidArgument for what is no address of a journal.
    """
    if url == "memory:":
        from trypact_coordinator.journal.memory import MemoryJournal

        return MemoryJournal()
    if is_sqlite(url):
        from trypact_coordinator.journal.sqlite import SqliteJournal

        return SqliteJournal(sqlite_path(url))
    if is_postgres(url):
        # It takes its time to import, and those who keep their journal in a file need not have it.
        from trypact_coordinator.journal.postgres import PostgresJournal

        return PostgresJournal(url)
    raise no_journal(url, "is no address of a journal")


def is_sqlite(url: str) -> bool:
    """Whether the address names an SQLite file."""
    return url.startswith("sqlite:")


def is_postgres(url: str) -> bool:
    """Whether the address names a PostgreSQL database."""
    return url.startswith(("postgresql:", "postgres:"))


def sqlite_path(url: str) -> Path:
    """Return the file an address names. Raises InvalidArgument."""
    parts = urlsplit(url)
    path = unquote(parts.path)[1:]
    if not url.startswith("sqlite://") or parts.netloc or parts.query:
        raise no_journal(url, "does not name a file: it needs three slashes, or four")
    if not path or path.endswith("/") or path == ":memory:":
        raise no_journal(url, "names no file")
    return Path(path)


def no_journal(url: str, why: str, allowed: str = ALLOWED) -> InvalidArgument:
    """Return the error for an address that is none. Passwords are not repeated."""
    return InvalidArgument("journal", f"{without_password(url)!r} {why}", allowed)


def no_lasting_journal(url: str) -> InvalidArgument:
    """Return the error for an address at which nothing can be found again."""
    why = "is forgotten at the end" if url == "memory:" else "is no address of a journal"
    return no_journal(url, why, LASTING)


def without_password(url: str) -> str:
    """Return an address as it may be shown and logged."""
    url = _PASSWORD_PARAMETER.sub(r"\1=***", url)
    head, at, tail = url.rpartition("@")
    scheme, colons, who = head.partition("://")
    if not at or not colons:
        return url
    return f"{scheme}://{who.partition(':')[0]}@{tail}"
