"""What a bad neighbour costs: `python -m tests.bench.slow_neighbour [JOURNAL]`.

A load at no-op participants, alone and then beside a steady stream of transactions of two others:
first at participants that answer at once, then at one which never answers and one which answers
after 5 seconds. The difference of the last two is what hanging costs; a stream costs its share in
any case. Once by 64 clients, which take all the coordinator has left, and once by a schedule that
is well within what it can do.
"""

import asyncio
import contextlib
import sys
from collections.abc import Iterator

from trypact_coordinator.bootstrap import run

from tests.bench.arrivals import Initiator, Seen
from tests.bench.findings import Beside
from tests.bench.load import PARTICIPANTS, register
from tests.bench.rig import Rig, started

CLIENTS = 64
ARRIVALS = 1000.0
# Participant -> seconds after which it answers; 0 is never.
STALLING = {"hung": 0, "slow": 5}
# Those with the same stream of transactions that answer at once.
PROMPT = PARTICIPANTS[: len(STALLING)]
# Transactions that name each neighbour, a second.
RATE = 50.0
NOBODY, TWO_PROMPT, TWO_STALLING = "nobody", "two that answer", "one hung, one slow"
# By clients, and by a schedule.
LOADS = 2
# Until calls time out, and breakers open.
SETTLE_SECONDS = 8.0


def rows(rig: Rig, journal: str, seconds: float = 5.0) -> Iterator[Beside]:
    """Measure one journal."""
    with (
        contextlib.ExitStack() as stack,
        rig.journal(journal) as url,
        rig.coordinator(url) as (_, address),
    ):
        for name, late in STALLING.items():
            process, endpoint = started("stalling", str(late))
            stack.callback(process.kill)
            register(address, endpoint, [name])
        for load in (f"{CLIENTS} clients", f"{ARRIVALS:,.0f} a second"):
            alone = run(_healthy(address, load, 1.0, seconds))
            yield _row(journal, load, NOBODY, alone)
            prompt = run(_beside(address, load, seconds, PROMPT))
            yield _row(journal, load, TWO_PROMPT, prompt)
            stalling = run(_beside(address, load, seconds, tuple(STALLING)))
            yield _row(journal, load, TWO_STALLING, stalling)


async def _healthy(address: str, load: str, warm_up_seconds: float, seconds: float) -> Seen:
    initiator = Initiator(address, PARTICIPANTS, "healthy")
    if load.endswith("clients"):
        return await initiator.closed(CLIENTS, warm_up_seconds, seconds)
    return await initiator.scheduled(ARRIVALS, warm_up_seconds, seconds)


async def _beside(address: str, load: str, seconds: float, neighbours: tuple[str, ...]) -> Seen:
    initiators = [Initiator(address, (name,), name) for name in neighbours]
    lasting = SETTLE_SECONDS + seconds + 60
    asking = [asyncio.create_task(one.scheduled(RATE, 0, lasting)) for one in initiators]
    try:
        return await _healthy(address, load, SETTLE_SECONDS, seconds)
    finally:
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        for one in initiators:
            await one.abandon()


def _row(journal: str, load: str, beside: str, seen: Seen) -> Beside:
    p50_ms, p99_ms = seen.quantile(0.50), seen.quantile(0.99)
    return Beside(journal, load, beside, seen.rate, p50_ms, p99_ms, seen.refused)


def main() -> int:
    with Rig() as rig:
        for row in rows(rig, sys.argv[1] if len(sys.argv) > 1 else "postgresql"):
            sys.stderr.write(
                f"{row.journal}, {row.load}, beside {row.beside}: {row.rate:,.0f}/s, p50 "
                f"{row.p50_ms:.1f} ms, p99 {row.p99_ms:.1f} ms, {row.refused} refused\n"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
