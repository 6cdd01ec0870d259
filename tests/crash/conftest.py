"""What the crash tests share: a journal on each database, and coordinators that come and go."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.servers.process import ServerProcess, start_coordinator


@pytest.fixture(params=["sqlite", "postgresql"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty journal."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/journal.db"
    url: str = request.getfixturevalue("postgres_url")
    return url


class Coordinators:
    """The coordinators of one journal, one after the other, all at the same address."""

    def __init__(self, journal: str) -> None:
        self.journal = journal
        self.address = "127.0.0.1:0"
        self._started: list[ServerProcess] = []

    async def start(self, failpoint: str = "") -> ServerProcess:
        """Start one; it dies at the failpoint, if one is named."""
        process, self.address = await asyncio.to_thread(
            start_coordinator,
            self.journal,
            self.address,
            {"TRYPACT_FAILPOINT": failpoint} if failpoint else {},
        )
        self._started.append(process)
        return process

    async def kill_all(self) -> None:
        for process in self._started:
            await asyncio.to_thread(process.kill)


@pytest.fixture
async def coordinators(journal: str) -> AsyncIterator[Coordinators]:
    """Coordinators on the journal."""
    made = Coordinators(journal)
    yield made
    await made.kill_all()
