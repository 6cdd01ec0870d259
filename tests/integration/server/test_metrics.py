"""`/metrics` of a real coordinator: what it counts is what was done."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from trypact_coordinator.core.policy import Policy
from trypact_coordinator.journal.memory import MemoryJournal
from trypact_coordinator.ports import Backlog
from trypact_coordinator.runtime.clock import JournalClock
from trypact_coordinator.runtime.coordinator import Coordinator
from trypact_coordinator.runtime.ids import Uuid7
from trypact_coordinator.runtime.settings import RuntimeSettings
from trypact_coordinator.server.http import HttpServer
from trypact_coordinator.server.metrics import METRICS, BacklogWatch, Metrics
from trypact_coordinator.server.metrics_table import Kind
from trypact_coordinator.transport.grpc import GrpcTransport

from tests.integration.server.house import MESSAGE, TCC, House, branch
from tests.integration.server.scraping import Scrape, get, scrape, scrape_until
from tests.integration.server.scripted_participant import (
    ScriptedParticipant,
    pends,
    refuses,
)
from tests.servers.process import ServerProcess, start_coordinator

DECIDED = 2
QUICK = (
    *("--http-listen", "127.0.0.1:0", "--backoff-base", "1ms", "--backoff-cap", "1ms"),
    *("--attempts-until-stuck", "2", "--stop-grace", "1ms"),
)


class Watched(House):
    """A coordinator that is a process of its own, and where its pages are."""

    def __init__(self, process: ServerProcess, address: str, participant: Any) -> None:
        standing_in: Any = SimpleNamespace(address=address)
        super().__init__(standing_in, None, participant)  # type: ignore[arg-type]
        self.process = process
        self.url = process.wait_for(r"metrics at (\S+)/metrics")[1]

    async def scrape(self) -> Scrape:
        return await scrape(self.url)

    async def until(self, holds: Callable[[Scrape], bool]) -> Scrape:
        return await scrape_until(self.url, holds)


@contextlib.asynccontextmanager
async def watched(journal: str) -> AsyncIterator[Watched]:
    process, address = await asyncio.to_thread(start_coordinator, journal, arguments=QUICK)
    async with ScriptedParticipant() as participant:
        house = Watched(process, address, participant)
        await house.register(participant.endpoint)
        yield house
        await house.channel.close()
        assert await asyncio.to_thread(process.stop) == 0


@pytest.fixture(params=["sqlite", "postgres"])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Watched]:
    if request.param == "sqlite":
        journal = f"sqlite:///{tmp_path}/journal.db"
    else:
        journal = request.getfixturevalue("postgres_url")
    async with watched(journal) as kept:
        yield kept


def finished(count: int) -> Callable[[Scrape], bool]:
    return lambda s: sum(s.series("transactions_finished_total").values()) == count


async def test_what_was_begun_finished_and_asked_is_counted_to_the_last_call(
    house: Watched,
) -> None:
    for number in range(3):
        await house.execute(branch("a"), branch("b"), xid=f"good{number}")
    house.participant.on("no", "Try", refuses("out_of_stock"))
    await house.execute(branch("no"), xid="refused")

    shown = await house.until(finished(4))

    assert shown("transactions_started_total") == 4
    assert shown.series("transactions_finished_total") == {("confirmed",): 3, ("cancelled",): 1}
    assert shown("transaction_duration_seconds_count") == 4
    assert shown.series("branch_attempts_total") == {
        ("try", "ok", "inventory"): 6,
        ("try", "refused", "inventory"): 1,
        ("confirm", "ok", "inventory"): 6,
    }
    # Three records for each, and none of them twice.
    assert shown("journal_batch_size_sum") == 3 * 3 + 2
    batches = shown("journal_batch_size_count")
    assert batches is not None
    assert 2 <= batches <= 11
    assert shown("journal_commit_seconds_count") == batches
    assert shown("lane_depth", participant="inventory") == 0
    assert shown("breaker_state", participant="inventory") == 0
    assert shown("epoch") == 1


async def test_a_transaction_refused_at_the_door_counts_by_its_reason_and_begins_nothing(
    house: Watched,
) -> None:
    for action in ("ghost.act", "inventory.dance", "inventory.leap"):
        with pytest.raises(grpc.aio.AioRpcError):
            await house.execute(branch(action=action), xid=action)

    shown = await house.scrape()

    refusals = shown.series("transactions_refused_total")
    assert {reason: count for (reason,), count in refusals.items() if count} == {
        "UNKNOWN_PARTICIPANT": 1,
        "UNKNOWN_ACTION": 2,
    }
    assert refusals["OVERLOADED",] == 0
    assert shown("transactions_started_total") == 0


async def test_what_is_stuck_undecided_or_undelivered_is_seen_in_the_journal(
    house: Watched,
) -> None:
    house.participant.on("broken", "Confirm", refuses("no such reservation"))
    await house.execute(branch("broken", TCC), xid="stuck", wait_until=DECIDED)
    await house.begin("undecided", timeout_ms=600_000)
    house.participant.on("mail", "Deliver", pends())
    await house.execute(branch("mail", MESSAGE), xid="undelivered")

    def seen(shown: Scrape) -> bool:
        pending = shown("branch_attempts_total", participant="inventory", operation="deliver",
                        outcome="pending")  # fmt: skip
        return shown("stuck") == 1 and shown("unfinished", state="confirmed") == 1 and pending == 1

    shown = await house.until(seen)

    assert shown.series("unfinished") == {
        ("trying",): 1,
        ("confirming",): 1,
        ("cancelling",): 0,
        ("confirmed",): 1,
        ("cancelled",): 0,
    }
    ages = shown.series("oldest_unfinished_seconds")
    assert {state for (state,), age in ages.items() if age > 0} == {
        "trying",
        "confirming",
        "confirmed",
    }


async def test_a_participant_that_is_gone_shows_in_its_breaker_and_in_what_was_not_sent(
    tmp_path: Path,
) -> None:
    async with watched("memory:") as house:
        await house.participant.die()
        many = [branch(f"b{n}") for n in range(10)]
        undecided = asyncio.ensure_future(house.execute(*many, xid="x", timeout_ms=600_000))

        shown = await house.until(lambda s: s("breaker_state", participant="inventory") == 2)

        key = {"participant": "inventory", "operation": "try"}
        unknown = shown("branch_attempts_total", outcome="unknown", **key)
        assert unknown is not None
        assert unknown >= 8
        await house.until(
            lambda s: s("branch_attempts_total", outcome="not_sent", **key) is not None
        )
        assert shown("owned") == 1
        undecided.cancel()


async def test_every_metric_of_the_table_is_served_and_nothing_else_of_ours(
    house: Watched,
) -> None:
    await house.execute(branch("a"))
    with pytest.raises(grpc.aio.AioRpcError):
        await house.execute(branch(action="ghost.act"), xid="refused")

    shown = await house.until(finished(1))

    ours = {name for name in shown.families if name.startswith("trypact_")}
    assert ours == {name.removesuffix("_total") for name in METRICS}
    for name, metric in METRICS.items():
        family = shown.families[name.removesuffix("_total")]
        assert family.type == metric.kind.value
        assert family.samples, name
        suffixes = {"le"} if metric.kind is Kind.HISTOGRAM else set()
        assert {key for sample in family.samples for key in sample.labels} == {
            *metric.labels,
            *suffixes,
        }
    assert "process_resident_memory_bytes" in shown.families


async def test_what_prometheus_prefers_is_what_it_is_given(house: Watched) -> None:
    _, headers, _ = await get(f"{house.url}/metrics")
    assert headers["content-type"].startswith("text/plain; version=0.0.4")


async def test_health_follows_the_coordinator_from_start_to_stop() -> None:
    coordinator = a_coordinator(MemoryJournal())
    http = HttpServer("127.0.0.1:0", insecure=False)
    await http.start(coordinator)
    assert await status(http) == (503, "starting\n")
    await coordinator.start("test")
    http.open()
    assert await status(http) == (200, "serving\n")
    http.drain()
    assert await status(http) == (503, "stopping\n")
    await coordinator.stop(0)
    # Whoever looks while it stops is told what there is; only the journal's numbers are gone.
    last = await scrape(http.url)
    assert last("transactions_started_total") == 0
    assert "trypact_unfinished" not in last.names
    await http.stop()
    await http.stop()


async def status(http: HttpServer) -> tuple[int, str]:
    code, _, body = await get(f"{http.url}/healthz")
    return code, body


async def test_scrapes_together_count_the_backlog_once() -> None:
    journal = Counting()
    coordinator = a_coordinator(journal)
    await coordinator.start("test")
    watch = BacklogWatch(coordinator)

    first = await asyncio.gather(*(watch.latest() for _ in range(5)))
    second = await watch.latest()

    assert {*first, second} == {Backlog((), 0)}
    assert journal.counted == 1
    await watch.close()
    await coordinator.stop(0)


async def test_a_page_is_complete_while_the_journal_does_not_answer() -> None:
    journal = Counting()
    coordinator = a_coordinator(journal)
    await coordinator.start("test")
    metrics = Metrics(coordinator, backlog_wait_seconds=0)
    journal.answers.clear()

    page, content_type = await metrics.scrape("application/openmetrics-text; version=1.0.0")

    assert content_type.startswith("application/openmetrics-text")
    assert b"trypact_epoch 1.0" in page
    assert b"trypact_stuck" not in page
    await metrics.close()
    await coordinator.stop(0)


class Counting(MemoryJournal):
    """A memory journal that counts how often it is asked, and need not answer."""

    def __init__(self) -> None:
        super().__init__()
        self.counted = 0
        self.answers = asyncio.Event()
        self.answers.set()

    async def backlog(self) -> Backlog:
        self.counted += 1
        await self.answers.wait()
        return await super().backlog()


def a_coordinator(journal: MemoryJournal) -> Coordinator:
    return Coordinator(
        journal=journal,
        transport=GrpcTransport(),
        ids=Uuid7(),
        clock=JournalClock(),
        policy=Policy(),
        settings=RuntimeSettings(),
    )
