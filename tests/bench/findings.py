"""What a run of the benchmark found: plain values, kept as JSON beside the page written of them.

The page and the plots are drawn from these alone, so they can be drawn again without measuring.
"""

from pathlib import Path

import msgspec


class Load(msgspec.Struct, frozen=True):
    """One load: so many clients, each with one transaction after the other."""

    case: str
    # "sqlite", "postgresql", or a bare loop.
    system: str
    clients: int
    # Transactions a second.
    rate: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    # Process -> milliseconds of CPU for 1,000 transactions.
    cpu_ms: dict[str, float]
    # Of the journal, for each transaction; None where nobody counts.
    commits: float | None = None
    records: float | None = None
    # What the journal wrote for each transaction: PostgreSQL's WAL, or SQLite's files.
    journal_bytes: float | None = None


class Recovery(msgspec.Struct, frozen=True):
    """A kill -9 with that many in flight, and what followed the restart, in seconds from exec."""

    journal: str
    in_flight: int
    serving_s: float
    final_s: float
    # Memory of the coordinator, in MiB: just started, with all in flight, and after recovery.
    idle_mib: float
    in_flight_mib: float
    recovered_mib: float


class Moment(msgspec.Struct, frozen=True):
    """A part of a soak."""

    at_s: float
    rate: float
    p50_ms: float
    p99_ms: float
    coordinator_mib: float


class Soak(msgspec.Struct, frozen=True):
    """One load for long, looked at again and again."""

    journal: str
    clients: int
    seconds: float
    moments: list[Moment]


class Overload(msgspec.Struct, frozen=True):
    """A load, and what came of it, of those that lead beyond what is possible."""

    journal: str
    # Clients that wait for each answer, or transactions that arrive a second; the other is 0.
    clients: int
    arrivals: float
    rate: float
    p50_ms: float
    p99_ms: float
    refused_a_second: float
    # Throughput over the capacity, and p99 over that of a calm load; 0 before both are known.
    of_capacity: float = 0.0
    of_calm_p99: float = 0.0

    @property
    def load(self) -> str:
        """The load in words."""
        if self.clients:
            return f"{self.clients} clients"
        return f"{self.arrivals:,.0f} arrive a second"


class Beside(msgspec.Struct, frozen=True):
    """How a healthy load fared beside others."""

    journal: str
    load: str
    # Who the others were.
    beside: str
    rate: float
    p50_ms: float
    p99_ms: float
    refused: int


class Table(msgspec.Struct, frozen=True):
    """What a case of its own kind found, ready to be printed."""

    title: str
    about: str
    columns: list[str]
    rows: list[list[str]]


class Findings(msgspec.Struct):
    """All of a run."""

    date: str
    machine: str
    # What whoever reads the figures must know of how they were taken; empty if nothing.
    remark: str = ""
    loads: list[Load] = []
    recoveries: list[Recovery] = []
    soaks: list[Soak] = []
    overloads: list[Overload] = []
    besides: list[Beside] = []
    tables: list[Table] = []
    # What could not be measured, and why.
    failed: list[str] = []

    def load(self, case: str, system: str, clients: int) -> Load | None:
        """Return one load, if it was run."""
        for one in self.loads:
            if (one.case, one.system, one.clients) == (case, system, clients):
                return one
        return None


def save(findings: Findings, path: Path) -> None:
    """Write them as JSON that changes line by line, rounded to what can be meant."""
    data = msgspec.json.decode(msgspec.json.encode(findings))
    path.write_bytes(msgspec.json.format(msgspec.json.encode(_rounded(data)), indent=1) + b"\n")


def load(path: Path) -> Findings:
    """Read what `save` wrote."""
    return msgspec.json.decode(path.read_bytes(), type=Findings)


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return value
