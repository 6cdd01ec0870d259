"""A participant in the test's own process: its real fence, handlers and workers, and no socket."""

import asyncio
import contextlib
import logging

from trypact._drive import CallFailed, Reply
from trypact._workers import Workers
from trypact.kinds import Operation
from trypact.participant import Participant
from trypact.serving import Service
from trypact.testing.doomed import Doomed
from trypact.v1 import participant_pb2, transaction_pb2

logger = logging.getLogger("trypact.testing")

# Real seconds that handlers get to end in, once nobody needs them any more.
GRACE_S = 5.0


class Hosted:
    """Answers calls as a participant's process would; create it in a running event loop."""

    def __init__(self, participant: Participant) -> None:
        self.participant = participant
        loop = asyncio.get_running_loop()
        self._workers = Workers(participant, participant.name, loop)
        self._doomed = Workers(Doomed(participant), participant.name, loop)
        self._service, self._dying = Service(self._workers), Service(self._doomed)
        self._calls = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def attend(
        self,
        body: participant_pb2.BranchCall,
        operation: Operation,
        decision: int,
        reply: Reply,
        *,
        dies: bool = False,
    ) -> None:
        """Have one call answered; `reply` is told on the loop's thread.

        One that `dies` runs its handler, and commits nothing of it: it has no answer that counts.
        """

        def ended(answer: transaction_pb2.Answer | CallFailed) -> None:
            self._calls -= 1
            if not self._calls:
                self._idle.set()
            reply(answer)

        self._calls += 1
        self._idle.clear()
        service = self._dying if dies else self._service
        service.attend(body, operation, decision, ended)

    async def close(self) -> None:
        """Let handlers end. One that hangs on a thread is left there: nothing can end it."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), GRACE_S)
        if self._idle.is_set() or self.participant.awaits:
            await self._workers.close()
            await self._doomed.close()
        else:
            logger.warning("a handler of %s hangs, and is left behind", self.participant.name)
