"""Group commit: all records that are ready in the same moment share one statement and one commit.

One batch is on its way at a time; the next one forms meanwhile. What somebody waits for never
waits for company. A lazy record does, for a moment: nearly always the next transaction comes
within it, and takes the record along for nothing; if none does, it leaves alone.

Transactions that move in step wait all together, first for the journal, then for participants,
then for initiators, and whoever does not work on them is idle. So when many of those who wait for a
batch did so for the batch before, half of them are told a turn of the loop after the others. From
then on the one half is with the participants while the other is here.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable

import structlog

from trypact_coordinator.core.errors import (
    InvariantViolated,
    JournalError,
    JournalUnavailable,
    invariant,
)
from trypact_coordinator.core.outcome import Record
from trypact_coordinator.ports import Appended, Journal, Verdict, Write
from trypact_coordinator.runtime.meters import Meters

log = structlog.get_logger(__name__)

Done = Callable[[Verdict | JournalError], None]
# What is to be written, who is told, and since when somebody waits for it, if anybody does.
Submitted = tuple[Write, Done, float | None]
# The same, with what came of it.
Told = tuple[Submitted, Verdict | JournalError]

# So many who wait for one batch after the other are in step. For fewer, two messages of everything
# instead of one cost more than is gained; where more wait, they fill several messages in any case.
IN_STEP_MIN = 12
IN_STEP_MAX = 128

# How long a lazy record waits for a forced one to leave with.
LAZY_SECONDS = 0.01

# A journal that has not taken a batch for so long is worth a word.
STALL_SECONDS = 1.0

_RETRY_SECONDS_FIRST = 0.05
_RETRY_SECONDS_MAX = 2.0


class GroupCommit:
    """The only writer of records to a journal.

    Args:
        journal: open before `start`.
        observe: told the database's time of each reply.
        records_in_batch_max: what one commit carries at most.
        bytes_in_batch_max: the payloads and results one commit carries at most, unless one record
            has more.
        meters: told of each commit.
        waited: told of each batch, in seconds, how long the record that came first took until
            the first of those who wait for the batch is told, and how long the journal took for it.
        elapsed: seconds of a clock that never runs backwards, from any origin.
    """

    def __init__(
        self,
        journal: Journal,
        observe: Callable[[int], None],
        records_in_batch_max: int,
        bytes_in_batch_max: int,
        meters: Meters,
        waited: Callable[[float, float], None] | None = None,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal = journal
        self._observe = observe
        self._records_in_batch_max = records_in_batch_max
        self._bytes_in_batch_max = bytes_in_batch_max
        self._meters = meters
        self._waited = waited
        self._elapsed = elapsed
        self._loop = asyncio.get_running_loop()
        # Each with the time since when somebody waits for it, if anybody does.
        self._waiting: deque[Submitted] = deque()
        # Ends the wait of lazy records for company.
        self._lazy_timer: asyncio.TimerHandle | None = None
        # The xids of `_waiting` and of the batch on its way.
        self._pending_xids: set[str] = set()
        # The xids of the last batch that enough waited for to be in step.
        self._last_xids: set[str] = set()
        self._ready = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None
        self._write_ids = 0
        # Since when the batch on its way is being written, and why it was not at the last attempt.
        self._writing_since: float | None = None
        self._trouble = ""
        # Why nothing is written any more.
        self._broken: JournalError | None = None
        self._closing = False

    def __len__(self) -> int:
        """Return how many records are on their way."""
        return len(self._pending_xids)

    def stall(self) -> tuple[float, str] | None:
        """Return for how many seconds the journal has not taken a batch, and why ("" is unknown).

        None where it is less than STALL_SECONDS, or nothing is to be written.
        """
        if self._writing_since is None:
            return None
        seconds = self._elapsed() - self._writing_since
        return (seconds, self._trouble) if seconds >= STALL_SECONDS else None

    def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._run(), name="group-commit")

    def submit(self, record: Record, done: Done) -> None:
        """Write a record with whatever else is ready; `done` is called once, in a later turn.

        An xid may have one record on its way at a time.
        """
        xid = record.transaction.xid
        # Not by `invariant`, which would have the words made for every record.
        if xid in self._pending_xids:
            raise InvariantViolated(f"two records of {xid} on their way at once")
        if self._broken is not None:
            self._loop.call_soon(done, self._broken)
            return
        self._write_ids += 1
        self._pending_xids.add(xid)
        since = self._elapsed() if record.forced else None
        self._waiting.append((Write(record, self._write_ids), done, since))
        self._idle.clear()
        if record.forced:
            self._hurry()
        elif self._lazy_timer is None:
            self._lazy_timer = self._loop.call_later(LAZY_SECONDS, self._hurry)

    def _hurry(self) -> None:
        """Write what waits as soon as the writer is free."""
        if self._lazy_timer is not None:
            self._lazy_timer.cancel()
            self._lazy_timer = None
        if self._waiting:
            self._ready.set()

    async def flush(self) -> None:
        """Return once everything submitted before has met its fate."""
        self._hurry()
        await self._idle.wait()

    async def close(self) -> None:
        """Write what is left, unless the journal does not answer, and stop."""
        if self._task is None:
            return
        self._closing = True
        await self.flush()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        batch: list[Submitted] = []
        try:
            while True:
                await self._ready.wait()
                batch = self._next_batch()
                await self._commit(batch)
        except Exception as error:
            # A bug of ours: nothing is written any more, and nobody waits for that in vain.
            log.critical("the group commit failed", exc_info=error)
            self._broken = JournalError(f"{type(error).__name__}: {error}")
            left = [*batch, *self._waiting]
            self._waiting.clear()
            self._pending_xids.clear()
            self._tell([[(submitted, self._broken) for submitted in left]], settled=True)

    async def _commit(self, batch: list[Submitted]) -> None:
        if not self._waiting:
            self._ready.clear()
        fates, took = await self._write([write for write, _, _ in batch])
        for write, _, _ in batch:
            self._pending_xids.discard(write.record.transaction.xid)
        # Later, so that the batch that has formed meanwhile is on its way first.
        told = list(zip(batch, fates, strict=True))
        self._loop.call_soon(self._written, told, took, not self._waiting)

    def _written(self, told: list[Told], took: float | None, settled: bool) -> None:
        """Tell of a batch: first how long it took; `took` is the journal's part, if it has it.

        `settled` says that nothing else waited to be written when this was.
        """
        waiting = [each for each in told if each[0][2] is not None]
        since = min([at for (_, _, at), _ in told if at is not None], default=None)
        if self._waited is not None and since is not None and took is not None:
            self._waited(self._elapsed() - since, took)
        if self._in_step({write.record.transaction.xid for (write, _, _), _ in waiting}, settled):
            lazy = [each for each in told if each[0][2] is None]
            self._tell([lazy + waiting[::2], waiting[1::2]], settled)
        else:
            self._tell([told], settled)

    def _in_step(self, xids: set[str], settled: bool) -> bool:
        """Note who waits; return whether they did for the batch before, and nobody else does."""
        if len(xids) < IN_STEP_MIN:
            return False
        again = len(xids & self._last_xids)
        self._last_xids = xids
        return settled and again >= IN_STEP_MIN and len(xids) <= IN_STEP_MAX

    def _tell(self, parts: list[list[Told]], settled: bool) -> None:
        """Tell one part after the other, a turn of the loop each; `settled` as for `_written`."""
        part, *later = parts
        for (write, done, _), fate in part:
            try:
                done(fate)
            except Exception as error:
                # A bug of ours, and no other record's concern.
                xid = write.record.transaction.xid
                log.critical("a record's fate was not taken", xid=xid, exc_info=error)
        if later:
            self._loop.call_soon(self._tell, later, settled)
        elif settled:
            self._idle.set()
            if self._pending_xids:
                self._idle.clear()

    def _next_batch(self) -> list[Submitted]:
        waiting = self._waiting
        batch = [waiting.popleft()]
        room = self._bytes_in_batch_max - _content_bytes(batch[0][0].record)
        while waiting and len(batch) < self._records_in_batch_max:
            room -= _content_bytes(waiting[0][0].record)
            if room < 0:
                break
            batch.append(waiting.popleft())
        return batch

    async def _write(self, batch: list[Write]) -> tuple[list[Verdict | JournalError], float | None]:
        """Write a batch, for as long as it takes: an unknown fate is never reported.

        Returns the fates, and the seconds the journal took; None where it gave up for good.
        """
        delay = _RETRY_SECONDS_FIRST
        self._writing_since = self._elapsed()
        while self._broken is None:
            began = self._elapsed()
            try:
                appended: Appended = await self._journal.append(batch)
                told = len(appended.verdicts)
                invariant(told == len(batch), f"{told} verdicts for {len(batch)} records")
            except JournalUnavailable as error:
                if self._closing:
                    self._broken = error
                    break
                self._trouble = str(error)
                log.warning("journal unavailable; will write again", error=str(error))
                await asyncio.sleep(delay)
                delay = min(delay * 2, _RETRY_SECONDS_MAX)
            except JournalError as error:
                self._broken = error
            except Exception as error:
                # A bug of ours: whether the batch was written cannot be said, so nothing more is.
                log.critical("the journal's adapter failed", exc_info=error)
                self._broken = JournalError(f"{type(error).__name__}: {error}")
            else:
                self._observe(appended.at)
                self._writing_since, self._trouble = None, ""
                took = self._elapsed() - began
                self._meters.committed(len(batch), took)
                return list(appended.verdicts), took
        return [self._broken or JournalUnavailable()] * len(batch), None


def _content_bytes(record: Record) -> int:
    """Return about how many bytes a record carries beside what every record does."""
    size = 0
    for branch in record.transaction.branches:
        size += len(branch.result)
        if record.admits:
            size += len(branch.spec.payload)
    return size
