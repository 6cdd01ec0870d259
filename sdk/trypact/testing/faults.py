"""What goes wrong with the calls of an action: a script, step by step.

    env.faults("inventory.reserve").lose_reply().refuse_once("sold out")
    env.faults("balance.pay", operation="confirm").fail(3).then_hang()

Each step is for one call, or as many as it is told; what comes after the last step goes through,
unless a `then_...` says what happens to all the rest.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol, Self

from trypact_coordinator.core.events import Answer, Pending, Refused, Retry, Unknown
from trypact_coordinator.core.outcome import Call

from trypact.errors import InvalidRequest
from trypact.kinds import Operation
from trypact.limits import shortened
from trypact.testing.mortal import never


class Arrive(Protocol):
    """Lets a call through to its participant."""

    async def __call__(self, call: Call, *, dies: bool = False) -> Answer:
        """Have it answered; by one that `dies` when its handler has run, before it commits."""
        ...


class Fault(NamedTuple):
    """One way to treat a call."""

    # For the trace.
    name: str
    treat: Callable[[Call, Arrive], Awaitable[Answer]]


class Script:
    """What happens to the next calls of one action; see `Environment.faults`.

    >>> async with Environment([inventory]) as env:
    ...     script = env.faults("inventory.reserve", "try").lose_reply().then_refuse("sold_out")
    ...     try:
    ...         await env.execute("order", [tcc("inventory.reserve", {"pieces": 1})])
    ...     except TransactionCancelled as no:
    ...         print(no.reason)
    sold_out
    """

    def __init__(self) -> None:
        self._steps: deque[Fault] = deque()
        self._rest: Fault | None = None

    def next(self) -> Fault | None:
        """Return what happens to the next call; None if the script says nothing of it."""
        return self._steps.popleft() if self._steps else self._rest

    # ------------------------------------------------------------ a number of calls

    def let_through(self, times: int = 1) -> Self:
        """Let calls through, before the next step."""
        return self._add(_LET_THROUGH, times)

    def refuse_once(self, reason: str = "refused by a fault script") -> Self:
        """Refuse a call before it reaches the participant."""
        return self._add(_refuse(reason), 1)

    def fail(self, times: int = 1) -> Self:
        """Fail calls before they reach the participant: nobody listens."""
        return self._add(_FAIL, times)

    def hang(self, times: int = 1) -> Self:
        """Lose calls on their way: no answer comes, and the call's time-out passes."""
        return self._add(_HANG, times)

    def lose_reply(self, times: int = 1) -> Self:
        """Have calls run, and lose their answers: the call's time-out passes."""
        return self._add(_LOSE_REPLY, times)

    def lose_commit(self, times: int = 1) -> Self:
        """Have handlers run, and their local transactions undone: the participant dies there.

        What a handler has done beside its local transaction stays, and comes again with the call.
        """
        return self._add(_LOSE_COMMIT, times)

    def duplicate(self, times: int = 1) -> Self:
        """Deliver calls twice; the second answer is heard."""
        return self._add(_DUPLICATE, times)

    def delay(self, seconds: float, times: int = 1) -> Self:
        """Deliver calls late. Beyond the call's time-out, nobody waits for the answer any more."""
        _positive("seconds", seconds)
        return self._add(_delay(seconds), times)

    def retry_later(self, seconds: float = 1.0, times: int = 1) -> Self:
        """Answer RETRY, before calls reach the participant."""
        _positive("seconds", seconds)
        return self._add(_retry(seconds), times)

    def pending(self, times: int = 1) -> Self:
        """Answer PENDING, before calls reach the participant; the coordinator asks again."""
        return self._add(_PENDING, times)

    # ------------------------------------------------------------ all the rest

    def then_hang(self) -> Self:
        """Lose every further call."""
        return self._then(_HANG)

    def then_fail(self) -> Self:
        """Fail every further call."""
        return self._then(_FAIL)

    def then_refuse(self, reason: str = "refused by a fault script") -> Self:
        """Refuse every further call."""
        return self._then(_refuse(reason))

    def _add(self, fault: Fault, times: int) -> Self:
        if times < 1:
            raise InvalidRequest(f"times: is {times}; allowed: at least 1")
        self._steps.extend([fault] * times)
        return self

    def _then(self, fault: Fault) -> Self:
        self._rest = fault
        return self


class Scripts:
    """The scripts of all actions."""

    def __init__(self) -> None:
        self._scripts: dict[tuple[str, Operation | None], Script] = {}

    def of(self, action: str, operation: Operation | None) -> Script:
        """Return the script of an action, or of one operation of it."""
        return self._scripts.setdefault((action, operation), Script())

    def next(self, call: Call) -> Fault | None:
        """Return what happens to a call."""
        operation = Operation(call.operation.name.lower())
        for key in ((call.branch.action, operation), (call.branch.action, None)):
            script = self._scripts.get(key)
            if script is not None and (fault := script.next()) is not None:
                return fault
        return None

    def clear(self) -> None:
        """Let everything through from now on."""
        self._scripts.clear()


async def _let_through(call: Call, arrive: Arrive) -> Answer:
    return await arrive(call)


async def _lose_reply(call: Call, arrive: Arrive) -> Answer:
    await arrive(call)
    return await never()


async def _lose_commit(call: Call, arrive: Arrive) -> Answer:
    await arrive(call, dies=True)
    return DIED


async def _duplicate(call: Call, arrive: Arrive) -> Answer:
    await arrive(call)
    return await arrive(call)


async def _hang(call: Call, arrive: Arrive) -> Answer:
    return await never()


def _always(answer: Answer) -> Callable[[Call, Arrive], Awaitable[Answer]]:
    async def treat(call: Call, arrive: Arrive) -> Answer:
        return answer

    return treat


def _refuse(reason: str) -> Fault:
    return Fault("refused by a fault", _always(Refused(shortened(reason))))


def _retry(seconds: float) -> Fault:
    return Fault("told to come later by a fault", _always(Retry(round(seconds * 1000))))


def _delay(seconds: float) -> Fault:
    async def treat(call: Call, arrive: Arrive) -> Answer:
        await asyncio.sleep(seconds)
        return await arrive(call)

    return Fault(f"{seconds:g} s late by a fault", treat)


# What the coordinator hears of a participant that died.
DIED = Unknown("UNAVAILABLE: a fault: the participant died before its commit")
_LET_THROUGH = Fault("let through by a script", _let_through)
_FAIL = Fault("failed by a fault", _always(Unknown("UNAVAILABLE: a fault: nobody listens")))
_PENDING = Fault("called PENDING by a fault", _always(Pending()))
_HANG = Fault("lost by a fault", _hang)
_LOSE_REPLY = Fault("run, and its answer lost, by a fault", _lose_reply)
_LOSE_COMMIT = Fault("run, and not committed, by a fault", _lose_commit)
_DUPLICATE = Fault("delivered twice by a fault", _duplicate)


def _positive(field: str, value: float) -> None:
    if not 0 <= value < float("inf"):
        raise InvalidRequest(f"{field}: is {value}; allowed: at least 0")
