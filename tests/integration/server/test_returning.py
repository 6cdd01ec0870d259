"""A participant that comes back is asked at once for what waited for it."""

import asyncio

import grpc
from msgspec.structs import replace
from trypact.v1 import initiator_pb2
from trypact_coordinator.core.outcome import Reply
from trypact_coordinator.core.transaction import State
from trypact_coordinator.runtime.settings import RuntimeSettings

from tests.integration.server.house import POLICY, House, branch, keep_house
from tests.integration.server.scripted_participant import ScriptedParticipant, aborts, ok

UNAVAILABLE = aborts(grpc.StatusCode.UNAVAILABLE, "the network is down")


async def test_what_is_stuck_goes_on_as_soon_as_its_participant_registers(house: House) -> None:
    async with ScriptedParticipant() as gone:
        await house.register(gone.endpoint, "coupon")
        await house.begin()
        await house.try_(branch("stock"))
        await house.try_(branch("used", action="coupon.reserve"))
    # Nothing listens at its address any more, so its Confirm fails until it is stuck for a minute.
    await commit_until_stuck(house)
    coordinator = house.coordinator
    await coordinator.registry.deregister("coupon", "coupon-1")

    async with ScriptedParticipant() as back:
        await house.register(back.endpoint, "coupon")
        ended = await coordinator.wait("x", Reply.SETTLED)

    assert ended.state is State.CONFIRMED
    assert "coordinator: coupon is back" in [entry.detail for entry in ended.timeline]


async def test_what_is_stuck_goes_on_as_soon_as_its_participant_answers_another() -> None:
    """It was there all the time, and never registers again: only the way to it was broken."""
    failures = RuntimeSettings().breaker_failures
    policy = replace(POLICY, attempts_until_stuck=failures)
    async with keep_house(policy=policy) as house, ScriptedParticipant() as coupon:
        coupon.on("used", "Confirm", *[UNAVAILABLE] * failures, ok())
        await house.register(coupon.endpoint, "coupon")
        await house.begin()
        await house.try_(branch("used", action="coupon.reserve"))
        await commit_until_stuck(house)

        await house.execute(branch("another", action="coupon.reserve"), xid="y")
        ended = await house.coordinator.wait("x", Reply.SETTLED)

    assert ended.state is State.CONFIRMED
    assert "coordinator: coupon is back" in [entry.detail for entry in ended.timeline]


async def commit_until_stuck(house: House) -> None:
    decided = initiator_pb2.WAIT_UNTIL_DECIDED
    await house.transactions.Commit(initiator_pb2.CommitRequest(xid="x", wait_until=decided))
    while not (await house.coordinator.get("x")).stuck_reason:  # noqa: ASYNC110 - it has no event
        await asyncio.sleep(0)
