"""The Transport port inside one process: for tests, the simulator and trypact.testing.

A call is a coroutine of whoever serves the endpoint. It keeps what a network would keep of the
contract: the answer comes in a later turn, within the time-out, exactly once; a call whose time-out
passed is Unknown here and goes on running there, as it would in another process.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from trypact_coordinator.core.events import Answer, Unknown
from trypact_coordinator.core.outcome import Call
from trypact_coordinator.ports import Done

Served = Callable[[Call], Awaitable[Answer]]


class LoopbackTransport:
    """Calls endpoints that are functions of this process.

    Args:
        endpoints: what serves each endpoint; may change at any time. A call to an endpoint that is
            not there is Unknown, as is one that raises.
    """

    def __init__(self, endpoints: Mapping[str, Served]) -> None:
        self._endpoints = endpoints
        self._exchanges: set[_Exchange] = set()
        # Strong references to the coroutines, which outlive their time-outs.
        self._running: set[asyncio.Task[Answer]] = set()

    def send(self, call: Call, endpoint: str, done: Done) -> None:
        """Send one call; `done` gets its answer, exactly once, in a later turn of the loop."""
        loop = asyncio.get_running_loop()
        exchange = _Exchange(self._exchanges, call, done)
        serve = self._endpoints.get(endpoint)
        if serve is None:
            loop.call_soon(exchange.answer, Unknown(f"nothing serves {endpoint}"))
            return
        late = Unknown(f"no answer within {call.timeout_ms} ms")
        exchange.timer = loop.call_later(call.timeout_ms / 1000, exchange.answer, late)
        task = loop.create_task(_run(serve, call))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        task.add_done_callback(exchange.take)

    async def ping(self, endpoint: str, timeout_ms: int) -> str:
        """Return SERVING if anything serves the endpoint."""
        return "SERVING" if endpoint in self._endpoints else f"nothing serves {endpoint}"

    async def close(self) -> None:
        """Make every call in flight Unknown."""
        for exchange in list(self._exchanges):
            exchange.answer(Unknown("the transport was closed"))


class _Exchange:
    """One call until it is answered."""

    def __init__(self, open_: "set[_Exchange]", call: Call, done: Done) -> None:
        self._open = open_
        self._call = call
        self._done = done
        self.timer: asyncio.TimerHandle | None = None
        open_.add(self)

    def answer(self, answer: Answer) -> None:
        """Answer it, unless it was answered before."""
        if self not in self._open:
            return
        self._open.discard(self)
        if self.timer is not None:
            self.timer.cancel()
        self._done(self._call, answer)

    def take(self, task: asyncio.Task[Answer]) -> None:
        """Take the answer from the coroutine that served the call."""
        if task.cancelled():
            self.answer(Unknown("the call was cancelled"))
        elif (error := task.exception()) is not None:
            self.answer(Unknown(f"{type(error).__name__}: {error}"))
        else:
            self.answer(task.result())


async def _run(serve: Served, call: Call) -> Answer:
    return await serve(call)
