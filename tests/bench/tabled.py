"""The cases whose findings are tables of their own."""

from collections.abc import Iterator

from tests.bench import local_transactions
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
