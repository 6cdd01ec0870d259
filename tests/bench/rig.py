"""The processes that cases run on: coordinators, the no-op participant, PostgreSQL, the initiators.

What several cases share is started once, when the first of them needs it.
"""

import contextlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
from trypact_coordinator.cli.poller import use_classic_poller

from tests.bench.client import Order, Seen
from tests.bench.findings import Load
from tests.bench.load import register
from tests.bench.usage import Usage
from tests.servers.postgres import PostgresServer
from tests.servers.process import ServerProcess, start_coordinator
from tests.tidy.repository import ROOT

JOURNALS = ("sqlite", "postgresql")
# A benchmark without them would measure how fast nothing can be promised.
DURABLE = {
    "fsync": "on",
    "full_page_writes": "on",
    "autovacuum": "on",
    "shared_buffers": "128MB",
    # Room for six participants' pools beside a journal.
    "max_connections": "150",
    "min_wal_size": "1GB",
    # So that the segments below are all used before a checkpoint.
    "max_wal_size": "2GB",
}
# A server that has run for a while writes its WAL over segments it has used before. A new one makes
# each first, and every commit waits for its 16 MB of zeros: 60 ms every second or two.
WAL_SEGMENTS = 60


class Rig:
    """The servers of one run; use as a context."""

    def __init__(self) -> None:
        self._shared: dict[str, tuple[ServerProcess, str]] = {}
        self._postgres: PostgresServer | None = None

    def __enter__(self) -> "Rig":
        return self

    def __exit__(self, *_: object) -> None:
        for process, _address in self._shared.values():
            process.kill()
        if self._postgres is not None:
            self._postgres.remove()

    @property
    def postgres(self) -> PostgresServer:
        """A PostgreSQL that syncs, as it is when it has run for a while."""
        if self._postgres is None:
            server = self._postgres = PostgresServer(DURABLE)
            for _ in range(WAL_SEGMENTS):
                server.execute("SELECT pg_logical_emit_message(false, 'bench', 'used')")
                server.execute("SELECT pg_switch_wal()")
            server.execute("CHECKPOINT")
        return self._postgres

    def shared(self, module: str, *arguments: str) -> tuple[ServerProcess, str]:
        """Return a participant's process, started by the first who asks, and its address."""
        key = " ".join((module, *arguments))
        if key not in self._shared:
            self._shared[key] = started(module, *arguments)
        return self._shared[key]

    @contextlib.contextmanager
    def journal(self, kind: str) -> Iterator[str]:
        """Lend an empty journal's URL."""
        if kind == "sqlite":
            with tempfile.TemporaryDirectory(prefix="trypact-bench-") as folder:
                yield f"sqlite:///{folder}/journal.db"
        else:
            url = self.postgres.create_database()
            yield url
            self.postgres.drop_database(url)

    @contextlib.contextmanager
    def coordinator(
        self, journal: str, arguments: Sequence[str] = ()
    ) -> Iterator[tuple[ServerProcess, str]]:
        """Run a coordinator that knows the no-op participants, which register only once."""
        known = ("--lapse-after", "24h", *arguments)
        process, address = start_coordinator(journal, arguments=known)
        try:
            register(address, self.shared("noop")[1])
            yield process, address
        finally:
            process.stop()

    def watch(
        self,
        order: Order,
        pids: Mapping[str, int],
        journal: str,
        each_second: Callable[[int], None] = lambda second: None,
    ) -> tuple[Seen, Usage]:
        """Run a load; return what it saw and what it cost."""
        text = msgspec.json.encode(order).decode()
        command = [sys.executable, "-m", "tests.bench.client", text]
        client = ServerProcess(command, environment(), folder=ROOT)
        try:
            on_postgres = journal.startswith("postgresql")
            usage = Usage({**pids, "client": client.pid}, self._postgres if on_postgres else None)
            client.wait_for("^watching$")
            usage.start()
            for second in range(1, int(order.seconds) + 1):
                client.wait_for(f"^second {second}$")
                each_second(second)
            client.wait_for("^watched$")
            usage.end()
            seen = msgspec.json.decode(client.wait_for("^seen (.*)")[1], type=Seen)
        finally:
            client.kill()
        return seen, usage


def started(module: str, *arguments: str) -> tuple[ServerProcess, str]:
    """Start a module of the benchmark; return its process and its address."""
    command = [sys.executable, "-m", f"tests.bench.{module}", *arguments]
    process = ServerProcess(command, environment(), folder=ROOT)
    return process, process.wait_for(r"listening on (\S+)")[1]


def environment() -> dict[str, str]:
    """Return what makes gRPC quickest: the classic poller, told before a process imports it."""
    told: dict[str, str] = {}
    use_classic_poller(told)
    return told


def load_of(case: str, system: str, clients: int, seen: Seen, usage: Usage, log: str = "") -> Load:
    """Put together what is known of a load; `log` is the coordinator's, to its end."""
    ended = [json.loads(line) for line in log.splitlines() if '"term ended"' in line]
    records = {key: ended[0][key] / seen.transactions for key in ("batches", "records") if ended}
    return Load(
        case=case,
        system=system,
        clients=clients,
        rate=seen.rate,
        p50_ms=seen.p50_ms,
        p99_ms=seen.p99_ms,
        p999_ms=seen.p999_ms,
        cpu_ms={name: ms * 1000 / seen.watched for name, ms in usage.cpu_ms.items()},
        commits=records.get("batches"),
        records=records.get("records"),
        journal_bytes=usage.journal_bytes / seen.watched,
    )


def pids_of(processes: Mapping[str, ServerProcess]) -> dict[str, int]:
    """Return their process ids."""
    return {name: process.pid for name, process in processes.items()}


def scratch() -> "tempfile.TemporaryDirectory[str]":
    """Return a folder that goes with its context."""
    return tempfile.TemporaryDirectory(prefix="trypact-bench-")


def path_of(folder: str, name: str) -> Path:
    """Return a file's path in a scratch folder."""
    return Path(folder) / name
