"""One case under way: its calls in their order, and what they have to be answered."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from trypact_coordinator.core.events import Answer, Ok, Pending, Refused, Retry, Unknown

from trypact import clock
from trypact.ids import new_xid
from trypact.kinds import Kind, Operation
from trypact.testing.examination.callee import Callee, Restart, Unreachable
from trypact.testing.history import said
from trypact.v1 import participant_pb2

# How long a Try is told that it may run; ample, because late ones are a case of their own.
TRY_WITHIN_US = 600_000_000
# After the first call, where the participant named no wait; twice as long after each further one.
PAUSE_S = 0.05
PAUSE_MAX_S = 1.0
# How gRPC says that there is no handler; asking again would not make one.
NOT_SERVED = "UNIMPLEMENTED"
# How often an answer that must not come is asked for.
TIMES_REFUSED = 3


@dataclass(frozen=True)
class Subject:
    """What is examined, and with what."""

    action: str
    kind: Kind
    # Makes a payload whose Try succeeds from a number that is new for each branch.
    payload: Callable[[int], bytes]
    # One whose Try is refused for business reasons; None where none is known.
    refused_payload: Callable[[int], bytes] | None = None
    # Reads the business state, in any form that can be compared; None where it cannot be seen.
    probe: Callable[[], Awaitable[Any]] | None = None
    # Kills the participant and starts it again; None where that is not possible.
    restart: Restart | None = None
    # Seconds in which a call must have had a final answer, asked again and again.
    patience: float = 10.0
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))


class Failed(Exception):
    """The case does not hold; says why, and what comes of it."""


class NotServed(Failed):
    """The participant has nothing for such a call; says what it has."""


class Said(NamedTuple):
    """Calls that followed each other and were answered alike."""

    operation: Operation
    branch_id: str
    answer: str
    first: int
    last: int

    def __str__(self) -> str:
        numbers = f"#{self.first}" + (f" to #{self.last}" if self.last > self.first else "")
        call = f"{self.operation.value.capitalize()} {numbers}"
        return f"{call:<12} of {self.branch_id} -> {self.answer}"


class Branch(NamedTuple):
    """One branch, as its participant knows it."""

    xid: str
    branch_id: str
    payload: bytes


class Trial:
    """Calls the participant for one case, and keeps the trace."""

    def __init__(self, callee: Callee, subject: Subject) -> None:
        self.subject = subject
        self.trace: list[Said | str] = []
        self._callee = callee
        # How often the participant died in calls, and was too late: they had been answered.
        self.deaths = self.late = 0

    def branch(self, branch_id: str = "b") -> Branch:
        """Make a branch that nobody has heard of."""
        return self._branch(branch_id, self.subject.payload)

    def refused_branch(self) -> Branch:
        """Make one whose Try is to be refused."""
        return self._branch("b", self.subject.refused_payload or self.subject.payload)

    def _branch(self, branch_id: str, payload: Callable[[int], bytes]) -> Branch:
        number = next(self.subject.numbers)
        return Branch(f"conformance-{new_xid()}", branch_id, payload(number))

    # ------------------------------------------------------------ calls

    async def once(
        self,
        operation: Operation,
        branch: Branch,
        *,
        attempt: int = 1,
        not_after_us: int | None = None,
    ) -> Answer:
        """Call once and return the answer, whatever it is."""
        body = self._body(operation, branch, attempt, not_after_us)
        answer = await self._callee.call(operation, body)
        self._note(Said(operation, branch.branch_id, said(answer), attempt, attempt))
        return answer

    async def dying(self, operation: Operation, branch: Branch, share: float) -> None:
        """Call once, and have the participant killed and started again in the middle of it."""
        body = self._body(operation, branch, 1, None)
        answer = await self._callee.dying(operation, body, self._restart(), share)
        self.deaths += 1
        self.late += not isinstance(answer, Unknown)
        self._note(Said(operation, branch.branch_id, said(answer), 1, 1))
        await self._back()

    def _body(
        self, operation: Operation, branch: Branch, attempt: int, not_after_us: int | None
    ) -> participant_pb2.BranchCall:
        body = participant_pb2.BranchCall(
            xid=branch.xid,
            branch_id=branch.branch_id,
            kind=self.subject.kind.wire,
            action=self.subject.action,
            payload=branch.payload,
            attempt=attempt,
        )
        if operation is Operation.TRY:
            within = clock.now_us() + TRY_WITHIN_US
            body.not_after_us = within if not_after_us is None else not_after_us
        return body

    def _note(self, one: Said) -> None:
        """Write a line into the trace, unless it goes on with the last one."""
        before = self.trace[-1] if self.trace else None
        if isinstance(before, Said) and before[:3] == one[:3] and before.last + 1 == one.first:
            self.trace[-1] = before._replace(last=one.last)
        else:
            self.trace.append(one)

    async def until_answered(self, operation: Operation, branch: Branch) -> Ok | Refused:
        """Call again and again until the answer is OK or REFUSED, as the coordinator does."""
        loop = asyncio.get_running_loop()
        gives_up_at = loop.time() + self.subject.patience
        attempt = 1
        while True:
            answer = await self.once(operation, branch, attempt=attempt)
            match answer:
                case Ok() | Refused():
                    return answer
                case Retry(after_ms):
                    pause = min(after_ms / 1000, PAUSE_MAX_S)
                case Unknown(error) if error.startswith(NOT_SERVED):
                    raise NotServed(
                        f"nobody serves this {operation.value.capitalize()}: "
                        f"{error.removeprefix(NOT_SERVED).lstrip(': ')}"
                    )
                case Pending() | Unknown():
                    pause = min(PAUSE_S * 2**attempt, PAUSE_MAX_S)
            if loop.time() + pause > gives_up_at:
                raise Failed(
                    f"{operation.value.capitalize()} was neither done nor refused within "
                    f"{self.subject.patience:g} s"
                )
            await asyncio.sleep(pause)
            attempt += 1

    async def ok(self, operation: Operation, branch: Branch, otherwise: str) -> bytes:
        """Require OK, and return the result."""
        answer = await self.until_answered(operation, branch)
        if isinstance(answer, Refused):
            raise Failed(f"{operation.value.capitalize()} was refused; {otherwise}")
        return answer.result

    async def never_ok(
        self, operation: Operation, branch: Branch, otherwise: str, **how: Any
    ) -> None:
        """Require anything but OK or PENDING, also when asked again."""
        for attempt in range(1, TIMES_REFUSED + 1):
            answer = await self.once(operation, branch, attempt=attempt, **how)
            if isinstance(answer, Ok | Pending):
                word = "PENDING" if isinstance(answer, Pending) else "OK"
                raise Failed(f"{operation.value.capitalize()} was answered {word}; {otherwise}")
            if isinstance(answer, Refused):
                return

    async def restart(self) -> None:
        """Kill the participant, start it again, and wait until it can be called."""
        await self._callee.restarted(self._restart())
        await self._back()

    def _restart(self) -> Restart:
        if self.subject.restart is None:
            raise Failed("there is no way to restart the participant")
        return self.subject.restart

    async def _back(self) -> None:
        try:
            await self._callee.ready(self.subject.patience)
        except Unreachable as gone:
            raise Failed(f"it was restarted and did not come back: {gone}") from gone
        self.trace.append("killed and started again")

    # ------------------------------------------------------------ what can be seen of the business

    async def state(self) -> Any:
        """Read the business state; None where it cannot be seen."""
        return None if self.subject.probe is None else await self.subject.probe()

    async def same(self, before: Any, otherwise: str) -> None:
        """Require that the business state is what it was."""
        now = await self.state()
        if now != before:
            self.trace.append(f"the business state was {before!r} and is {now!r}")
            raise Failed(otherwise)

    @staticmethod
    def equal(results: Sequence[bytes], otherwise: str) -> None:
        """Require that all results are the first one."""
        if any(result != results[0] for result in results):
            raise Failed(otherwise)
