"""Virtual time inside a test's own event loop.

The coordinator runs on a `VirtualLoop`, and that runs in callbacks of the loop of the test. So
the test, its handlers, their threads and their databases stay what they are, on real time, while
minutes of the coordinator pass at once. Time passes in there only while somebody waits for
something in there, and never while a handler runs, unless that itself waits for something in
there: a slow machine changes no history.

What goes on in there asks for things out here one at a time, so that the same seed is the same
history, threads or not.
"""

import asyncio
import contextvars
import random
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, NamedTuple, TypeVar

from trypact.errors import CoordinatorUnavailable, TrypactError
from trypact.testing.virtual_loop import VirtualLoop

ResultT = TypeVar("ResultT")

# Real seconds after which something out here is said to hang.
OUTSIDE_PATIENCE_S = 30.0


class HandlerHangs(TrypactError):
    """A handler has not ended for a long real time, during which virtual time stands still.

    Where a test wants an answer that does not come, a fault takes the handler's place:

    >>> async with Environment([inventory]) as env:
    ...     script = env.faults("inventory.reserve", "try").then_hang()
    ...     await env.execute("order", [tcc("inventory.reserve")], timeout=60)
    Traceback (most recent call last):
    trypact.errors.TransactionCancelled: transaction ... was cancelled: ...
    """


class _Errand:
    """Something that is done out here for what goes on in there."""

    def __init__(self) -> None:
        # How much in there it waits for itself: a handler that opens a transaction of its own.
        self.waits_for = 0
        self.done = False


class _Asked(NamedTuple):
    answered: "asyncio.Future[Any]"
    # Who asked, if that runs for an errand.
    errand: _Errand | None


_errand: contextvars.ContextVar[_Errand | None] = contextvars.ContextVar("errand", default=None)


class Island:
    """A virtual loop inside the running one. Create it in a running event loop.

    Args:
        seed: orders what is ready at once in there.
        at_each_event: called before each callback in there.
    """

    def __init__(self, seed: int, at_each_event: Callable[[], None] = lambda: None) -> None:
        # An order, not a secret.
        self.loop = VirtualLoop(random.Random(seed), at_each_event)  # noqa: S311
        self.loop.set_exception_handler(self._unexpected)
        self._outer = asyncio.get_running_loop()
        # What goes on out here is no part of whoever made it happen.
        self._context = contextvars.copy_context()
        self._asked: dict[asyncio.Task[Any], _Asked] = {}
        self._errands: deque[Callable[[], None]] = deque()
        self._still: list[asyncio.Future[None]] = []
        # Errands under way, but for those that wait for something in there.
        self._out: set[_Errand] = set()
        self._pump_is_due = False

    async def ask(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Run a coroutine in there and return what it returns; time passes while it waits.

        Raises CoordinatorUnavailable in any event loop but the one that this was created in.
        """
        if asyncio.get_running_loop() is not self._outer:
            work.close()
            raise CoordinatorUnavailable(
                "this environment was opened in another event loop; open it in the one that uses "
                "it: a fixture in the scope of its test, an application without a thread of its own"
            )
        task = self.loop.create_task(work)
        asked = _Asked(self._outer.create_future(), _errand.get())
        self._asked[task] = asked
        task.add_done_callback(self._answer)
        self._waits(asked.errand)
        self._pump_soon()
        try:
            answer: ResultT = await asked.answered
            return answer
        finally:
            if not task.done():
                task.cancel()
                self._goes_on(asked.errand)
                self._asked[task] = asked._replace(errand=None)
                self._pump_soon()

    async def still(self) -> None:
        """Return when nothing is left to do in there at this instant."""
        reached: asyncio.Future[None] = self._outer.create_future()
        errand = _errand.get()
        self._still.append(reached)
        self._waits(errand)
        self._pump_soon()
        try:
            await reached
        finally:
            self._goes_on(errand)

    async def outside(
        self, what: str, start: Callable[[Callable[[ResultT], None]], None]
    ) -> ResultT:
        """Have something done out here, from in there, when all that was asked before is done.

        Args:
            what: it is, for messages.
            start: starts it out here, and gets what takes its result.
        """
        done: asyncio.Future[ResultT] = self.loop.create_future()
        self._errands.append(partial(self._start, what, start, done))
        return await done

    async def close(self) -> None:
        """Cancel whatever still waits in there."""
        ended: asyncio.Future[None] = self._outer.create_future()
        # In a callback like all that happens in there: no task may run inside another.
        self._outer.call_soon(self._end, ended)
        await ended

    # ------------------------------------------------------------ the outer loop's callbacks

    def _pump_soon(self) -> None:
        if not self._pump_is_due and not self._out:
            self._pump_is_due = True
            self._outer.call_soon(self._pump, context=self._context)

    def _pump(self) -> None:
        """Run what is ready in there, then do an errand or let time pass, if anybody waits."""
        self._pump_is_due = False
        if self._out or self.loop.is_closed():
            return
        self.loop.run_ready()
        if self._out:
            return
        if self._errands:
            self._errands.popleft()()
        elif self._still:
            reached = self._still.pop()
            if not reached.done():
                reached.set_result(None)
            self._pump_soon()
        elif self._asked and self.loop.jump():
            self._pump_soon()

    def _end(self, ended: "asyncio.Future[None]") -> None:
        while tasks := asyncio.all_tasks(self.loop):
            for task in tasks:
                task.cancel()
            self.loop.run_ready()
        self.loop.close()
        ended.set_result(None)

    def _start(
        self,
        what: str,
        start: Callable[[Callable[[ResultT], None]], None],
        done: "asyncio.Future[ResultT]",
    ) -> None:
        late = self._outer.call_later(OUTSIDE_PATIENCE_S, self._hangs, what)
        errand = _Errand()
        self._out.add(errand)

        def back(result: ResultT) -> None:
            late.cancel()
            errand.done = True
            self._out.discard(errand)
            if not done.done():
                done.set_result(result)
            self._pump_soon()

        # What it starts on this loop can be known by it.
        context = self._context.copy()
        context.run(_errand.set, errand)
        context.run(start, back)

    def _waits(self, errand: _Errand | None) -> None:
        """Let time pass in there, for who runs out here waits for it."""
        if errand is not None and not errand.done:
            errand.waits_for += 1
            self._out.discard(errand)

    def _goes_on(self, errand: _Errand | None) -> None:
        if errand is not None and not errand.done:
            errand.waits_for -= 1
            if not errand.waits_for:
                self._out.add(errand)

    def _hangs(self, what: str) -> None:
        error = HandlerHangs(
            f"{what} has not ended for {OUTSIDE_PATIENCE_S:g} s of real time, and virtual time "
            "stands still while a handler runs; let it end, or put a fault in its place, such as "
            "env.faults(...).then_hang()"
        )
        self._fail(error)

    def _fail(self, error: BaseException) -> None:
        for asked in self._asked.values():
            if not asked.answered.done():
                asked.answered.set_exception(error)

    def _unexpected(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Tell whoever waits of an exception that nobody in there caught."""
        error = context.get("exception") or RuntimeError(context["message"])
        self._fail(error)

    def _answer(self, task: asyncio.Task[Any]) -> None:
        answered, errand = self._asked.pop(task)
        self._goes_on(errand)
        if task.cancelled():
            answered.cancel()
        elif answered.done():
            task.exception()
        elif (error := task.exception()) is not None:
            answered.set_exception(error)
        else:
            answered.set_result(task.result())
