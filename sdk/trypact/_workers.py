"""Who runs a participant's calls, and when: one batch after another, the rest each on its own.

Handlers that block run on threads; those that are `async` run in tasks of the event loop, which
are nobody's but the workers': a caller that vanishes cancels none of them.

Whatever has arrived while the last batch ran is the next batch: there is no timer that waits for
company, and a call that finds nobody running starts at once. Batches run one at a time (or as many
as the participant allows), because two of them that lock the same business rows in different
orders would be a deadlock. A batch that takes long is not waited for, so that one slow handler
does not hold back everybody else.
"""

import asyncio
import logging
from asyncio import AbstractEventLoop, TimerHandle
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

from trypact.call import Answer, Arrived
from trypact.fence.contract import ALONE, Verdict

logger = logging.getLogger("trypact.participant")

# How long the calls behind a batch wait for its end, before they run beside it.
BATCH_PATIENCE_S = 0.2

# Takes what became of a call: its answer, or what went wrong. Called on the loop's thread.
Answered = Callable[[Answer | BaseException], None]


class Work(Protocol):
    """What the workers need of a participant."""

    # Whether handlers are awaited; there are no batches then.
    awaits: bool
    # How many may run at once, how many of them with a batch, and how long that may be.
    workers: int
    batches: int
    batch_calls_max: int
    # Whether the calls behind a slow batch can do anything but wait for it.
    batches_overtake: bool

    def may_be_batched(self, arrived: Arrived, /) -> bool:
        """Whether a call may share a local transaction with others."""
        ...

    def answer(self, arrived: Arrived, /) -> Answer:
        """Answer one call, in the calling thread."""
        ...

    async def answer_async(self, arrived: Arrived, /) -> Answer:
        """Answer one call, in the calling task; where handlers are awaited."""
        ...

    def answer_many(self, arrived: Sequence[Arrived], /) -> Sequence[Verdict]:
        """Answer many calls in one local transaction, in the calling thread."""
        ...


class _Waiting(NamedTuple):
    arrived: Arrived
    answered: Answered


class _Batch:
    """A batch under way, and whether the others still wait for it."""

    def __init__(self, waiting: list[_Waiting]) -> None:
        self.waiting = waiting
        self.counts = True
        self.patience: TimerHandle | None = None


class Workers:
    """The threads or tasks of one participant, and the calls that wait for them.

    Args:
        work: the participant.
        loop: on whose thread everything here happens, but for the handlers.
    """

    def __init__(self, work: Work, name: str, loop: AbstractEventLoop) -> None:
        self._work = work
        self._loop = loop
        self._name = name
        self._threads = ThreadPoolExecutor(work.workers, f"{name}-handler")
        self._tasks: set[asyncio.Task[None]] = set()
        self._company: deque[_Waiting] = deque()
        self._alone: deque[_Waiting] = deque()
        self._running = 0
        self._batches = 0
        # Whether the last to start was a batch, so that neither kind starves the other.
        self._after_batch = False
        self._starting = False
        self._closed = False

    def ask(self, arrived: Arrived, answered: Answered) -> None:
        """Have a call answered, as soon as there is room."""
        batched = self._work.may_be_batched(arrived)
        (self._company if batched else self._alone).append(_Waiting(arrived, answered))
        self._start_soon()

    async def close(self, grace: float = 0.0) -> None:
        """Start nothing more, and wait for what runs. Harmless twice.

        A thread is waited for to its end, for nothing can end it. A task that still runs after
        `grace` seconds is cancelled, which undoes its local transaction; the coordinator asks
        again.
        """
        self._closed = True
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=grace)
            if late:
                logger.warning(
                    "%s stops: %d handlers are cancelled after %s s", self._name, len(late), grace
                )
                for task in late:
                    task.cancel()
                await asyncio.wait(late)
        await asyncio.to_thread(self._threads.shutdown)

    def _start_soon(self) -> None:
        # At the next turn of the loop, when all that came in one message is here.
        if not self._starting:
            self._starting = True
            self._loop.call_soon(self._start)

    def _start(self) -> None:
        self._starting = False
        work = self._work
        while not self._closed and self._running < work.workers:
            batch = bool(self._company) and self._batches < work.batches
            if batch and not (self._alone and self._after_batch):
                self._start_batch()
            elif self._alone:
                self._after_batch = False
                self._start_alone(self._alone.popleft())
            else:
                return

    def _start_alone(self, waiting: _Waiting) -> None:
        self._running += 1
        if not self._work.awaits:
            self._threads.submit(self._run_alone, waiting)
            return
        task = self._loop.create_task(self._await_alone(waiting))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _start_batch(self) -> None:
        self._after_batch = True
        size = min(len(self._company), self._work.batch_calls_max)
        batch = _Batch([self._company.popleft() for _ in range(size)])
        if self._work.batches_overtake:
            batch.patience = self._loop.call_later(BATCH_PATIENCE_S, self._wait_no_more, batch)
        self._running += 1
        self._batches += 1
        self._threads.submit(self._run_batch, batch)

    def _wait_no_more(self, batch: _Batch) -> None:
        if batch.counts:
            batch.counts = False
            self._batches -= 1
            self._start()

    # ------------------------------------------------------------ on a thread

    def _run_alone(self, waiting: _Waiting) -> None:
        result: Answer | BaseException
        try:
            result = self._work.answer(waiting.arrived)
        except BaseException as error:  # a call without any reply would be waited for
            result = error
        self._loop.call_soon_threadsafe(self._end_alone, waiting, result)

    def _run_batch(self, batch: _Batch) -> None:
        calls = [waiting.arrived for waiting in batch.waiting]
        try:
            verdicts = self._work.answer_many(calls)
            # Found out here, where nothing is changed yet: the fence may be somebody else's.
            if len(verdicts) != len(calls):
                raise ValueError(f"{len(verdicts)} verdicts for {len(calls)} calls")
        except BaseException:
            logger.exception("a batch of %d calls failed; each runs alone", len(calls))
            verdicts = [ALONE] * len(calls)
        self._loop.call_soon_threadsafe(self._end_batch, batch, verdicts)

    # ------------------------------------------------------------ on the loop's thread again

    async def _await_alone(self, waiting: _Waiting) -> None:
        result: Answer | BaseException
        try:
            result = await self._work.answer_async(waiting.arrived)
        except BaseException as error:  # a call without any reply would be waited for
            result = error
        self._end_alone(waiting, result)

    def _end_alone(self, waiting: _Waiting, result: Answer | BaseException) -> None:
        self._running -= 1
        self._start()
        _tell(waiting, result)

    def _end_batch(self, batch: _Batch, verdicts: Sequence[Verdict]) -> None:
        self._running -= 1
        if batch.counts:
            batch.counts = False
            self._batches -= 1
        if batch.patience is not None:
            batch.patience.cancel()
        for waiting, verdict in zip(batch.waiting, verdicts, strict=True):
            if verdict is ALONE:
                self._alone.append(waiting)
        # The next batch runs while the answers of this one are given.
        self._start()
        for waiting, verdict in zip(batch.waiting, verdicts, strict=True):
            if verdict is not ALONE:
                _tell(waiting, verdict)


def _tell(waiting: _Waiting, result: Answer | BaseException) -> None:
    try:
        waiting.answered(result)
    except Exception:  # the others of the batch are still to be told
        logger.exception("the answer of %s could not be given", waiting.arrived.fenced.xid)
