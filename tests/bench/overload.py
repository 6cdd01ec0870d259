"""Past saturation: `python -m tests.bench.overload [JOURNAL]`.

Three closed loops say what is usual (8 clients) and what is possible (64 and 256); then twice as
many transactions arrive a second as are possible, by a schedule that waits for nobody. What is
told: the throughput as a share of the peak, and the latency of what was let in as a multiple of
that at 8 clients.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from trypact_coordinator.bootstrap import run

from tests.bench.arrivals import Initiator, Seen
from tests.bench.load import PARTICIPANTS
from tests.bench.rig import Rig

CALM_CLIENTS = 8
PEAK_CLIENTS = (64, 256)
TIMES = 2.0


@dataclass(frozen=True)
class Row:
    """One load and what came of it."""

    journal: str
    load: str
    rate: float
    p50_ms: float
    p99_ms: float
    refused_a_second: float
    # Throughput over the peak, and p99 over that at 8 clients; 0 before both are known.
    of_peak: float = 0.0
    of_calm_p99: float = 0.0


def rows(
    rig: Rig, journal: str, warm_up_seconds: float = 2.0, seconds: float = 5.0
) -> Iterator[Row]:
    """Measure one journal."""
    with rig.journal(journal) as url, rig.coordinator(url) as (_, address):

        async def closed(clients: int) -> Seen:
            return await Initiator(address, PARTICIPANTS).closed(clients, warm_up_seconds, seconds)

        async def scheduled(rate: float) -> Seen:
            return await Initiator(address, PARTICIPANTS).scheduled(rate, warm_up_seconds, seconds)

        peak = calm_p99 = 0.0
        for clients in (CALM_CLIENTS, *PEAK_CLIENTS):
            seen = run(closed(clients))
            peak = max(peak, seen.rate)
            calm_p99 = calm_p99 or seen.quantile(0.99)
            yield _row(journal, f"{clients} clients", seen)
        seen = run(scheduled(TIMES * peak))
        yield _row(journal, f"{TIMES * peak:,.0f} arrive a second", seen, peak, calm_p99)


def _row(journal: str, load: str, seen: Seen, peak: float = 0.0, calm_p99: float = 0.0) -> Row:
    return Row(
        journal=journal,
        load=load,
        rate=seen.rate,
        p50_ms=seen.quantile(0.50),
        p99_ms=seen.quantile(0.99),
        refused_a_second=seen.refused / seen.seconds,
        of_peak=seen.rate / peak if peak else 0.0,
        of_calm_p99=seen.quantile(0.99) / calm_p99 if calm_p99 else 0.0,
    )


def main() -> int:
    with Rig() as rig:
        for row in rows(rig, sys.argv[1] if len(sys.argv) > 1 else "postgresql"):
            line = (
                f"{row.journal}, {row.load}: {row.rate:,.0f}/s, p50 {row.p50_ms:.1f} ms, "
                f"p99 {row.p99_ms:.1f} ms, {row.refused_a_second:,.0f}/s refused"
            )
            if row.of_peak:
                line += f"; {row.of_peak:.0%} of the peak, p99 {row.of_calm_p99:.1f} times"
            sys.stderr.write(f"{line}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
