"""A participant that comes back is asked at once for what waited for it."""

import asyncio

from trypact.v1 import initiator_pb2
from trypact_coordinator.core.outcome import Reply
from trypact_coordinator.core.transaction import State

from tests.integration.server.house import House, branch
from tests.integration.server.scripted_participant import ScriptedParticipant


async def test_what_is_stuck_goes_on_as_soon_as_its_participant_registers(house: House) -> None:
    async with ScriptedParticipant() as gone:
        await house.register(gone.endpoint, "coupon")
        await house.begin()
        await house.try_(branch("stock"))
        await house.try_(branch("used", action="coupon.reserve"))
    # Nothing listens at its address any more, so its Confirm fails until it is stuck for a minute.
    decided = initiator_pb2.WAIT_UNTIL_DECIDED
    await house.transactions.Commit(initiator_pb2.CommitRequest(xid="x", wait_until=decided))
    coordinator = house.coordinator
    while not (await coordinator.get("x")).stuck_reason:  # noqa: ASYNC110 - it has no event
        await asyncio.sleep(0)
    await coordinator.registry.deregister("coupon", "coupon-1")

    async with ScriptedParticipant() as back:
        await house.register(back.endpoint, "coupon")
        ended = await coordinator.wait("x", Reply.SETTLED)

    assert ended.state is State.CONFIRMED
    assert "coordinator: coupon is back" in [entry.detail for entry in ended.timeline]
