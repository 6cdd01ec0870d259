"""Deliveries that join an interactive transaction: with a Try, with Commit, and once more."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace
from trypact_coordinator.core.errors import (
    InvalidArgument,
    LimitExceeded,
    ParticipantUnavailable,
    UnknownTransaction,
)
from trypact_coordinator.core.events import Ok
from trypact_coordinator.core.limits import BRANCHES_MAX
from trypact_coordinator.core.outcome import Reply
from trypact_coordinator.core.transaction import BranchSpec, Kind, On
from trypact_coordinator.ports import Instance

from tests.unit.runtime.test_coordinator import COUPON, SMS, STOCK, Shop, spec_of


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    shop = Shop()
    await shop.open()
    yield shop
    await shop.coordinator.stop(grace_ms=0)


async def test_deliveries_sent_again_are_the_same_though_nobody_serves_them_any_more(
    shop: Shop,
) -> None:
    """A reply was lost, and meanwhile their participant signed off, and nobody subscribes."""
    paid = BranchSpec("paid", Kind.MESSAGE, "", topic="order.paid", on=On.ANY)
    points = Instance("points", "1", "points:1", (("add", (Kind.MESSAGE,)),), 0)
    subscribed = replace(points, topics=(("order.paid", "add"),))
    await shop.coordinator.registry.register(subscribed)
    spec = spec_of("x", interactive=True, nonce="me")
    trying = asyncio.create_task(shop.coordinator.try_branch("x", spec, STOCK, (paid,)))
    await shop.answer(Ok())
    await trying
    await shop.coordinator.registry.register(points)
    await shop.coordinator.registry.deregister("points", "1")

    await shop.coordinator.try_branch("x", spec, STOCK, (paid,))
    for _ in range(2):
        tx = await shop.coordinator.commit("x", (paid,), Reply.DECIDED)
    assert [branch.spec.id for branch in tx.branches] == ["stock", "paid#1"]
    await shop.coordinator.registry.deregister("notification", "1")
    with pytest.raises(ParticipantUnavailable):
        await shop.coordinator.commit("x", (SMS,), Reply.DECIDED)


async def test_what_comes_with_the_first_try_and_has_a_try_itself_begins_nothing(
    shop: Shop,
) -> None:
    spec = spec_of("x", interactive=True, nonce="me")
    with pytest.raises(InvalidArgument, match=r"deliveries\[0\]\.kind: is decided before"):
        await shop.coordinator.try_branch("x", spec, STOCK, (COUPON,))
    with pytest.raises(UnknownTransaction):
        await shop.coordinator.get("x")


async def test_each_subscriber_counts_as_a_branch_and_too_many_begin_nothing(shop: Shop) -> None:
    paid = BranchSpec("paid", Kind.MESSAGE, "", topic="order.paid")
    registry = shop.coordinator.registry
    for number in range(BRANCHES_MAX):
        actions, topics = (("add", (Kind.MESSAGE,)),), (("order.paid", "add"),)
        await registry.register(
            Instance(f"points{number}", "1", f"points:{number}", actions, 0, topics=topics)
        )
    with pytest.raises(LimitExceeded, match="branches: would be 257; allowed: at most 256"):
        await shop.coordinator.execute(spec_of("x"), (STOCK, paid), Reply.DECIDED)
    with pytest.raises(UnknownTransaction):
        await shop.coordinator.get("x")

    await registry.register(Instance("points0", "1", "points:0", (("add", (Kind.MESSAGE,)),), 0))
    executed = asyncio.create_task(
        shop.coordinator.execute(spec_of("x"), (STOCK, paid), Reply.DECIDED)
    )
    await shop.answer(Ok())
    assert len((await executed).branches) == BRANCHES_MAX
