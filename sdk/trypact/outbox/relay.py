"""The relay: publishes what has been committed to an outbox, and asks back until it has arrived.

It claims messages that are due in one short transaction, publishes them outside of any, and writes
what came of it in another. A claim ends by itself: what a relay did not live to write is found due
again by the next one, which asks for it. So a message may be published twice after a crash, and
never not at all; no two relays publish the same one at the same time.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, Self

from sqlalchemy import Connection, Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from trypact._arguments import require_number
from trypact._local_transaction import LocalDatabase
from trypact.ids import new_xid
from trypact.limits import shortened
from trypact.outbox.message import Message, State
from trypact.outbox.outbox import Outbox
from trypact.outbox.publisher import Arrived, Failed, Published, Publisher, Sent, Unknown

logger = logging.getLogger("trypact.outbox")

BATCH_MAX = 1_000
_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """When a relay does what; all but `batch` and `failures_max` are seconds.

    Raises InvalidRequest for what is out of bounds.

    >>> Pace(poll=0.2, retry_first=0.5).failures_max
    20
    >>> Pace(batch=0)
    Traceback (most recent call last):
    trypact.errors.InvalidRequest: batch: is 0; allowed: 1 to 1000
    """

    # Between looks at the table, when nobody wakes it.
    poll: float = 1.0
    # How many messages are published together, at most 1 000.
    batch: int = 100
    # How long the publisher may take for them.
    timeout: float = 30.0
    # Before a message is sent or asked for again: twice as long each time, up to the second; of
    # which a random part, up to half, is left out.
    retry_first: float = 1.0
    retry_most: float = 300.0
    # A message that was refused so often is parked: kept, and sent again only by `resend`.
    failures_max: int = 20
    # For how long messages are kept that have arrived or were skipped; None to keep them for ever.
    keep: float | None = 7 * _DAY_S
    # Between looks for what need not be kept any longer.
    purge: float = 60.0

    def __post_init__(self) -> None:
        for name in ("poll", "timeout", "retry_first", "retry_most", "purge"):
            require_number(name, getattr(self, name), 0.001, _DAY_S, "seconds")
        require_number("batch", self.batch, 1, BATCH_MAX)
        require_number("failures_max", self.failures_max, 1, 1_000_000)
        if self.keep is not None:
            require_number("keep", self.keep, 0, 3_660 * _DAY_S, "seconds")

    def backoff(self, attempt: int, part: float) -> float:
        """Return the seconds after that attempt; `part`, from 0 to 1, is the random part."""
        longest = min(self.retry_most, self.retry_first * 2.0 ** min(attempt - 1, 60))
        return longest * (1.0 - part / 2.0)


class Claimed(NamedTuple):
    """A message that is this relay's to publish for now."""

    seq: int
    message: Message
    attempts: int
    failures: int


class Relay:
    """Publishes the messages of an outbox.

        async with Relay(engine, outbox, publisher):
            ...

    Args:
        engine: of the outbox's database; a synchronous one works on a thread.
        outbox: share it with the code that writes, where that is in this process, and the relay is
            woken by every commit.
        publisher: where messages go.
        pace: when it does what.
        random_part: returns a number from 0 to 1.

    Any number of relays, in any number of processes, can serve one outbox.

    >>> outbox = Outbox()
    >>> with engine.begin() as connection:
    ...     outbox.create_tables(connection)
    ...     _ = outbox.add(connection, Message("member.add_points", {"points": 5}, id="m-17"))
    >>> async with Relay(engine, outbox, BranchPublisher(client)) as relay:
    ...     pass  # serve
    """

    def __init__(
        self,
        engine: Engine | AsyncEngine,
        outbox: Outbox,
        publisher: Publisher,
        *,
        pace: Pace | None = None,
        random_part: Callable[[], float] = random.random,
    ) -> None:
        self._database = LocalDatabase(engine)
        self._outbox = outbox
        self._publisher = publisher
        self._pace = pace or Pace()
        self._random_part = random_part
        self._work = asyncio.Event()
        self._stopping = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._stopping.clear()
        self._running = asyncio.create_task(self.run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        if self._running is not None:
            await self._running

    def stop(self) -> None:
        """Have `run` end, once what is being published is."""
        self._stopping.set()
        self._work.set()

    async def run(self) -> None:
        """Publish until `stop` is called. Errors are logged, and what they met is tried again."""
        loop = asyncio.get_running_loop()
        troubles, purge_at = 0, loop.time()

        def wake() -> None:
            # Whoever has just committed is not to hear that this loop has ended meanwhile.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._work.set)

        with self._outbox.waking(wake):
            while not self._stopping.is_set():
                self._work.clear()
                try:
                    outcomes = await self.step()
                    if loop.time() >= purge_at:
                        await self._purge()
                        purge_at = loop.time() + self._pace.purge
                except Exception as error:
                    logger.warning("the outbox's database: %s: %s", type(error).__name__, error)
                    outcomes = [Unknown("")]
                if outcomes and all(isinstance(outcome, Unknown) for outcome in outcomes):
                    # Nobody answers: more of the same would only spread over more messages.
                    troubles += 1
                    pause = self._pace.backoff(troubles, self._random_part())
                    await _wait(self._stopping, pause)
                else:
                    troubles = 0
                    if not outcomes:
                        await _wait(self._work, self._pace.poll)

    async def drain(self) -> int:
        """Publish what is due now until nothing is; return how many times a message was given."""
        given = 0
        while outcomes := await self.step():
            given += len(outcomes)
        return given

    async def step(self) -> list[Published]:
        """Publish one batch of what is due; return what came of each, nothing if nothing is."""
        by = new_xid()
        claimed = await self._database.run(lambda connection: self._claim(connection, by))
        if not claimed:
            return []
        outcomes = await self._publish([one.message for one in claimed])
        said = list(zip(claimed, outcomes, strict=True))
        await self._database.run(lambda connection: self._settle(connection, by, said))
        return outcomes

    # ------------------------------------------------------------ publishing

    async def _publish(self, messages: Sequence[Message]) -> list[Published]:
        try:
            async with asyncio.timeout(self._pace.timeout):
                outcomes = list(await self._publisher.publish(messages))
            if len(outcomes) == len(messages):
                return outcomes
            why = f"the publisher was given {len(messages)} messages and spoke of {len(outcomes)}"
        except TimeoutError:
            why = f"the publisher did not answer within {self._pace.timeout} s"
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
        logger.warning("it is not known whether %d messages have arrived: %s", len(messages), why)
        return [Unknown(why)] * len(messages)

    # ------------------------------------------------------------ the table

    def _claim(self, connection: Connection, by: str) -> list[Claimed]:
        sql, now = self._outbox.statements, self._outbox.now(connection)
        due = connection.execute(sql.due, {"now": now, "many": self._pace.batch})
        seqs = list(due.scalars())
        if not seqs:
            return []
        # Twice as long as publishing may take, so that this relay has given up well before
        # another takes over, however their clocks run.
        until = now + round(self._pace.timeout * 2_000_000)
        connection.execute(sql.claim, {"seqs": seqs, "now": now, "by": by, "until": until})
        return [_claimed(row) for row in connection.execute(sql.claimed, {"seqs": seqs, "by": by})]

    def _settle(
        self, connection: Connection, by: str, said: Sequence[tuple[Claimed, Published]]
    ) -> None:
        now = self._outbox.now(connection)
        values = [
            {"at_seq": one.seq, "by": by, "now": now, **self._settled(one, outcome, now)}
            for one, outcome in said
        ]
        connection.execute(self._outbox.statements.settle, values)

    def _settled(self, one: Claimed, outcome: Published, now: int) -> dict[str, Any]:
        failures, remark, state = one.failures, "", State.SENT
        after = self._pace.backoff(one.attempts, self._random_part())
        due_at: int | None = now + round(after * 1_000_000)
        match outcome:
            case Arrived():
                failures, state, due_at = 0, State.ARRIVED, None
            case Sent(why):
                failures, remark = 0, why
            case Unknown(why):
                remark = f"it is not known whether it has arrived: {why}"
            case Failed(why):
                failures, remark, state = failures + 1, why, State.FAILED
                if failures >= self._pace.failures_max:
                    due_at = None
                    logger.error(
                        "message %s (%s) is parked after %d failures: %s",
                        one.message.id,
                        one.message.topic,
                        failures,
                        why,
                    )
        return {
            "state": str(state),
            "failures": failures,
            "remark": shortened(remark),
            "due_at": due_at,
        }

    async def _purge(self) -> None:
        keep = self._pace.keep
        if keep is None:
            return
        while await self._database.run(lambda connection: self._outbox.purge(connection, keep)):
            if self._stopping.is_set():
                return


def _claimed(row: Any) -> Claimed:
    message = Message(
        row.topic,
        bytes(row.payload),
        key=row.message_key,
        tag=row.tag,
        group=row.group_name,
        id=row.id,
    )
    return Claimed(row.seq, message, row.attempts, row.failures)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, for at most so long."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
