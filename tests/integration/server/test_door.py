"""A shut door over real gRPC: who is turned away, and who never is."""

import asyncio
from collections.abc import Callable, Sized
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from trypact.v1 import initiator_pb2
from trypact_coordinator.runtime.breaker import BreakerState
from trypact_coordinator.runtime.intake import UNREAD_MAX, WINDOW_FIRST
from trypact_coordinator.server import execute_stream

from tests.integration.server.house import House, branch, refused
from tests.integration.server.scripted_participant import hangs, ok

Item = initiator_pb2.ExecuteStreamRequest.Item
CONFIRMED, CANCELLED = 4, 5


def shut(house: House) -> Sized:
    """Let it look as if memory were full; return what it was."""
    door = house.coordinator.door
    before, door.transactions = door.transactions, range(1_000_000)
    return before


def counted(house: House) -> dict[str, int]:
    """How many were refused, by the reason."""
    refused_by_reason = house.coordinator.meters.refused
    return {reason: count for reason, count in refused_by_reason.items() if count}


def item(id_: int, xid: str, branch_id: str = "b") -> Item:
    request = initiator_pb2.ExecuteRequest(
        begin=initiator_pb2.Begin(xid=xid, name="test"), branches=[branch(branch_id)]
    )
    return Item(id=id_, execute=request)


async def turns_until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0)


async def send(stream: Any, *items: Item) -> None:
    await stream.write(initiator_pb2.ExecuteStreamRequest(items=items))


async def replies(stream: Any, count: int) -> dict[int, Any]:
    """Read that many replies, by id."""
    read: dict[int, Any] = {}
    while len(read) < count:
        for reply in (await stream.read()).items:
            read[reply.id] = reply
    return read


async def ask(stream: Any, request: Item) -> Any:
    await send(stream, request)
    return (await replies(stream, 1))[request.id]


async def test_a_stream_s_strangers_are_turned_away_with_a_hint_and_nobody_else(
    house: House,
) -> None:
    house.participant.on("slow", "Try", hangs(), ok())
    stream = house.transactions.ExecuteStream()
    await ask(stream, item(1, "finished"))
    await send(stream, item(2, "running", "slow"))
    await turns_until(lambda: house.coordinator.has("running"))
    shut(house)

    await send(
        stream, item(3, "finished"), item(4, "new"), item(5, "running", "slow"), item(6, "a b")
    )
    answered = await replies(stream, 5)

    for id_ in (2, 3, 5):
        assert answered[id_].execute.outcome.state == CONFIRMED
    for id_ in (4, 6):
        status = status_pb2.Status.FromString(answered[id_].status)
        assert status.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        assert status.details[0].Unpack(info)
        assert status.details[1].Unpack(retry)
        assert info.reason == "OVERLOADED"
        assert 0 < retry.retry_delay.ToMilliseconds() < 1_000
    assert counted(house) == {"OVERLOADED": 2}


async def test_who_says_that_its_xid_is_fresh_is_turned_away_without_a_look_into_the_journal(
    house: House,
) -> None:
    stream = house.transactions.ExecuteStream()
    fresh, stranger = item(1, "made up"), item(2, "made-up-too")
    fresh.execute.fresh = True
    shut(house)
    # Nobody can be asked what is known: a stranger is told that, at its beginning.
    await house.coordinator.door.recall.close()

    await send(stream, fresh, stranger)
    answered = await replies(stream, 2)

    codes = {id_: status_pb2.Status.FromString(one.status).code for id_, one in answered.items()}
    assert codes[1] == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert codes[2] == grpc.StatusCode.UNAVAILABLE.value[0]


async def test_a_message_with_more_strangers_than_there_is_room_for_is_answered(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execute_stream, "REQUESTS_MAX", 4)
    stream = house.transactions.ExecuteStream()
    shut(house)

    await send(stream, *(item(number, f"new{number}") for number in range(10)))

    assert all(reply.status for reply in (await replies(stream, 10)).values())


async def test_once_it_opens_who_was_turned_away_comes_in(house: House) -> None:
    stream = house.transactions.ExecuteStream()
    before = shut(house)
    assert (await ask(stream, item(1, "x"))).status
    with refused("RESOURCE_EXHAUSTED", "OVERLOADED"):
        await house.execute(branch(), xid="x")
    house.coordinator.door.transactions = before
    assert (await ask(stream, item(2, "x"))).execute.outcome.state == CONFIRMED


async def test_who_asks_again_for_what_is_known_is_counted_nowhere_as_refused(
    house: House,
) -> None:
    await house.execute(branch(), xid="finished")
    shut(house)
    assert (await house.execute(branch(), xid="finished")).state == CONFIRMED
    stream = house.transactions.ExecuteStream()
    await ask(stream, item(1, "finished"))
    intake = house.coordinator.door._intake
    assert (counted(house), intake._refused) == ({}, 0)

    with refused("RESOURCE_EXHAUSTED", "OVERLOADED"):
        await house.execute(branch(), xid="new")
    assert (counted(house), intake._refused) == ({"OVERLOADED": 1}, 1)


async def test_through_a_crowded_door_one_comes_while_few_records_are_on_their_way(
    house: House,
) -> None:
    door = house.coordinator.door
    # However slow or quick this machine is: the window stays as it is.
    house.coordinator.writer._waited = None
    door._time = lambda: 0.0
    door.unread(UNREAD_MAX)
    door.records = range(WINDOW_FIRST)
    with refused("RESOURCE_EXHAUSTED", "OVERLOADED"):
        await house.execute(branch(), xid="y")
    door.records = range(WINDOW_FIRST - 1)
    assert (await house.execute(branch(), xid="y")).state == CONFIRMED


@pytest.mark.parametrize("ending", ["Commit", "Rollback"])
async def test_what_has_begun_goes_on_behind_a_shut_door(house: House, ending: str) -> None:
    await house.begin()
    shut(house)
    await house.try_(branch("a"))
    await house.try_(branch("b"))
    with refused("RESOURCE_EXHAUSTED", "OVERLOADED"):
        await house.begin("y")
    end = getattr(house.transactions, ending)
    request = getattr(initiator_pb2, f"{ending}Request")(xid="x")
    expected = CONFIRMED if ending == "Commit" else CANCELLED
    assert (await end(request)).outcome.state == expected


async def test_where_memory_is_scarce_only_who_names_a_silent_participant_is_turned_away(
    house: House,
) -> None:
    await house.register("127.0.0.1:1", "coupon")
    for number in range(8):
        request = initiator_pb2.ExecuteRequest(
            begin=initiator_pb2.Begin(xid=f"dead{number}", name="test", timeout_ms=1),
            branches=[branch(action="coupon.reserve")],
            wait_until=initiator_pb2.WAIT_UNTIL_DECIDED,
        )
        await house.transactions.Execute(request)
    lane = house.coordinator.lane
    await turns_until(lambda: lane("coupon").breaker is not BreakerState.CLOSED)
    house.coordinator.door.transactions = range(10_000)

    with refused("RESOURCE_EXHAUSTED", "OVERLOADED") as error:
        await house.execute(branch(action="coupon.reserve"), branch("b2"), xid="x")

    assert "coupon does not answer" in error[0].message
    assert (await house.execute(branch(), xid="y")).state == CONFIRMED
