"""One transaction in memory: what is known of it, what waits for it, and who."""

import asyncio
from collections import deque
from collections.abc import Callable

import structlog

from trypact_coordinator.core.errors import CoordinatorError
from trypact_coordinator.core.events import Event
from trypact_coordinator.core.transaction import Transaction

log = structlog.get_logger(__name__)

Until = Callable[[Transaction], bool]
# Told the transaction once it is as was waited for, or why it never will be.
Watcher = Callable[[Transaction | CoordinatorError], None]
# Who asked for a step, and gets the transaction as the step left it.
Asker = asyncio.Future[Transaction] | None


class Slot:
    """The driver's place for one transaction."""

    __slots__ = (
        "idle_timer",
        "inbox",
        "recorded",
        "tx",
        "wake_at",
        "watchers",
        "writing",
        "xid",
    )

    def __init__(self, xid: str) -> None:
        self.xid = xid
        # None until its begin record is durable, and while it is being reloaded.
        self.tx: Transaction | None = None
        # A record is on its way; events wait.
        self.writing = False
        self.inbox: deque[tuple[Event, Asker]] = deque()
        self.watchers: list[tuple[Until, Watcher]] = []
        # What the journal holds of it.
        self.recorded: Transaction | None = None
        # When time alone moves it next.
        self.wake_at: int | None = None
        self.idle_timer: asyncio.TimerHandle | None = None

    def watch(self, until: Until, tell: Watcher) -> None:
        """Tell once, maybe at once, when a condition holds on its durable state."""
        if self.tx is not None and until(self.tx):
            tell(self.tx)
        else:
            self.watchers.append((until, tell))

    def unwatch(self, tell: Watcher) -> None:
        """Do not tell any more."""
        self.watchers = [watcher for watcher in self.watchers if watcher[1] is not tell]

    def tell(self, tx: Transaction) -> None:
        """Tell those who have waited for what it is now."""
        watchers, self.watchers = self.watchers, []
        for watcher in watchers:
            until, tell = watcher
            if until(tx):
                self._tell(tell, tx)
            else:
                self.watchers.append(watcher)

    def fail(self, error: CoordinatorError) -> None:
        """Tell everyone who waits for it that nothing more will come."""
        inbox, watchers = list(self.inbox), self.watchers
        self.inbox.clear()
        self.watchers = []
        for _, asker in inbox:
            if asker is not None:
                settle(asker, error)
        for _, tell in watchers:
            self._tell(tell, error)

    def _tell(self, tell: Watcher, result: Transaction | CoordinatorError) -> None:
        try:
            tell(result)
        except Exception as error:
            # A bug of ours, and no other watcher's concern.
            log.critical("a watcher was not told", xid=self.xid, exc_info=error)


def settle(future: asyncio.Future[Transaction], result: Transaction | CoordinatorError) -> None:
    """Give a future what a watcher is told, unless whoever waited has gone."""
    if future.done():
        return
    if isinstance(result, CoordinatorError):
        future.set_exception(result)
    else:
        future.set_result(result)
