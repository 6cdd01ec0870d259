"""What Prometheus reads: the runtime's counts and the journal's backlog under their public names.

`METRICS` is the one table of names, kinds and labels; the reference page is made from it. The hot
path knows nothing of all this: numbers are read and formatted when somebody scrapes. An xid, or
anything else of which there are as many as transactions, must never be a label.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from trypact_coordinator.core.errors import JournalError
from trypact_coordinator.core.policy import SECOND
from trypact_coordinator.core.transaction import State
from trypact_coordinator.ports import Backlog
from trypact_coordinator.runtime.breaker import BreakerState
from trypact_coordinator.runtime.coordinator import Coordinator
from trypact_coordinator.runtime.meters import Fate, Histogram
from trypact_coordinator.server.metrics_table import METRICS, Kind

# Scrapes that come sooner are told the same backlog.
_BACKLOG_SECONDS_MIN = 2.0
# Counting may take the journal this share of the time at most, however large the backlog is.
_BACKLOG_SHARE_MAX = 0.05
# A scrape waits no longer for the journal, and goes without its numbers.
_BACKLOG_WAIT_SECONDS = 3.0

_BREAKER = {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 1, BreakerState.OPEN: 2}

_log = structlog.get_logger(__name__)


class BacklogWatch:
    """The journal's backlog, counted at most every few seconds however often it is asked for.

    Args:
        coordinator: whose journal it is.
        wait_seconds: how long one who asks waits for the journal.
    """

    def __init__(
        self, coordinator: Coordinator, wait_seconds: float = _BACKLOG_WAIT_SECONDS
    ) -> None:
        self._coordinator = coordinator
        self._wait_seconds = wait_seconds
        self._counting: asyncio.Task[Backlog | None] | None = None
        self._count_again_at = 0.0
        # Whether the latest count failed; only the first failure is logged.
        self._failing = False

    async def latest(self) -> Backlog | None:
        """Return the backlog; None when the journal does not say, or not in time."""
        counting = self._counting
        if counting is None or (counting.done() and time.monotonic() >= self._count_again_at):
            counting = self._counting = asyncio.create_task(self._count(), name="backlog")
        done, _ = await asyncio.wait({counting}, timeout=self._wait_seconds)
        return counting.result() if done else None

    async def close(self) -> None:
        """Count no more."""
        if self._counting is not None:
            self._counting.cancel()
            await asyncio.gather(self._counting, return_exceptions=True)

    async def _count(self) -> Backlog | None:
        began = time.monotonic()
        try:
            backlog = await self._coordinator.backlog()
        except JournalError as error:
            if not self._failing:
                _log.warning("the backlog cannot be counted", error=str(error))
            self._failing = True
            return None
        else:
            self._failing = False
            return backlog
        finally:
            took = time.monotonic() - began
            wait = max(_BACKLOG_SECONDS_MIN, took / _BACKLOG_SHARE_MAX)
            self._count_again_at = time.monotonic() + wait


class Metrics:
    """Everything there is to scrape of one coordinator.

    Args:
        coordinator: whose numbers they are.
        backlog_wait_seconds: how long a scrape waits for the journal.
    """

    def __init__(
        self, coordinator: Coordinator, backlog_wait_seconds: float = _BACKLOG_WAIT_SECONDS
    ) -> None:
        self._watch = BacklogWatch(coordinator, backlog_wait_seconds)
        self._runtime = _RuntimeCollector(coordinator)
        self._registry = CollectorRegistry()
        self._registry.register(self._runtime)
        ProcessCollector(registry=self._registry)

    async def scrape(self, accept: str) -> tuple[bytes, str]:
        """Return the page and its content type, in the format that an Accept header asks for."""
        self._runtime.backlog = await self._watch.latest()
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    async def close(self) -> None:
        """Ask the journal no more."""
        await self._watch.close()


class _RuntimeCollector(Collector):
    """Reads one coordinator; in the event loop's thread only."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self.backlog: Backlog | None = None

    def describe(self) -> Iterable[Family]:
        return []

    def collect(self) -> Iterator[Family]:
        yield from self._counters()
        yield from self._histograms()
        yield from self._participants()
        yield from self._backlog()
        coordinator = self._coordinator
        yield _family("trypact_owned", {(): len(coordinator)})
        if coordinator.term is not None:
            yield _family("trypact_epoch", {(): coordinator.term.epoch})

    def _counters(self) -> Iterator[Family]:
        meters = self._coordinator.meters
        yield _family("trypact_transactions_started_total", {(): meters.started})
        yield _family(
            "trypact_transactions_finished_total",
            {(state.name.lower(),): count for state, count in meters.finished.items()},
        )
        yield _family(
            "trypact_transactions_refused_total",
            {(reason,): count for reason, count in meters.refused.items()},
        )
        yield _family(
            "trypact_branch_attempts_total",
            {
                (participant, operation.name.lower(), _outcome(fate)): count
                for participant, attempts in meters.attempts.items()
                for (operation, fate), count in attempts.items()
                # What has happened once stays; what never did would be twenty series for each.
                if count
            },
        )

    def _histograms(self) -> Iterator[Family]:
        meters = self._coordinator.meters
        yield _histogram("trypact_transaction_duration_seconds", meters.transaction_seconds)
        yield _histogram("trypact_journal_commit_seconds", meters.commit_seconds)
        yield _histogram("trypact_journal_batch_size", meters.batch_records)

    def _participants(self) -> Iterator[Family]:
        names = [view.name for view in self._coordinator.registry.overview()]
        lanes = {(name,): self._coordinator.lane(name) for name in names}
        yield _family("trypact_lane_depth", {name: lane.queued for name, lane in lanes.items()})
        yield _family(
            "trypact_breaker_state", {name: _BREAKER[lane.breaker] for name, lane in lanes.items()}
        )

    def _backlog(self) -> Iterator[Family]:
        if self.backlog is None:
            return
        now = self._coordinator.clock.now()
        # Every state is always there: a gauge that vanishes at 0 cannot be told from a gap.
        counts: dict[tuple[str, ...], float] = {(state.name.lower(),): 0 for state in State}
        ages = dict.fromkeys(counts, 0.0)
        for unfinished in self.backlog.unfinished:
            state = (unfinished.state.name.lower(),)
            counts[state] = unfinished.count
            ages[state] = max(0, now - unfinished.oldest_at) / SECOND
        yield _family("trypact_unfinished", counts)
        yield _family("trypact_oldest_unfinished_seconds", ages)
        yield _family("trypact_stuck", {(): self.backlog.stuck})


def _outcome(fate: Fate) -> str:
    return "not_sent" if fate is None else fate.__name__.lower()


def _family(name: str, values: Mapping[tuple[str, ...], float]) -> Family:
    metric = METRICS[name]
    make = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    family = make(name, metric.about, labels=metric.labels)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def _histogram(name: str, histogram: Histogram) -> Family:
    bounds = [*map(str, histogram.bounds), "+Inf"]
    buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
    return HistogramMetricFamily(
        name, METRICS[name].about, buckets=buckets, sum_value=histogram.total
    )
