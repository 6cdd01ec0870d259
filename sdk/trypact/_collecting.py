"""A participant's own collector: in the background, now and then, and never anybody's trouble.

It must never stop a participant from serving: whatever goes wrong is logged, and the next pass may
do better. Its first pass comes at a random instant of the first hour, since instances that start
together would all ask for the same transactions.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction

from trypact.client import Client
from trypact.errors import CoordinatorUnavailable, FenceUnavailable
from trypact.fence.collector import Collected, Collector
from trypact.fence.contract import CollectableFence
from trypact.sync_client import SyncClient

logger = logging.getLogger("trypact.participant")

EVERY_S = 60 * 60.0
# A pass may take long where much has come together; in between it rests for so many times as long.
REST = 9.0


class Collecting:
    """Collects now and then what a participant's fence need not keep.

    Args:
        name: the participant's, for the log.
        fence: whose rows are collected.
        coordinator: its gRPC target; who drives the fence's transactions.
        older_than: see `Collector`.
        pause: waits that many seconds.
    """

    def __init__(
        self,
        name: str,
        fence: CollectableFence,
        coordinator: str,
        older_than: float,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._name = name
        self._fence = fence
        self._coordinator = coordinator
        self._older_than = older_than
        self._pause = pause
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Collect in the background."""
        self._task = asyncio.create_task(self._collect_for_ever())

    async def stop(self) -> None:
        """Stop after the statement that runs, if one does; the fence is left alone afterwards."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _collect_for_ever(self) -> None:
        loop = asyncio.get_running_loop()
        # Never in step with its siblings.
        rest = EVERY_S * random.random()  # noqa: S311
        while True:
            await self._pause(rest)
            began_at = loop.time()
            try:
                self._tell(await self._collect())
            except (CoordinatorUnavailable, FenceUnavailable) as error:
                logger.warning("%s collects no fence rows now: %s", self._name, error)
            except Exception:
                logger.exception("%s could not collect fence rows", self._name)
            took = loop.time() - began_at
            rest = max(EVERY_S * random.uniform(0.5, 1.5), REST * took)  # noqa: S311

    async def _collect(self) -> Collected:
        if not iscoroutinefunction(self._fence.run):
            return await self._collect_on_a_thread()
        from trypact.fence.asynchronous import AsyncCollector

        async with Client(self._coordinator) as client:
            collector = AsyncCollector(client, self._fence, older_than=self._older_than)
            return await collector.collect()

    async def _collect_on_a_thread(self) -> Collected:
        with SyncClient(self._coordinator) as client:
            collector = Collector(client, self._fence, older_than=self._older_than)
            collecting = asyncio.create_task(asyncio.to_thread(collector.collect))
            try:
                return await asyncio.shield(collecting)
            except asyncio.CancelledError:
                # Nothing ends a thread; what it asks next fails, and so it comes to its end.
                client.close()
                with contextlib.suppress(Exception):
                    await collecting
                raise

    def _tell(self, collected: Collected) -> None:
        if collected.removed:
            logger.info("%s has removed %d old fence rows", self._name, collected.removed)
        if collected.unknown:
            logger.warning(
                "%s keeps the fence rows of %d transactions that the coordinator at %s has "
                "forgotten, or has never heard of",
                self._name,
                collected.unknown,
                self._coordinator,
            )
