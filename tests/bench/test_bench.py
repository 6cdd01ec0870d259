"""The benchmark itself works, and what it counts is what the journal promises."""

import pytest

from tests.bench.__main__ import cells, page
from tests.bench.cases import Bench, Case
from tests.bench.machine import this_machine


# A saga that goes well has nothing to confirm, so its decision and its finish are one record.
@pytest.mark.parametrize(("shape", "records"), [("tcc", 3.0), ("saga", 2.0)])
def test_what_a_transaction_costs_the_journal_is_counted(shape: str, records: float) -> None:
    ticks: list[None] = []
    bench = Bench()
    try:
        result = bench.run(Case("sqlite", shape, 4, 0.0, 0.2), lambda: ticks.append(None))
    finally:
        bench.close()

    assert len(ticks) == 1
    assert round(result.records, 2) == records
    assert 0 < result.commits <= result.records
    assert result.rate > 0
    assert 0 < result.p50_ms <= result.p99_ms
    assert result.coordinator_cpu_ms > 0
    written = page([result], this_machine(), shape)
    assert f"| {' | '.join(cells(result))} |" in written
    assert "cores" in written
