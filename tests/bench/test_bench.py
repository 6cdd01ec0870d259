"""The benchmark itself works, and what it counts is what the journal promises."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from trypact.branches import write
from trypact.v1 import initiator_pb2, transaction_pb2

from tests.bench import cases, findings, plots, report, slow_neighbour
from tests.bench.arrivals import Initiator, requests
from tests.bench.budgets import at_least, at_most
from tests.bench.findings import Findings
from tests.bench.load import SHAPES
from tests.bench.plan import Plan
from tests.bench.recovery import recovery, shares
from tests.bench.rig import Rig
from tests.bench.shop import shop
from tests.bench.soak import soak
from tests.bench.tabled import local, overload

TINY = Plan(
    clients=(4,),
    journals=("sqlite",),
    warm_up_seconds=0.0,
    seconds=0.2,
    soak_seconds=1.0,
    in_flight=(20,),
)


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with Rig() as rig:
        yield rig


@pytest.fixture
def found() -> Findings:
    return Findings("2026-01-01", "a machine with 2 cores")


# A saga that goes well has nothing to confirm, so its decision and its finish are one record. The
# interactive form records each branch before its Try is called.
@pytest.mark.parametrize(
    ("case", "records"), [("tcc", 3), ("saga", 2), ("rollback", 3), ("interactive", 6)]
)
def test_what_a_transaction_costs_the_journal_is_counted(
    rig: Rig, found: Findings, case: str, records: int
) -> None:
    for step in getattr(cases, case)(TINY):
        step.run(rig, found)

    (load,) = found.loads
    assert load.records is not None
    assert round(load.records, 2) == records
    assert load.commits is not None
    assert 0 < load.commits <= load.records
    assert load.rate > 0
    assert 0 < load.p50_ms <= load.p99_ms <= load.p999_ms
    assert load.cpu_ms["coordinator"] > 0
    assert load.journal_bytes is not None
    assert load.journal_bytes > 0


def test_every_bare_loop_writes_three_records_in_no_more_than_three_commits(
    rig: Rig, found: Findings
) -> None:
    for step in cases.bare(TINY):
        step.run(rig, found)

    assert [load.system for load in found.loads] == list(cases.BARE)
    for load in found.loads:
        assert load.records is not None
        # The last finishes may still wait for a batch to ride with.
        assert 2.5 < load.records <= 3
        assert load.commits is not None
        assert load.commits <= 3
        assert load.rate > 0


def test_all_that_was_in_flight_at_a_kill_is_final_after_a_restart(
    rig: Rig, found: Findings
) -> None:
    for step in recovery(TINY):
        step.run(rig, found)

    (one,) = found.recoveries
    assert one.in_flight == 20
    assert 0 < one.serving_s <= one.final_s
    assert one.idle_mib > 0


def test_a_soak_sees_the_memory_of_its_coordinator(rig: Rig, found: Findings) -> None:
    for step in soak(TINY):
        step.run(rig, found)

    (one,) = found.soaks
    assert [moment.coordinator_mib > 0 for moment in one.moments] == [True]


def test_the_shop_takes_orders_from_many_buyers(rig: Rig, found: Findings) -> None:
    for step in shop(TINY):
        step.run(rig, found)

    (load,) = found.loads
    assert load.rate > 0
    assert set(load.cpu_ms) == {"coordinator", "client", "participant"}
    assert load.records is not None
    assert load.records > 2


def test_every_way_of_a_local_transaction_is_a_row(rig: Rig, found: Findings) -> None:
    for step in local(replace(TINY, seconds=0.02)):
        step.run(rig, found)

    (table,) = found.tables
    assert {row[0] for row in table.rows} == {"sqlite", "postgresql"}
    assert {len(row) for row in table.rows} == {len(table.columns)}


def test_what_comes_through_past_the_capacity_is_told_as_a_share_of_it(
    rig: Rig, found: Findings
) -> None:
    for step in overload(TINY):
        step.run(rig, found)

    assert [one.rate > 0 for one in found.overloads] == [True] * 9
    assert found.overloads[-1].of_capacity > 0


def test_many_in_flight_are_shared_out_among_initiators() -> None:
    assert shares(100) == [100]
    assert shares(12_000) == [5_000, 5_000, 2_000]


async def test_an_answer_to_what_was_asked_before_the_watch_counts_as_work_and_not_as_latency() -> (
    None
):
    initiator = Initiator("127.0.0.1:1", ("alpha",))
    initiator._watch(warm_up_seconds=10.0, seconds=10.0)
    began = initiator._watched_from
    done = initiator_pb2.ExecuteStreamResponse.Item(id=1)
    done.execute.outcome.state = transaction_pb2.TRANSACTION_STATE_CONFIRMED
    for asked_at, answered_at in ((began - 2.0, began - 1.0), (began - 1.0, began + 1.0)):
        initiator._asked_at[1] = asked_at
        initiator._take(done, answered_at)

    assert initiator._seen.answered_at == [pytest.approx(1.0)]
    assert initiator._seen.latencies_ms == []


def test_the_lean_initiator_asks_for_what_it_would_with_messages_built_one_by_one() -> None:
    first, second = itertools.islice(requests(("alpha", "beta"), "bench"), 2)
    batch = initiator_pb2.ExecuteStreamRequest.FromString(first[1] + second[1])
    xids = [item.execute.begin.xid for item in batch.items]

    expected = initiator_pb2.ExecuteStreamRequest()
    for (id_, _), xid in zip((first, second), xids, strict=True):
        request = expected.items.add(id=id_, timeout_ms=90_000).execute
        request.fresh = True
        request.begin.xid, request.begin.name = xid, "bench"
        for branch in SHAPES["tcc"]()[:2]:
            write(branch, request.branches.add())
    assert batch == expected
    assert len(set(xids)) == 2


def test_a_budget_says_by_how_much_it_is_missed() -> None:
    assert at_most("a time", 1.5, 2.0, "{:.1f} s").verdict == "met"
    assert at_most("a time", 3.0, 2.0, "{:.1f} s").verdict == "missed by 50%"
    assert at_least("a share", 0.9, 0.8, "{:.0%}").verdict == "met"
    assert at_least("a share", 0.4, 0.8, "{:.0%}").verdict == "missed by 50%"


def test_the_page_and_its_plots_are_drawn_from_the_figures_alone(tmp_path: Path) -> None:
    path = tmp_path / "latest.json"
    findings.save(EXAMPLE, path)
    again = findings.load(path)
    names = plots.draw(again, tmp_path)
    first = {name: (tmp_path / name).read_bytes() for name in names}
    plots.draw(again, tmp_path)

    assert again == EXAMPLE
    assert names == [f"{name}.svg" for name in plots.PLOTS]
    assert first == {name: (tmp_path / name).read_bytes() for name in names}
    page = report.page(again, names)
    assert all(f"]({name})" in page for name in names)
    assert "| at least 50% | 50% | met |" in page
    assert "of the capacity | at least 90% | 95% | met |" in page
    assert "beside two that answer | at least 97% | 90% | missed by 7% |" in page


@pytest.mark.filterwarnings("error")
def test_what_was_not_measured_is_not_drawn(tmp_path: Path) -> None:
    only_soak = msgspec.structs.replace(EXAMPLE, loads=[], recoveries=[], overloads=[])
    assert plots.draw(only_soak, tmp_path) == ["soak.svg"]


def _load(system: str, clients: int, rate: float) -> findings.Load:
    cpu = {"coordinator": 100.0, "client": 30.0, "participant": 20.0, "database": 40.0}
    return findings.Load("tcc", system, clients, rate, 2.0, 4.0, 8.0, cpu, 0.5, 3.0, 900.0)


EXAMPLE = Findings(
    "2026-01-01",
    "a machine with 2 cores",
    loads=[
        _load(system, clients, clients * rate)
        for system, rate in (("postgresql", 50.0), ("bare", 100.0), ("bare, our wire", 80.0))
        for clients in (1, 8, 64)
    ],
    recoveries=[findings.Recovery("sqlite", 100, 0.25, 0.5, 50.0, 60.0, 55.0)],
    soaks=[findings.Soak("postgresql", 16, 2.0, [findings.Moment(1.0, 100.0, 2.0, 4.0, 60.0)] * 2)],
    overloads=[
        findings.Overload("postgresql", 8, 0.0, 1700.0, 4.0, 6.0, 0.0),
        findings.Overload("postgresql", 0, 4000.0, 3900.0, 19.0, 30.0, 100.0),
        findings.Overload("postgresql", 0, 7800.0, 3705.0, 20.0, 31.0, 4100.0, 0.95, 5.0),
    ],
    besides=[
        findings.Beside("postgresql", "64 clients", slow_neighbour.TWO_PROMPT, 100.0, 2.0, 3.0, 0),
        findings.Beside("postgresql", "64 clients", slow_neighbour.TWO_STALLING, 90.0, 2.0, 3.0, 1),
    ],
    tables=[findings.Table("Another", "What it is.", ["what", "how much"], [["this", "1"]])],
)
