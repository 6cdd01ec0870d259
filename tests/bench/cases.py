"""One case of the benchmark: a fresh coordinator on a fresh journal under one load."""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench.load import Measured, drive, register
from tests.bench.machine import cpu_ms
from tests.servers.postgres import PostgresServer
from tests.servers.process import ServerProcess, start_coordinator
from tests.tidy.repository import ROOT

JOURNALS = ("sqlite", "postgresql")
# A benchmark without them would measure how fast nothing can be promised.
DURABLE = {"fsync": "on", "full_page_writes": "on", "autovacuum": "on", "shared_buffers": "128MB"}


@dataclass(frozen=True)
class Case:
    """What is run."""

    journal: str
    shape: str
    clients: int
    warm_up_seconds: float
    seconds: float


@dataclass(frozen=True)
class Result:
    """What came out; CPU is milliseconds for 1,000 transactions."""

    case: Case
    rate: float
    p50_ms: float
    p99_ms: float
    coordinator_cpu_ms: float
    client_cpu_ms: float
    participant_cpu_ms: float
    database_cpu_ms: float
    # Commits of the journal, and records in them, for each transaction.
    commits: float
    records: float


class Bench:
    """The servers that cases share: the no-op participant, and PostgreSQL once it is needed."""

    def __init__(self) -> None:
        self._noop = ServerProcess([sys.executable, "-m", "tests.bench.noop"], folder=ROOT)
        self._endpoint = self._noop.wait_for(r"listening on (\S+)")[1]
        self._postgres: PostgresServer | None = None

    def close(self) -> None:
        self._noop.kill()
        if self._postgres is not None:
            self._postgres.remove()

    def run(self, case: Case, tick: Callable[[], None]) -> Result:
        """Run a case. `tick` is called when its watched time begins."""
        with tempfile.TemporaryDirectory(prefix="trypact-bench-") as folder:
            url = self._journal(case, Path(folder))
            coordinator, address = start_coordinator(url)
            try:
                register(address, self._endpoint)
                pids = {"coordinator": coordinator.pid, "participant": self._noop.pid}
                usage = Usage(pids, self._postgres if case.journal == "postgresql" else None)

                def started() -> None:
                    usage.start()
                    tick()

                measured = asyncio.run(
                    drive(
                        address,
                        case.shape,
                        case.clients,
                        case.warm_up_seconds,
                        case.seconds,
                        started,
                        usage.end,
                    )
                )
            finally:
                coordinator.stop()
            return _result(case, measured, usage, coordinator.output)

    def _journal(self, case: Case, folder: Path) -> str:
        if case.journal == "sqlite":
            return f"sqlite:///{folder}/journal.db"
        if self._postgres is None:
            self._postgres = PostgresServer(DURABLE)
        return self._postgres.create_database()


class Usage:
    """CPU time of everybody who takes part, over the watched time."""

    def __init__(self, pids: dict[str, int], postgres: PostgresServer | None) -> None:
        self._pids = {**pids, "client": os.getpid()}
        self._postgres = postgres
        self._before: dict[str, float] = {}
        self.used: dict[str, float] = {}

    def start(self) -> None:
        self._before = self._now()

    def end(self) -> None:
        self.used = {name: ms - self._before[name] for name, ms in self._now().items()}

    def _now(self) -> dict[str, float]:
        now = {name: cpu_ms(pid) for name, pid in self._pids.items()}
        pid = self._postgres.pid if self._postgres else None
        now["database"] = cpu_ms(pid, with_children=True) if pid else 0.0
        return now


def _result(case: Case, measured: Measured, usage: Usage, log: str) -> Result:
    (line,) = (line for line in log.splitlines() if '"term ended"' in line)
    ended = json.loads(line)
    thousands = len(measured.latencies_ms) / 1000
    return Result(
        case=case,
        rate=measured.rate,
        p50_ms=measured.quantile(0.50),
        p99_ms=measured.quantile(0.99),
        coordinator_cpu_ms=usage.used["coordinator"] / thousands,
        client_cpu_ms=usage.used["client"] / thousands,
        participant_cpu_ms=usage.used["participant"] / thousands,
        database_cpu_ms=usage.used["database"] / thousands,
        commits=ended["batches"] / measured.transactions,
        records=ended["records"] / measured.transactions,
    )
