"""Migrating and reading a PostgreSQL journal from beside, for `administration`."""

from collections.abc import AsyncGenerator

import msgspec

from trypact_coordinator.journal.postgres_session import (
    SQL,
    connect,
    found_version,
    locked,
    migrate,
    own,
    require_version,
    run,
)
from trypact_coordinator.journal.row import Header, Stored

_PAGE = 500


async def migrate_database(url: str) -> tuple[int, int]:
    """Bring the database's schema to this version; return the versions before and after."""
    connection = await connect(url, "trypact journal migrate")
    async with connection:
        if not await own(connection):
            raise await locked(connection, url)
        found = await found_version(connection, url) or 0
        now = await migrate(connection, url)
        require_version(now, url)
        return found, now


async def read_database(url: str) -> AsyncGenerator[Header | Stored, None]:
    """Read everything, page by page."""
    connection = await connect(url, "trypact journal verify")
    async with connection:
        await run(connection, b"SET default_transaction_read_only = on")
        version = await found_version(connection, url) or 0
        require_version(version, url)
        yield Header(version, (await run(connection, SQL["count_instances"]))[0][0])
        after = ""
        while rows := await run(connection, SQL["rows_after"], {"after": after, "limit": _PAGE}):
            for row in rows:
                yield msgspec.convert(row, Stored)
            after = rows[-1][0]
