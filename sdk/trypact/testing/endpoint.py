"""What carries calls from virtual time to a participant, and its answers back."""

from collections.abc import Callable

from msgspec.structs import replace
from trypact_coordinator.core.events import Answer, Ok, Unknown
from trypact_coordinator.core.outcome import Call
from trypact_coordinator.transport import wire

from trypact import clock
from trypact._drive import CallFailed
from trypact.kinds import Operation
from trypact.testing.faults import Scripts
from trypact.testing.history import History, said_of
from trypact.testing.hosted import Hosted
from trypact.testing.island import Island
from trypact.v1 import participant_pb2, transaction_pb2


class Endpoint:
    """Where a coordinator on virtual time reaches a participant.

    Instants in calls and answers are of virtual time in there, and of the real clock out here,
    which is the one that fences and handlers read.

    Args:
        hosted: who serves.
        island: where the coordinator lives.
        now_us: the virtual instant.
        scripts: what goes wrong with calls.
        history: told what the participant answered.
    """

    def __init__(
        self,
        hosted: Hosted,
        island: Island,
        now_us: Callable[[], int],
        scripts: Scripts,
        history: History,
    ) -> None:
        self._hosted = hosted
        self._island = island
        self._now_us = now_us
        self._scripts = scripts
        self._history = history

    async def close(self) -> None:
        """Let the handlers that run end."""
        await self._hosted.close()

    async def __call__(self, call: Call) -> Answer:
        """Serve one call of the coordinator, with whatever goes wrong on its way."""
        fault = self._scripts.next(call)
        if fault is None:
            return await self.arrive(call)
        self._history.note(self._island.loop.us, f"{said_of(call)} is {fault.name}", call.xid)
        return await fault.treat(call, self.arrive)

    async def arrive(self, call: Call, *, dies: bool = False) -> Answer:
        """Have the participant answer a call that has reached it; see `Arrive`."""
        ahead_us = self._now_us() - clock.now_us()
        body = participant_pb2.BranchCall()
        not_after = call.not_after and max(1, call.not_after - ahead_us)
        wire.fill(body, replace(call, not_after=not_after))
        operation = Operation(call.operation.name.lower())

        def start(back: Callable[[transaction_pb2.Answer | CallFailed], None]) -> None:
            self._hosted.attend(body, operation, call.decision.value, back, dies=dies)

        reply = await self._island.outside(said_of(call), start)
        if isinstance(reply, CallFailed):
            answer: Answer = Unknown(f"{reply.status.name}: {reply.message}")
        else:
            answer = wire.decode(reply)
        if isinstance(answer, Ok) and answer.expires_at_us:
            answer = replace(answer, expires_at_us=answer.expires_at_us + ahead_us)
        self._history.answered(self._island.loop.us, call, answer)
        return answer
