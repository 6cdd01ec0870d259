"""A participant that takes calls and never answers: what it holds is bounded, and others go on."""

import asyncio
from collections.abc import Callable

from msgspec.structs import replace
from trypact.v1 import initiator_pb2
from trypact_coordinator.runtime.breaker import BreakerState
from trypact_coordinator.runtime.settings import RuntimeSettings

from tests.integration.server.house import POLICY, branch, keep_house
from tests.integration.server.scripted_participant import ScriptedParticipant, hangs

CONFIRMED, CANCELLED = 4, 5
SETTINGS = RuntimeSettings()


async def turns_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0)


def held(number: int) -> initiator_pb2.ExecuteRequest:
    return initiator_pb2.ExecuteRequest(
        begin=initiator_pb2.Begin(xid=f"held{number}", name="test", timeout_ms=5_000),
        branches=[branch("held", action="coupon.reserve")],
        wait_until=initiator_pb2.WAIT_UNTIL_DECIDED,
    )


async def test_a_participant_that_hangs_holds_a_lane_and_nobody_else() -> None:
    room = SETTINGS.lane_calls_max - SETTINGS.lane_reserved
    # Long enough for all calls to be out at once, also on a machine that has other things to do.
    policy = replace(POLICY, call_timeout_ms=2_000)
    async with keep_house(policy=policy) as house, ScriptedParticipant() as hung:
        await house.register(hung.endpoint, "coupon")
        hung.on("held", "Try", hangs())
        waiting = [house.transactions.Execute(held(number)) for number in range(room + 50)]
        lane = house.coordinator.lane
        await turns_until(lambda: lane("coupon").in_flight == room and lane("coupon").queued > 0)

        for number in range(20):
            assert (await house.execute(branch(), xid=f"healthy{number}")).state == CONFIRMED
            assert lane("coupon").in_flight <= SETTINGS.lane_calls_max

        await turns_until(lambda: lane("coupon").breaker is not BreakerState.CLOSED)
        outcomes = [(await one).outcome for one in waiting]
        assert {outcome.reason.partition(";")[0] for outcome in outcomes} == {"the deadline passed"}
