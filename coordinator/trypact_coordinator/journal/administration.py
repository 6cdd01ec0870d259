"""What is done to a journal while no coordinator runs on it: migrate, verify, prune.

`migrate` and `prune` take ownership, so they are refused while a coordinator has it. `verify` only
reads and can be run at any time.
"""

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from trypact_coordinator.core.errors import UnreadableRow
from trypact_coordinator.core.transaction import State
from trypact_coordinator.journal import url as urls
from trypact_coordinator.journal.row import Header, Stored, differences
from trypact_coordinator.journal.url import open_journal

PROBLEMS_MAX = 100
_PRUNE_PAGE = 500


class Migrated(msgspec.Struct, frozen=True):
    """The schema's version before and after."""

    found: int
    now: int


class Verified(msgspec.Struct, frozen=True):
    """What a journal holds, and what is wrong with it."""

    schema_version: int
    # State -> how many transactions are in it.
    states: dict[State, int]
    unfinished: int
    stuck: int
    paused: int
    instances: int
    # (xid, what is wrong), the first PROBLEMS_MAX of them; `problems_total` counts all.
    problems: tuple[tuple[str, str], ...]
    problems_total: int

    @property
    def transactions(self) -> int:
        """How many transactions it holds."""
        return sum(self.states.values())


async def migrate(url: str) -> Migrated:
    """Bring a journal's schema to this version, creating it in an empty database.

    Raises InvalidArgument for a bad address, JournalLocked while a coordinator runs on it,
    SchemaMismatch when it is newer than this version, JournalUnavailable.
    """
    if urls.is_sqlite(url):
        from trypact_coordinator.journal.sqlite_tools import migrate_file

        found, now = await migrate_file(urls.sqlite_path(url))
    elif urls.is_postgres(url):
        from trypact_coordinator.journal.postgres_tools import migrate_database

        found, now = await migrate_database(url)
    else:
        raise urls.no_lasting_journal(url)
    return Migrated(found, now)


async def verify(url: str) -> Verified:
    """Read every row and hold it against its own content; changes nothing, needs no lock.

    Raises InvalidArgument, SchemaMismatch, JournalUnavailable.
    """
    if urls.is_sqlite(url):
        from trypact_coordinator.journal.sqlite_tools import read_file

        reading = read_file(urls.sqlite_path(url))
    elif urls.is_postgres(url):
        from trypact_coordinator.journal.postgres_tools import read_database

        reading = read_database(url)
    else:
        raise urls.no_lasting_journal(url)
    async with aclosing(reading):
        return await _verify(reading)


async def _verify(reading: AsyncGenerator[Header | Stored, None]) -> Verified:
    header = Header(0, 0)
    states: Counter[State] = Counter()
    marks: Counter[str] = Counter()
    problems: list[tuple[str, str]] = []
    total = 0
    async for item in reading:
        if isinstance(item, Header):
            header = item
            continue
        states[State(item.state)] += 1
        marks["unfinished"] += item.due_at is not None
        marks["stuck"] += item.stuck is not None
        marks["paused"] += item.paused
        try:
            wrong = differences(item)
        except UnreadableRow as error:
            wrong = [str(error)]
        total += len(wrong)
        problems += [(item.xid, what) for what in wrong[: PROBLEMS_MAX - len(problems)]]
    return Verified(
        schema_version=header.schema_version,
        states=dict(sorted(states.items())),
        unfinished=marks["unfinished"],
        stuck=marks["stuck"],
        paused=marks["paused"],
        instances=header.instances,
        problems=tuple(problems),
        problems_total=total,
    )


async def prune(url: str, owner: str, older_than_us: int) -> int:
    """Delete what finished longer ago than that by the journal's own time; return how many.

    Raises InvalidArgument, JournalLocked while a coordinator runs on it (that one prunes by
    itself), SchemaMismatch, JournalUnavailable, also where there is no such file.
    """
    if urls.is_sqlite(url):
        from trypact_coordinator.journal.sqlite_file import require_journal

        require_journal(urls.sqlite_path(url))
    elif not urls.is_postgres(url):
        raise urls.no_lasting_journal(url)
    journal = open_journal(url)
    term = await journal.open(owner)
    try:
        total = 0
        while gone := await journal.prune(term.at - older_than_us, _PRUNE_PAGE):
            total += gone
        return total
    finally:
        await journal.close()
