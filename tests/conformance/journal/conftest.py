"""The journals under test: one suite, three keepers, each with a way to open it again."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from trypact_coordinator.journal import open_journal
from trypact_coordinator.journal.memory import MemoryJournal, MemoryStore
from trypact_coordinator.ports import Journal

Opener = Callable[[], Journal]


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def another(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Makes one more journal, closed, over the same durable memory."""
    match request.param:
        case "memory":
            store = MemoryStore()
            return lambda: MemoryJournal(store)
        case "sqlite":
            url = f"sqlite:///{tmp_path / 'journal.db'}"
        case _:
            url = request.getfixturevalue("postgres_url")
    return lambda: open_journal(url)


@pytest.fixture
async def journal(another: Opener) -> AsyncIterator[Journal]:
    """An open journal in its first term: epoch 1."""
    opened = another()
    await opened.open("first")
    yield opened
    await opened.close()
