"""Migrating and reading an SQLite journal from beside, for `administration`."""

import json
import os
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from trypact_coordinator.journal.row import Header, Stored
from trypact_coordinator.journal.sqlite_file import (
    SQL,
    DatabaseThread,
    connect_to_read,
    connect_to_write,
    found_version,
    migrate,
    require_no_other_content,
    require_version,
    take_lock,
    translated,
)

_PAGE = 500


async def migrate_file(path: Path) -> tuple[int, int]:
    """Bring the file's schema to this version; return the versions before and after."""
    thread = DatabaseThread("journal-migrate")
    try:
        # Before anything is made beside it: a file that is no journal is left as it was found.
        await thread.run(require_no_other_content, path)
        lock = take_lock(path, "journal migrate")
    except BaseException:
        thread.end()
        raise
    try:
        return await thread.run(_migrate, path)
    finally:
        os.close(lock)
        thread.end()


def _migrate(path: Path) -> tuple[int, int]:
    with translated(path), closing(connect_to_write(path)) as connection:
        found = found_version(connection, path) or 0
        now = migrate(connection, path)
        require_version(now, path)
        return found, now


async def read_file(path: Path) -> AsyncGenerator[Header | Stored, None]:
    """Read everything, page by page, in a thread."""
    thread = DatabaseThread("journal-verify")
    connection = await thread.run(_connect, path)
    try:
        yield await thread.run(_header, connection, path)
        after = ""
        while rows := await thread.run(_page, connection, path, after):
            for row in rows:
                yield stored(row)
            after = rows[-1][0]
    finally:
        await thread.run(connection.close)
        thread.end()


def _connect(path: Path) -> sqlite3.Connection:
    with translated(path):
        return connect_to_read(path)


def _header(connection: sqlite3.Connection, path: Path) -> Header:
    with translated(path):
        version = found_version(connection, path) or 0
        require_version(version, path)
        (instances,) = connection.execute(SQL["count_instances"]).fetchone()
        return Header(version, instances)


def _page(connection: sqlite3.Connection, path: Path, after: str) -> list[Any]:
    with translated(path):
        parameters = {"after": after, "limit": _PAGE}
        return connection.execute(SQL["rows_after"], parameters).fetchall()


def stored(row: tuple[Any, ...]) -> Stored:
    """Return a row of `rows_after` with SQLite's spellings undone."""
    *head, paused, labels, participants, spec, progress = row
    known = (*head, bool(paused), json.loads(labels), participants.split(), spec, progress)
    return msgspec.convert(known, Stored)
