"""The sweeper: what it does with what the journal shows, and when the journal shows nonsense."""

import asyncio
from collections.abc import Sequence

from msgspec.structs import replace
from trypact_coordinator.core.errors import OwnershipLost
from trypact_coordinator.core.events import Ok, Refused
from trypact_coordinator.core.outcome import Reply
from trypact_coordinator.core.policy import Policy
from trypact_coordinator.core.transaction import Decision, Operation, State
from trypact_coordinator.ports import Due

from tests.unit.runtime.scripted import SECOND
from tests.unit.runtime.test_coordinator import SETTINGS, STOCK, Shop, memory_is_empty, turns_until


async def test_a_page_that_is_out_of_date_brings_nothing_back() -> None:
    shop = Shop(replace(SETTINGS, sweep_every_ms=1), Policy(slow_retry_ms=30_000))
    await shop.open()
    run = shop.execute("x", STOCK, until=Reply.DECIDED)
    await shop.answer(Ok())
    await run
    await shop.answer(Refused("cannot"))
    await memory_is_empty(shop)
    stale = await shop.coordinator.get("x")
    await shop.coordinator.report("x", STOCK.id, Operation.CONFIRM, Ok())
    await memory_is_empty(shop)
    pages = 0
    taken = asyncio.Event()

    async def due(now: int, after: tuple[int, str], limit: int) -> Sequence[Due]:
        nonlocal pages
        pages += 1
        if pages == 2:
            taken.set()
        return [Due(now, stale)]

    shop.now_us += 40 * SECOND
    sent = len(shop.transport.sent)
    shop.journal.due = due  # type: ignore[method-assign]
    await asyncio.wait_for(taken.wait(), 5)

    assert (await shop.coordinator.get("x")).state is State.CONFIRMED
    assert await shop.coordinator.decision("x", settle=False) == (Decision.CONFIRM, True, True)
    assert len(shop.transport.sent) == sent
    await shop.coordinator.stop(grace_ms=0)


async def test_what_a_newer_term_has_written_is_not_driven_but_ends_this_coordinator() -> None:
    # Deposed without knowing it: whatever it sent, the newer term would never undo.
    shop = Shop(replace(SETTINGS, sweep_every_ms=1))
    await shop.open()
    run = shop.execute("x", STOCK)
    await turns_until(lambda: shop.transport.unanswered > 0)
    begun = await shop.coordinator.get("x")
    sent = len(shop.transport.sent)
    newer = replace(begun, spec=replace(begun.spec, xid="y"), epoch=begun.epoch + 1)

    async def due(now: int, after: tuple[int, str], limit: int) -> Sequence[Due]:
        return [Due(now, newer)]

    shop.journal.due = due  # type: ignore[method-assign]
    fatal = await asyncio.wait_for(asyncio.shield(shop.coordinator.fatal), 5)

    assert isinstance(fatal, OwnershipLost)
    assert not shop.coordinator.has("y")
    assert len(shop.transport.sent) == sent
    run.cancel()
    await shop.coordinator.stop(grace_ms=0)


async def test_a_sweeper_that_fails_for_a_bug_stops_the_coordinator() -> None:
    shop = Shop(replace(SETTINGS, sweep_every_ms=1))
    await shop.open()

    async def due(now: int, after: tuple[int, str], limit: int) -> Sequence[Due]:
        raise ZeroDivisionError("a bug")

    shop.journal.due = due  # type: ignore[method-assign]
    fatal = await asyncio.wait_for(asyncio.shield(shop.coordinator.fatal), 5)

    assert "ZeroDivisionError" in str(fatal)
    await shop.coordinator.stop(grace_ms=0)
