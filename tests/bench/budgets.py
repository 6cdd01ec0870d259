"""What the coordinator has promised itself, beside what a run has found."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.bench.findings import Findings, Load, Recovery
from tests.bench.slow_neighbour import TWO_PROMPT, TWO_STALLING

COORDINATOR_US_MAX = 150.0
RECORDS_MAX = 3.0
OF_BARE_MIN = 0.5
P50_OF_BARE_MAX = 1.5
P99_GROWTH_MAX = 4.0
FINAL_SECONDS_MAX = 2.0
OF_CAPACITY_MIN = 0.9
# "Nothing", as far as it can be told from the noise of a run.
BESIDE_MIN = 0.97
BESIDE_P50_MAX = 1.1
IDLE_MIB_MAX = 120.0
IN_FLIGHT_MIB_MAX = 300.0
SOAK_GROWTH_MAX = 1.1
MANY, SOME, FEW, ONE = 64, 16, 8, 1
_JOURNAL = "postgresql"


class Budget(NamedTuple):
    """One promise."""

    what: str
    budget: str
    measured: str
    # What it is missed by, as a share of the budget; 0 or less if it is met.
    missed_by: float

    @property
    def verdict(self) -> str:
        """Say whether it is met, or missed by how much."""
        return "met" if self.missed_by <= 0 else f"missed by {self.missed_by:.0%}"


def at_most(what: str, measured: float, limit: float, form: str) -> Budget:
    """Return a budget that is an upper limit; `form` is how both are written."""
    return Budget(
        what, f"at most {form.format(limit)}", form.format(measured), measured / limit - 1
    )


def at_least(what: str, measured: float, limit: float, form: str) -> Budget:
    """Return a budget that is a lower limit."""
    return Budget(
        what, f"at least {form.format(limit)}", form.format(measured), 1 - measured / limit
    )


def budgets(findings: Findings) -> list[Budget]:
    """Return every budget that this run can tell of."""
    return [budget for one in _ALL for budget in one(findings)]


def _tcc(findings: Findings, system: str, clients: int) -> Load | None:
    return findings.load("tcc", system, clients)


def _cpu(findings: Findings) -> Iterator[Budget]:
    if (load := _tcc(findings, _JOURNAL, MANY)) is not None:
        what = f"CPU of the coordinator, a transaction at {MANY} clients"
        yield at_most(what, load.cpu_ms["coordinator"], COORDINATOR_US_MAX, "{:.0f} µs")


def _records(findings: Findings) -> Iterator[Budget]:
    load = _tcc(findings, _JOURNAL, MANY)
    if load is not None and load.records is not None:
        yield at_most("records a transaction", load.records, RECORDS_MAX, "{:.2f}")


def _throughput(findings: Findings) -> Iterator[Budget]:
    for bare in ("bare, our wire", "bare"):
        for clients in (SOME, MANY, 256):
            ours, limit = _tcc(findings, _JOURNAL, clients), _tcc(findings, bare, clients)
            if ours is not None and limit is not None:
                what = f"throughput at {clients} clients, of the loop “{bare}”"
                yield at_least(what, ours.rate / limit.rate, OF_BARE_MIN, "{:.0%}")


def _latency(findings: Findings) -> Iterator[Budget]:
    for bare in ("bare, our wire", "bare"):
        ours, limit = _tcc(findings, _JOURNAL, ONE), _tcc(findings, bare, ONE)
        if ours is not None and limit is not None:
            what = f"p50 at one client, of the loop “{bare}”"
            yield at_most(what, ours.p50_ms / limit.p50_ms, P50_OF_BARE_MAX, "{:.2f} x")


def _tail(findings: Findings) -> Iterator[Budget]:
    few, many = _tcc(findings, _JOURNAL, FEW), _tcc(findings, _JOURNAL, MANY)
    if few is not None and many is not None:
        what = f"p99 at {MANY} clients, of that at {FEW}"
        yield at_most(what, many.p99_ms / few.p99_ms, P99_GROWTH_MAX, "{:.1f} x")


def _overload(findings: Findings) -> Iterator[Budget]:
    for one in findings.overloads:
        if one.of_capacity:
            what = "throughput when twice the capacity arrives, of the capacity"
            yield at_least(what, one.of_capacity, OF_CAPACITY_MIN, "{:.0%}")
            what = "p99 of what is let in then, of that at 8 clients"
            yield at_most(what, one.of_calm_p99, P99_GROWTH_MAX, "{:.1f} x")


def _beside(findings: Findings) -> Iterator[Budget]:
    """Compare with others that answer, whose transactions cost their share in any case."""
    found = {(one.journal, one.load, one.beside): one for one in findings.besides}
    for (journal, load, beside), one in found.items():
        prompt = found.get((journal, load, TWO_PROMPT))
        if beside == TWO_STALLING and prompt is not None and prompt.rate:
            where = f"{load}, beside {TWO_STALLING}, of that beside {TWO_PROMPT}"
            yield at_least(f"throughput: {where}", one.rate / prompt.rate, BESIDE_MIN, "{:.0%}")
            growth = one.p50_ms / prompt.p50_ms
            yield at_most(f"p50: {where}", growth, BESIDE_P50_MAX, "{:.2f} x")


def _recovery(findings: Findings) -> Iterator[Budget]:
    for one in findings.recoveries:
        where = f"{one.journal}, {one.in_flight:,} in flight"
        yield at_most(f"serving again, {where}", one.serving_s, FINAL_SECONDS_MAX, "{:.2f} s")
        yield at_most(f"everything final, {where}", one.final_s, FINAL_SECONDS_MAX, "{:.2f} s")


def _memory(findings: Findings) -> Iterator[Budget]:
    for one in findings.recoveries:
        if one is _largest(findings, one.journal):
            what = f"memory idle, {one.journal}"
            yield at_most(what, one.idle_mib, IDLE_MIB_MAX, "{:.0f} MiB")
            if one.in_flight >= 10_000:
                what = f"memory with {one.in_flight:,} in flight, {one.journal}"
                yield at_most(what, one.in_flight_mib, IN_FLIGHT_MIB_MAX, "{:.0f} MiB")


def _largest(findings: Findings, journal: str) -> Recovery:
    return max(
        (one for one in findings.recoveries if one.journal == journal),
        key=lambda one: one.in_flight,
    )


def _soak(findings: Findings) -> Iterator[Budget]:
    for one in findings.soaks:
        # Whatever is warmed up by then is no growth any more.
        first, last = one.moments[len(one.moments) // 10], one.moments[-1]
        if first.coordinator_mib:
            growth = last.coordinator_mib / first.coordinator_mib
            what = f"memory after {one.seconds:.0f} s of load, of that after a tenth of it"
            yield at_most(what, growth, SOAK_GROWTH_MAX, "{:.2f} x")


_ALL: tuple[Callable[[Findings], Iterator[Budget]], ...] = (
    _cpu,
    _records,
    _throughput,
    _latency,
    _tail,
    _overload,
    _beside,
    _recovery,
    _memory,
    _soak,
)
