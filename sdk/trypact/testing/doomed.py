"""A participant whose process dies in each handler: the handler has run, nothing is committed.

That is the moment which tells an effect inside of the fence's local transaction from one beside it:
the first is undone with its row, the second stays, and the fence knows nothing of it.
"""

import asyncio
import copy
from collections.abc import Sequence
from typing import Any, NoReturn, cast

from trypact.call import Answer, Arrived, FencedCall
from trypact.fence.contract import AsyncFence, AsyncHandler, Fence, Handler, Verdict
from trypact.participant import Participant


class Killed(asyncio.CancelledError):
    """The process dies here. No fence may mistake it for something that its handler raised."""


class Doomed:
    """Does a participant's work, and dies after each handler that a call has run; see `Work`.

    A call that its fence answers without running a handler is answered as ever.
    """

    # Each call dies by itself, and takes no other along.
    workers = batches = batch_calls_max = 1
    batches_overtake = False

    def __init__(self, participant: Participant) -> None:
        self.awaits = participant.awaits
        self._participant = copy.copy(participant)
        if self.awaits:
            self._participant.fence = _AsyncFatal(cast("AsyncFence", participant.fence))
        else:
            self._participant.fence = _Fatal(cast("Fence", participant.fence))

    def may_be_batched(self, arrived: Arrived) -> bool:
        """See Work."""
        return False

    def answer(self, arrived: Arrived) -> Answer:
        """See Work. Raises Killed."""
        return self._participant.answer(arrived)

    async def answer_async(self, arrived: Arrived) -> Answer:
        """See Work. Raises Killed."""
        return await self._participant.answer_async(arrived)

    def answer_many(self, arrived: Sequence[Arrived]) -> Sequence[Verdict]:
        """See Work; nothing is batched here."""
        raise TypeError("calls that are doomed are answered one at a time")


class _Fatal:
    """A fence below which every handler ends with the death of its process, refusals included."""

    def __init__(self, fence: Fence) -> None:
        self._fence = fence

    def run(self, call: FencedCall, handler: Handler, /) -> Answer:
        """See Fence."""

        def fatal(connection: Any) -> NoReturn:
            try:
                handler(connection)
            except Exception as error:
                raise Killed from error
            raise Killed

        return self._fence.run(call, fatal)


class _AsyncFatal:
    """The same for a fence that is awaited."""

    def __init__(self, fence: AsyncFence) -> None:
        self._fence = fence

    async def run(self, call: FencedCall, handler: AsyncHandler, /) -> Answer:
        """See AsyncFence."""

        async def fatal(connection: Any) -> NoReturn:
            try:
                await handler(connection)
            except Exception as error:
                raise Killed from error
            raise Killed

        return await self._fence.run(call, fatal)
