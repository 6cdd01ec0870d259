"""The cases that are no plain load: what their modules measure, as findings."""

from collections.abc import Iterator

from tests.bench import local_transactions, slow_neighbour
from tests.bench import overload as overloads
from tests.bench.findings import Findings, Table
from tests.bench.plan import Plan, Step
from tests.bench.rig import Rig

# Ways of the participant's side, on both databases together; for the progress bar.
_WAYS = 20


def local(plan: Plan) -> Iterator[Step]:
    """Tries a second at a participant's own database, by how they share its transactions."""
    seconds = min(plan.seconds, 1.0)

    def run(rig: Rig, findings: Findings) -> str:
        rates = local_transactions.run(seconds)
        about = (
            "Tries a second at one participant's own database (a fence row and a guarded change "
            "of stock each), by how they share local transactions. No network."
        )
        rows = [rate.cells() for rate in rates]
        columns = list(local_transactions.COLUMNS)
        findings.tables.append(Table("Local transactions", about, columns, rows))
        return f"up to {max(rate.per_second for rate in rates):,.0f} branches/s"

    yield Step("local transactions", _WAYS * (seconds + 0.5), run)


def overload(plan: Plan) -> Iterator[Step]:
    """Twice as many transactions a second as are possible."""
    warm_up = min(plan.warm_up_seconds, 1.0)
    loads, rounds = 1 + len(overloads.STEPS), 3 * overloads.ROUNDS
    seconds = loads * (warm_up + plan.seconds)
    seconds += rounds * (warm_up + overloads.ROUND_SHARE * plan.seconds)

    def run(rig: Rig, findings: Findings) -> str:
        found = list(overloads.rows(rig, journal, warm_up, plan.seconds))
        findings.overloads.extend(found)
        last = found[-1]
        return f"{last.of_capacity:.0%} of the capacity, p99 {last.of_calm_p99:.1f} times"

    for journal in plan.journals[-1:]:
        yield Step(f"overload on {journal}", seconds + 3.0, run)


def neighbour(plan: Plan) -> Iterator[Step]:
    """What a participant that hangs, and one that is slow, cost the others."""

    def run(rig: Rig, findings: Findings) -> str:
        found = list(slow_neighbour.rows(rig, journal, plan.seconds))
        findings.besides.extend(found)
        prompt, stalling = found[-2:]
        return f"{stalling.rate / prompt.rate:.0%} of what comes through beside two that answer"

    for journal in plan.journals[-1:]:
        settling = 1.0 + 2 * slow_neighbour.SETTLE_SECONDS
        seconds = slow_neighbour.LOADS * (settling + 3 * plan.seconds)
        yield Step(f"slow neighbours on {journal}", seconds, run)
