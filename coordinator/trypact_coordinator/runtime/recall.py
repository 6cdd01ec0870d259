"""Asks the journal which xids it knows, for those who are about to be turned away.

Who asks again for what was begun is never refused, so every refusal costs a look into the journal,
and there may be thousands a second of them, at the worst moment. Whatever is asked within a moment
is one query, and one query is on its way at a time. Nothing here decides.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from trypact_coordinator.core.errors import JournalError
from trypact_coordinator.ports import Journal

# How long the first waits for company. A refusal is none the worse for it.
GATHER_SECONDS = 0.02
# One question may be larger, and is not split.
XIDS_IN_QUERY_MAX = 1024

Told = Callable[[frozenset[str] | JournalError], None]


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

    def ask(self, xids: Sequence[str], told: Told) -> None:
        """Call `told` in a later turn with a set of known xids, or with what went wrong.

        The set has all of those that are known, and may have others that somebody else asked for.
        """
        self._waiting.append((xids, told))
        if self._task is None:
            self._task = self._loop.create_task(self._run())

    async def knows(self, xid: str) -> bool:
        """Return whether the journal knows the xid. Raises JournalError."""
        future: asyncio.Future[frozenset[str] | JournalError] = self._loop.create_future()
        self.ask((xid,), lambda known: None if future.done() else future.set_result(known))
        known = await future
        if isinstance(known, JournalError):
            raise known
        return xid in known

    async def close(self) -> None:
        """Stop asking; who still waits is told that the journal is closed."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        while self._waiting:
            self._waiting.popleft()[1](JournalError("the journal is closed"))

    async def _run(self) -> None:
        while self._waiting:
            await asyncio.sleep(GATHER_SECONDS)
            asked, xids = self._next()
            known: frozenset[str] | JournalError
            try:
                known = await self._journal.known(xids)
            except JournalError as error:
                known = error
            except asyncio.CancelledError:
                self._waiting.extendleft(reversed(asked))
                raise
            for _, told in asked:
                told(known)
        self._task = None

    def _next(self) -> tuple[list[tuple[Sequence[str], Told]], list[str]]:
        asked: list[tuple[Sequence[str], Told]] = []
        xids: list[str] = []
        while self._waiting and len(xids) < XIDS_IN_QUERY_MAX:
            asked.append(self._waiting.popleft())
            # No xid has a NUL, and no database takes one.
            xids += [xid for xid in asked[-1][0] if "\0" not in xid]
        return asked, xids
