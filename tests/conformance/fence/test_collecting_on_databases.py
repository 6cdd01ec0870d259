"""What goes of a fence's rows, and what stays, the same on every database."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from trypact.call import PENDING, FencedCall, Ok
from trypact.errors import FenceUnavailable, Refuse
from trypact.fence import (
    AsyncCollector,
    AsyncSqlAlchemyFence,
    Collected,
    Collector,
    ExternalFence,
    SqlAlchemyFence,
    async_sqlite_engine,
    sqlite_engine,
)
from trypact.fence import collector as collector_module
from trypact.kinds import Decision, Kind, Operation
from trypact.outcome import Standing

from tests.conformance.fence.conftest import PLACES, Shop
from tests.conformance.fence.places import AsyncTold, Clock, Told

every_place = pytest.mark.parametrize(
    "shop", [pytest.param((name, "alone"), id=name) for name in PLACES], indirect=True
)

OPEN = Standing(Decision.CONFIRM, final=False, closed=False)
FINAL = Standing(Decision.CONFIRM, final=True, closed=False)
CLOSED = Standing(Decision.CONFIRM, final=True, closed=True)
MESSAGE: dict[str, Any] = {"kind": Kind.MESSAGE, "branch_id": "m"}
HOUR_US = 3_600_000_000


def pending(handle: Any) -> Any:
    return PENDING


def done(handle: Any) -> bytes:
    return b"done"


def refuse(handle: Any) -> bytes:
    raise Refuse("no")


def collect(shop: Shop, **standings: Standing) -> Collected:
    return shop.place.collect(standings, 3600)


@every_place
def test_what_is_over_goes_once_it_is_old(shop: Shop) -> None:
    shop.run("try", xid="confirmed")
    shop.run("confirm", xid="confirmed")
    shop.run("try", xid="cancelled")
    shop.run("cancel", xid="cancelled")
    shop.run("cancel", xid="empty")
    shop.run("try", refuse, xid="refused")
    standings = dict.fromkeys(("confirmed", "cancelled", "empty", "refused"), CLOSED)

    assert shop.place.collect(standings, 3600) == Collected(0, 0, 0)
    shop.clock_us += HOUR_US - 1
    assert shop.place.collect(standings, 3600) == Collected(0, 0, 0)
    shop.clock_us += 1
    assert shop.place.collect(standings, 3600) == Collected(4, 0, 0)
    assert shop.place.keys() == set()


@every_place
def test_what_is_not_over_stays_however_old_it_is(shop: Shop) -> None:
    for xid in ("open", "unknown", "over"):
        shop.run("try", xid=xid)
        shop.run("confirm", xid=xid)
    shop.clock_us += 1000 * HOUR_US

    assert collect(shop, open=OPEN, over=CLOSED) == Collected(removed=1, kept=1, unknown=1)
    assert shop.place.keys() == {("open", "b"), ("unknown", "b")}
    # They still do what they are there for.
    assert shop.run("try", xid="open") == Ok(b"result of run 1")


@every_place
@pytest.mark.parametrize("handler", [None, pending], ids=["tried", "pending"])
def test_what_is_tried_or_pending_stays_whatever_is_said(
    shop: Shop, handler: Callable[[Any], Any] | None
) -> None:
    shop.run("try", handler)
    shop.clock_us += 1000 * HOUR_US

    assert collect(shop, x=CLOSED) == Collected(0, 0, 0)
    assert shop.place.keys() == {("x", "b")}


@every_place
def test_a_delivery_is_remembered_until_all_deliveries_are_over(shop: Shop) -> None:
    shop.run("try")
    shop.run("confirm")
    shop.run("deliver", **MESSAGE)
    shop.clock_us += HOUR_US

    assert collect(shop, x=FINAL) == Collected(1, 0, 0)
    assert shop.place.keys() == {("x", "m")}
    assert collect(shop, x=CLOSED) == Collected(1, 0, 0)
    assert shop.place.keys() == set()


@every_place
def test_a_row_stays_while_its_try_could_still_arrive(shop: Shop) -> None:
    not_after_us = shop.clock_us + 2 * HOUR_US
    shop.run("try", not_after_us=not_after_us)
    shop.run("cancel")
    shop.clock_us = not_after_us + HOUR_US - 1

    assert collect(shop, x=CLOSED) == Collected(0, 0, 0)
    shop.clock_us += 1
    assert collect(shop, x=CLOSED) == Collected(1, 0, 0)


@every_place
def test_a_step_that_was_done_goes_once_its_transaction_is_confirmed(shop: Shop) -> None:
    for xid in ("final", "closed", "open", "undone"):
        shop.run("try", done, xid=xid, branch_id="step", kind=Kind.SAGA)
        shop.run("try", pending, xid=xid, branch_id="pending", kind=Kind.SAGA)
        # Nobody has asked for its Confirm yet, whatever is said.
        shop.run("try", done, xid=xid, branch_id="reserved")
    shop.clock_us += HOUR_US
    undone = Standing(Decision.CANCEL, final=True, closed=True)

    told = collect(shop, final=FINAL, closed=CLOSED, open=OPEN, undone=undone)
    assert told == Collected(removed=2, kept=1, unknown=0)
    gone = {("final", "step"), ("closed", "step")}
    branches = ("step", "pending", "reserved")
    xids = ("final", "closed", "open", "undone")
    assert shop.place.keys() == {(xid, each) for xid in xids for each in branches} - gone


@every_place
def test_many_transactions_are_gone_through_page_by_page(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector_module, "PAGE_TRANSACTIONS", 2)
    xids = ["a", "a!", "aa", "b", "~", "A", "7"]
    for xid in xids:
        for branch_id in ("1", "2"):
            shop.run("cancel", xid=xid, branch_id=branch_id)
    shop.clock_us += HOUR_US
    # The last one of its page, so that it would be counted again by a page that overlaps.
    standings = dict.fromkeys(xids, CLOSED) | {"A": OPEN}

    assert shop.place.collect(standings, 3600) == Collected(removed=12, kept=1, unknown=0)
    assert shop.place.keys() == {("A", "1"), ("A", "2")}


@every_place
def test_several_that_collect_at_once_remove_each_row_once(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector_module, "PAGE_TRANSACTIONS", 3)
    xids = [f"x{number}" for number in range(12)]
    for xid in xids:
        for branch_id in ("1", "2"):
            shop.run("cancel", xid=xid, branch_id=branch_id)
    shop.clock_us += HOUR_US
    together = threading.Barrier(3)

    def collect() -> int:
        together.wait(10)
        return shop.place.collect(dict.fromkeys(xids, CLOSED), 3600).removed

    with ThreadPoolExecutor(3) as threads:
        removed = [each.result(30) for each in [threads.submit(collect) for _ in range(3)]]
    assert sum(removed) == 24
    assert shop.place.keys() == set()


@pytest.mark.parametrize("shop", [("sqlite", "alone")], indirect=True)
def test_a_bound_within_which_calls_may_still_arrive_is_refused(shop: Shop) -> None:
    assert isinstance(shop.fence, SqlAlchemyFence)
    with pytest.raises(ValueError, match=r"older_than: 59\.9 s.* at least 60 s"):
        Collector(Told({}), shop.fence, older_than=59.9)


def test_a_collector_and_what_it_asks_wait_in_the_same_way(tmp_path: Path) -> None:
    fence = SqlAlchemyFence(sqlite_engine(tmp_path / "shop.db"))
    awaited = AsyncSqlAlchemyFence(async_sqlite_engine(tmp_path / "shop.db"))
    client: Any = AsyncTold(Told({}))

    with pytest.raises(TypeError, match="Collector: AsyncTold is awaited; allowed: a SyncClient"):
        Collector(client, fence)
    with pytest.raises(TypeError, match="Collector: AsyncSqlAlchemyFence is awaited; allowed"):
        Collector(Told({}), awaited)
    with pytest.raises(TypeError, match="AsyncCollector: SqlAlchemyFence is not awaited; allowed"):
        AsyncCollector(client, fence)


def test_a_collector_looks_while_somebody_writes(tmp_path: Path) -> None:
    engine = sqlite_engine(tmp_path / "shop.db", connect_args={"timeout": 0})
    fence = SqlAlchemyFence(engine)
    fence.create_tables()
    with engine.connect() as writer:
        writer.execute(text("UPDATE trypact_fence SET status = 'TRIED'"))
        assert Collector(Told({}), fence).collect() == Collected(0, 0, 0)
    engine.dispose()


def test_rows_that_cannot_be_looked_at_are_the_databases_trouble() -> None:
    fence = SqlAlchemyFence(create_engine("postgresql+psycopg://nobody@127.0.0.1:1/nothing"))
    with pytest.raises(FenceUnavailable):
        Collector(Told({}), fence).collect()


def test_rows_of_effects_outside_are_collected_too(tmp_path: Path) -> None:
    engine = sqlite_engine(tmp_path / "bank.db")
    clock = Clock()
    fence = ExternalFence(SqlAlchemyFence(engine, now=clock))
    fence.local.create_tables()
    for operation in (Operation.TRY, Operation.CONFIRM):
        fence.run(FencedCall("x", "b", "bank.pay", Kind.TCC, operation), lambda effect: b"")
    clock.us += HOUR_US

    collector = Collector(Told({"x": CLOSED}), fence, older_than=3600)
    assert collector.collect() == Collected(1, 0, 0)
    engine.dispose()
