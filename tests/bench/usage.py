"""What a load costs while it is watched: CPU of each process, and what the journal writes."""

from collections.abc import Mapping
from pathlib import Path

import psycopg

from tests.bench.machine import cpu_ms
from tests.servers.postgres import PostgresServer

_WAL = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')"


class Usage:
    """Differences between `start` and `end`.

    Args:
        pids: process id by the name it is told under; one of them is the coordinator.
        postgres: the journal's server; None if the coordinator writes files itself.
    """

    def __init__(self, pids: Mapping[str, int], postgres: PostgresServer | None) -> None:
        self._pids = pids
        self._postgres = postgres
        self._connection = (
            psycopg.connect(postgres.admin_url, autocommit=True) if postgres is not None else None
        )
        self._before: dict[str, float] = {}
        self._bytes_before = 0
        # Milliseconds of CPU by process.
        self.cpu_ms: dict[str, float] = {}
        self.journal_bytes = 0

    def start(self) -> None:
        """Take the first look."""
        self._bytes_before = self._written()
        self._before = self._cpu()

    def end(self) -> None:
        """Take the last look."""
        self.cpu_ms = {name: ms - self._before[name] for name, ms in self._cpu().items()}
        self.journal_bytes = self._written() - self._bytes_before
        if self._connection is not None:
            self._connection.close()

    def _cpu(self) -> dict[str, float]:
        now = {name: cpu_ms(pid) for name, pid in self._pids.items()}
        if self._postgres is not None and self._postgres.pid is not None:
            now["database"] = cpu_ms(self._postgres.pid, with_children=True)
        return now

    def _written(self) -> int:
        if self._connection is not None:
            row = self._connection.execute(_WAL).fetchone()
            return int(row[0]) if row else 0
        return written_bytes(self._pids["coordinator"])


def written_bytes(pid: int) -> int:
    """Return what a process has made the disk write so far; proc(5), `write_bytes`."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("write_bytes:"))
    return int(line.partition(":")[2])


def resident_mib(pid: int) -> float:
    """Return the memory that a process has in use, in MiB; proc(5), `VmRSS`."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024
