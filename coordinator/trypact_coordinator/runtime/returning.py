"""Has those asked again who waited for a participant that has just come back.

After some failures a branch waits for up to a minute, and longer where a human is called. A
participant that registers is there, and so is one that answers after its breaker was open; whoever
waits for it is asked at once: through the core, as if an operator had asked for it, and one after
the other, so that a participant that has just started is not met by everything that ever waited.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from trypact_coordinator.core.errors import CoordinatorError
from trypact_coordinator.core.events import RetryAct
from trypact_coordinator.core.transaction import SETTLED, Transaction
from trypact_coordinator.ports import Page, Query

# At most 200 transactions a second for each participant.
PAUSE_SECONDS = 0.005
PAGE_SIZE = 256

log = structlog.get_logger(__name__)

Find = Callable[[Query, str, int], Awaitable[Page]]
Act = Callable[[str, RetryAct], Awaitable[Transaction]]


class Returning:
    """Asks again for those who wait.

    Args:
        find: searches the journal, page by page.
        act: carries out an operator's act.
    """

    def __init__(self, find: Find, act: Act) -> None:
        self._find = find
        self._act = act
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def came_back(self, participant: str) -> None:
        """Ask again for everything that waits for a participant; once at a time for each."""
        if participant not in self._tasks:
            task = asyncio.get_running_loop().create_task(self._ask_again(participant))
            self._tasks[participant] = task
            task.add_done_callback(lambda _: self._tasks.pop(participant))

    async def close(self) -> None:
        """Stop asking."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask_again(self, participant: str) -> None:
        act = RetryAct(actor="coordinator", reason=f"{participant} is back")
        query, cursor, asked = Query(participant=participant, unfinished=True), "", 0
        try:
            while True:
                page = await self._find(query, cursor, PAGE_SIZE)
                for transaction in page.transactions:
                    if _waits_for(transaction, participant):
                        # It may have ended meanwhile, or been frozen.
                        with contextlib.suppress(CoordinatorError):
                            await self._act(transaction.xid, act)
                            asked += 1
                        await asyncio.sleep(PAUSE_SECONDS)
                cursor = page.next_cursor
                if not cursor:
                    break
        except CoordinatorError as error:
            # They are asked when their time comes, as if nobody had come back.
            log.warning("could not ask again", participant=participant, error=str(error))
        if asked:
            log.info("asked again", participant=participant, transactions=asked)


def _waits_for(transaction: Transaction, participant: str) -> bool:
    """Whether a branch at the participant waits out a back-off."""
    if transaction.frozen or transaction.paused:
        return False
    return any(
        branch.attempt
        and branch.due_at
        and branch.reason
        and not branch.in_flight
        and branch.state not in SETTLED
        and branch.spec.participant == participant
        for branch in transaction.branches
    )
