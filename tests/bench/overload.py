"""Past saturation: `python -m tests.bench.overload [JOURNAL]`.

Transactions arrive by a schedule that waits for nobody, more and more of them a second: the most
that come through are the capacity. Then three loads follow each other several times: 8 clients that
wait for each answer, the arrivals at which the capacity was found, and twice the capacity. What is
told: the throughput then, as a share of the capacity, and the latency of what was let in, as a
multiple of that at 8 clients; of each the median of what each time says, for a shared machine is
not equally fast from one second to the next.

The steps are found from what 256 clients reach. They reach more than ever comes through of what
arrives singly, because they move in step, in batches as large as they come.
"""

import sys
from collections.abc import Iterator
from statistics import median

from msgspec.structs import replace
from trypact_coordinator.bootstrap import run

from tests.bench.arrivals import Initiator, Seen
from tests.bench.findings import Overload
from tests.bench.load import PARTICIPANTS
from tests.bench.rig import Rig

CALM_CLIENTS = 8
MANY_CLIENTS = 256
# Arrivals a second, as shares of what many clients reach.
STEPS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
TIMES = 2.0
ROUNDS = 5
# Of the time that the other loads are watched, but so long in any case, in seconds.
ROUND_SHARE = 0.6
ROUND_SECONDS_MIN = 0.3


def rows(
    rig: Rig, journal: str, warm_up_seconds: float = 1.0, seconds: float = 5.0
) -> Iterator[Overload]:
    """Measure one journal."""
    with rig.journal(journal) as url, rig.coordinator(url) as (_, address):

        async def closed(clients: int, watched: float = seconds) -> Seen:
            return await Initiator(address, PARTICIPANTS).closed(clients, warm_up_seconds, watched)

        async def scheduled(rate: float, watched: float = seconds) -> Seen:
            return await Initiator(address, PARTICIPANTS).scheduled(rate, warm_up_seconds, watched)

        many = _row(journal, run(closed(MANY_CLIENTS)), clients=MANY_CLIENTS)
        yield many
        steps = []
        for share in STEPS:
            rate = share * many.rate
            steps.append(_row(journal, run(scheduled(rate)), arrivals=rate))
            yield steps[-1]
        best = max(steps, key=lambda step: step.rate)
        calm, beyond, of_capacity, of_calm_p99 = [], [], [], []
        watched = max(ROUND_SHARE * seconds, ROUND_SECONDS_MIN)
        for _ in range(ROUNDS):
            few = run(closed(CALM_CLIENTS, watched))
            most = run(scheduled(best.arrivals, watched))
            twice = run(scheduled(TIMES * best.rate, watched))
            calm.append(_row(journal, few, clients=CALM_CLIENTS))
            beyond.append(_row(journal, twice, arrivals=TIMES * best.rate))
            of_capacity.append(twice.rate / most.rate)
            of_calm_p99.append(twice.quantile(0.99) / few.quantile(0.99))
        yield _middle(calm)
        yield replace(
            _middle(beyond), of_capacity=median(of_capacity), of_calm_p99=median(of_calm_p99)
        )


def _middle(rows: list[Overload]) -> Overload:
    return sorted(rows, key=lambda row: row.p99_ms)[len(rows) // 2]


def _row(journal: str, seen: Seen, *, clients: int = 0, arrivals: float = 0.0) -> Overload:
    return Overload(
        journal=journal,
        clients=clients,
        arrivals=arrivals,
        rate=seen.rate,
        p50_ms=seen.quantile(0.50),
        p99_ms=seen.quantile(0.99),
        refused_a_second=seen.refused / seen.seconds,
    )


def main() -> int:
    with Rig() as rig:
        for row in rows(rig, sys.argv[1] if len(sys.argv) > 1 else "postgresql"):
            line = (
                f"{row.journal}, {row.load}: {row.rate:,.0f}/s, p50 {row.p50_ms:.1f} ms, "
                f"p99 {row.p99_ms:.1f} ms, {row.refused_a_second:,.0f}/s refused"
            )
            if row.of_capacity:
                line += f"; {row.of_capacity:.0%} of the capacity, p99 {row.of_calm_p99:.1f} times"
            sys.stderr.write(f"{line}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
