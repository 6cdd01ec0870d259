"""Asks the journal which xids it knows, for those who are about to be turned away.

Who asks again for what was begun is never refused, so every refusal costs a look into the journal,
and there may be thousands a second of them, at the worst moment. Whatever is asked within a moment
is one query, and one query is on its way at a time. Nothing here decides.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

import structlog

from trypact_coordinator.core.errors import CoordinatorError, JournalError, ShuttingDown
from trypact_coordinator.ports import Journal

log = structlog.get_logger(__name__)

# How long the first waits for company. A refusal is none the worse for it.
GATHER_SECONDS = 0.02
# One question may be larger, and is not split.
XIDS_IN_QUERY_MAX = 1024

Known = frozenset[str] | CoordinatorError
Told = Callable[[Known], None]


class Recall:
    """Answers, for many xids at once, which of them the journal knows.

    Args:
        journal: open before the first question.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[Sequence[str], Told]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def ask(self, xids: Sequence[str], told: Told) -> None:
        """Call `told` in a later turn with a set of known xids, or with what went wrong.

        The set has all of those that are known, and may have others that somebody else asked for.
        """
        if self._closed:
            self._loop.call_soon(told, ShuttingDown())
            return
        self._waiting.append((xids, told))
        if self._task is None:
            self._task = self._loop.create_task(self._run())

    async def knows(self, xid: str) -> bool:
        """Return whether the journal knows the xid. Raises JournalError or ShuttingDown."""
        future: asyncio.Future[Known] = self._loop.create_future()
        self.ask((xid,), lambda known: None if future.done() else future.set_result(known))
        known = await future
        if isinstance(known, CoordinatorError):
            raise known
        return xid in known

    async def close(self) -> None:
        """Stop asking; who still waits, and who asks later, is told ShuttingDown."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        while self._waiting:
            _tell(self._waiting.popleft()[1], ShuttingDown())

    async def _run(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(GATHER_SECONDS)
                asked, xids = self._next()
                try:
                    known = await self._known(xids)
                except asyncio.CancelledError:
                    self._waiting.extendleft(reversed(asked))
                    raise
                for _, told in asked:
                    _tell(told, known)
        finally:
            # Whatever ended it, who asks next starts another.
            self._task = None

    async def _known(self, xids: list[str]) -> Known:
        try:
            return await self._journal.known(xids)
        except JournalError as error:
            return error
        except Exception as error:  # a bug of ours, which must not leave those who ask without word
            log.exception("the journal was not asked what it knows", xids=len(xids))
            return JournalError(f"{type(error).__name__}: {error}")

    def _next(self) -> tuple[list[tuple[Sequence[str], Told]], list[str]]:
        asked: list[tuple[Sequence[str], Told]] = []
        xids: list[str] = []
        while self._waiting and len(xids) < XIDS_IN_QUERY_MAX:
            asked.append(self._waiting.popleft())
            # No xid has a NUL, and no database takes one.
            xids += [xid for xid in asked[-1][0] if "\0" not in xid]
        return asked, xids


def _tell(told: Told, known: Known) -> None:
    try:
        told(known)
    except Exception:  # a bug of whoever asked, and nobody else's concern
        log.exception("who asked what the journal knows failed at the answer")
