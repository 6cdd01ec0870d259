"""A transport whose answers the test gives by hand, and a clock that the test moves."""

import asyncio
from collections.abc import Callable
from functools import partial

from trypact_coordinator.core.events import Answer
from trypact_coordinator.core.outcome import Call
from trypact_coordinator.core.transaction import BranchSpec, Decision, Kind, Operation
from trypact_coordinator.ports import Done

SECOND = 1_000_000


class HandClock:
    """Stands at one second until it is moved."""

    def __init__(self) -> None:
        self.us = SECOND

    def now(self) -> int:
        return self.us


class HandTransport:
    """Keeps what was sent until the test answers it."""

    def __init__(self) -> None:
        self.sent: list[Call] = []
        self.endpoints: list[str] = []
        self._done: list[Callable[[Answer], None]] = []
        self._next_send: asyncio.Future[None] | None = None

    def next_send(self) -> "asyncio.Future[None]":
        """Return a future that is done once another call is sent."""
        self._next_send = asyncio.get_running_loop().create_future()
        return self._next_send

    def send(self, call: Call, endpoint: str, done: Done) -> None:
        self.sent.append(call)
        self.endpoints.append(endpoint)
        self._done.append(partial(done, call))
        if self._next_send is not None and not self._next_send.done():
            self._next_send.set_result(None)

    def answer(self, answer: Answer, index: int = 0) -> None:
        """Answer the call sent longest ago that has no answer yet."""
        self._done.pop(index)(answer)

    @property
    def unanswered(self) -> int:
        return len(self._done)

    async def ping(self, endpoint: str, timeout_ms: int) -> str:
        return "SERVING"

    async def close(self) -> None:
        self._done.clear()


def branch(branch_id: str = "b", action: str = "inventory.reserve") -> BranchSpec:
    return BranchSpec(branch_id, Kind.TCC, action)


def call(
    operation: Operation = Operation.TRY,
    branch_id: str = "b",
    not_after: int = 0,
    action: str = "inventory.reserve",
) -> Call:
    is_try = operation is Operation.TRY
    return Call(
        xid="x",
        branch=branch(branch_id, action),
        operation=operation,
        attempt=1,
        decision=Decision.UNDECIDED if is_try else Decision.CONFIRM,
        timeout_ms=5_000,
        not_after=not_after or (6 * SECOND if is_try else 0),
    )
