"""Finds, in the journal, every transaction that is due and not in memory.

Recovery is a query and not a memory: what an earlier term left with calls in flight is taken up
when this term starts, timers when they come. Both page by key, so a transaction that is poison
costs its own visit and no one else's, and both wait for room, so a million unfinished
transactions are taken up at the pace at which they finish.
"""

import asyncio
from collections.abc import Callable

import structlog

from trypact_coordinator.core.errors import (
    CoordinatorError,
    InvariantViolated,
    JournalError,
    OwnershipLost,
)
from trypact_coordinator.core.policy import MILLISECOND
from trypact_coordinator.core.transaction import Transaction
from trypact_coordinator.ports import Clock, Journal
from trypact_coordinator.runtime.driver import Driver
from trypact_coordinator.runtime.settings import RuntimeSettings

log = structlog.get_logger(__name__)


class Sweeper:
    """Feeds the driver from the journal.

    Args:
        journal: read on its own connection.
        driver: takes transactions up.
        clock: the journal's time.
        settings: intervals and page size.
        on_fatal: told once when this coordinator must stop.
    """

    def __init__(
        self,
        journal: Journal,
        driver: Driver,
        clock: Clock,
        settings: RuntimeSettings,
        on_fatal: Callable[[CoordinatorError], None],
    ) -> None:
        self._journal = journal
        self._driver = driver
        self._clock = clock
        self._settings = settings
        self._on_fatal = on_fatal
        # The whole of the backlog of earlier terms has been taken up.
        self.recovered = asyncio.Event()

    async def run(self) -> None:
        """Recover once, then sweep until cancelled, or until another term owns the journal."""
        audit_every_us = self._settings.audit_every_ms * MILLISECOND
        audit_at = 0
        pruning = False
        failures = 0
        while True:
            try:
                if self._clock.now() >= audit_at:
                    await self._take_up_in_flight()
                    self.recovered.set()
                    pruning = True
                    audit_at = self._clock.now() + audit_every_us
                await self._take_up_due()
                pruning = pruning and await self._prune_page()
                failures = 0
            except OwnershipLost as error:
                # A coordinator with nothing to write would never learn it otherwise, and whoever
                # waits here for what the new owner finishes would wait for ever.
                self._on_fatal(error)
                return
            except JournalError as error:
                failures += 1
                if failures == 1:
                    log.warning("sweep failed; will sweep until it works", error=str(error))
            except Exception as error:
                # A bug of ours. A coordinator that never looks again would go on as if it did.
                log.critical("the sweeper failed", exc_info=error)
                self._on_fatal(InvariantViolated(f"{type(error).__name__}: {error}"))
                return
            await asyncio.sleep(self._settings.sweep_every_ms / 1000)

    async def _take_up_in_flight(self) -> None:
        """Take up what was left with calls in flight.

        The first time that is the work of earlier terms. This term's own rows are looked at too:
        they are in memory, unless the journal refused a record or could not be read at the worst
        moment; then nothing else would find them before the next start.
        """
        after = ""
        while True:
            page = await self._journal.in_flight(
                self._driver.epoch + 1, after, self._settings.sweep_page_size
            )
            for transaction in page:
                await self._take_up(transaction)
            if len(page) < self._settings.sweep_page_size:
                return
            after = page[-1].xid

    async def _take_up_due(self) -> None:
        """Take up every timer that has come."""
        now = self._clock.now()
        after = (0, "")
        while True:
            page = await self._journal.due(now, after, self._settings.sweep_page_size)
            for due in page:
                await self._take_up(due.transaction)
            if len(page) < self._settings.sweep_page_size:
                return
            after = (page[-1].due_at, page[-1].transaction.xid)

    async def _take_up(self, transaction: Transaction) -> None:
        """Take up what a page showed, unless it is in memory or no longer so."""
        if transaction.xid in self._driver:
            return
        await self._room()
        if transaction.epoch == self._driver.epoch:
            # Its timer may have come in memory as well, and it may have moved on and left since
            # the page was read: an older state must never be shown, nor driven, again.
            current = await self._journal.load(transaction.xid)
            if current is None or current.version != transaction.version:
                return
        self._driver.adopt(transaction)

    async def _prune_page(self) -> bool:
        """Delete some of what finished longer ago than outcomes are kept; True if there is more.

        A page a sweep, so that a large backlog keeps no timer waiting.
        """
        before = self._clock.now() - self._settings.retention_ms * MILLISECOND
        page_size = self._settings.sweep_page_size
        return await self._journal.prune(before, page_size) == page_size

    async def _room(self) -> None:
        while len(self._driver) >= self._settings.transactions_in_memory_max:
            self._driver.freed.clear()
            await self._driver.freed.wait()
