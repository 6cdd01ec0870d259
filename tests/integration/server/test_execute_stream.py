"""ExecuteStream over real gRPC: many transactions on one stream."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2
from trypact.v1 import initiator_pb2, transaction_pb2
from trypact.v1.transaction_pb2 import BranchState, Decision
from trypact_coordinator.server import execute_stream
from trypact_coordinator.server.execute_stream import ExecuteStream
from trypact_coordinator.server.unread import Unread

from tests.integration.server.house import House, branch
from tests.integration.server.scripted_participant import hangs, ok, pends, refuses

Item = initiator_pb2.ExecuteStreamRequest.Item
TRYING, CONFIRMED, CANCELLED = 1, 4, 5


def item(id_: int, xid: str, *branch_ids: str) -> Item:
    request = initiator_pb2.ExecuteRequest(
        begin=initiator_pb2.Begin(xid=xid, name="test"),
        branches=[branch(branch_id) for branch_id in branch_ids],
    )
    return Item(id=id_, execute=request)


def tried(id_: int, xid: str, branch_id: str) -> Item:
    request = initiator_pb2.TransactionServiceTryRequest(
        xid=xid, begin=initiator_pb2.Begin(xid=xid, name="test"), branch=branch(branch_id)
    )
    return Item(id=id_, try_branch=request)


async def send(stream: Any, *items: Item) -> None:
    await stream.write(initiator_pb2.ExecuteStreamRequest(items=items))


async def replies(stream: Any, count: int) -> dict[int, Any]:
    """Read that many replies, by id."""
    read: dict[int, Any] = {}
    while len(read) < count:
        for reply in (await stream.read()).items:
            read[reply.id] = reply
    return read


def status_of(reply: Any) -> status_pb2.Status:
    return status_pb2.Status.FromString(reply.status)


async def test_each_request_is_answered_under_its_id_in_whatever_order(house: House) -> None:
    house.participant.on("no", "Try", refuses("sold out"))
    stream = house.transactions.ExecuteStream()

    await send(stream, item(1, "x1", "a"), item(2, "x2", "no"), item(3, "x3", "c"))
    answered = await replies(stream, 3)

    states = {id_: reply.execute.outcome.state for id_, reply in answered.items()}
    assert states == {1: CONFIRMED, 2: CANCELLED, 3: CONFIRMED}
    assert answered[2].execute.outcome.reason == "sold out"


async def test_a_slow_transaction_holds_up_none_of_its_neighbours(house: House) -> None:
    house.participant.on("slow", "Try", hangs(), ok())
    stream = house.transactions.ExecuteStream()

    await send(stream, item(1, "x1", "slow"), item(2, "x2", "b"))

    assert list(await replies(stream, 1)) == [2]
    assert list(await replies(stream, 1)) == [1]


async def test_a_bad_request_ends_with_its_status_and_not_the_stream(house: House) -> None:
    stream = house.transactions.ExecuteStream()

    await send(stream, item(1, "with space", "b"), item(2, "x2"), item(3, "x3", "b"))
    answered = await replies(stream, 3)

    for id_, field in ((1, "xid"), (2, "branches")):
        status = status_of(answered[id_])
        assert status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
        assert status.message.startswith(field)
    assert answered[3].execute.outcome.state == CONFIRMED


async def test_the_same_transaction_twice_on_a_stream_is_one(house: House) -> None:
    stream = house.transactions.ExecuteStream()

    await send(stream, item(1, "x", "b"), item(2, "x", "b"), item(3, "x", "other"))
    answered = await replies(stream, 3)

    assert answered[1].execute == answered[2].execute
    assert b"XID_CONFLICT" in answered[3].status
    assert house.participant.count("b", "Try") == 1


async def test_what_was_answered_leaves_nothing_for_the_garbage_collector(house: House) -> None:
    house.participant.on("no", "Try", refuses("sold out"))
    stream = house.transactions.ExecuteStream()
    await send(stream, tried(1, "x", "b"))
    await replies(stream, 1)
    gc.collect()
    flags = gc.get_debug()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        await send(stream, item(1, "x1", "a", "b"), item(2, "x2", "no"), item(3, "with space", "c"))
        await send(stream, tried(4, "x4", "no"))
        await send(stream, Item(id=5, commit=initiator_pb2.CommitRequest(xid="x")))
        await replies(stream, 5)
        gc.collect()
        left = {type(found) for found in gc.garbage}
    finally:
        gc.set_debug(flags)
        gc.garbage.clear()

    assert not [kind for kind in left if kind.__module__.startswith("trypact_coordinator")]


async def test_the_interactive_form_travels_over_the_stream(house: House) -> None:
    house.participant.on("no", "Try", refuses("sold out"))
    stream = house.transactions.ExecuteStream()

    begin = initiator_pb2.BeginRequest(begin=initiator_pb2.Begin(xid="y", name="test", nonce="n"))
    await send(stream, tried(1, "x", "b"), tried(2, "z", "no"), Item(id=3, begin=begin))
    first = await replies(stream, 3)
    commit = initiator_pb2.CommitRequest(xid="x")
    rollback = initiator_pb2.RollbackRequest(xid="y", reason="changed its mind")
    await send(stream, Item(id=4, commit=commit), Item(id=5, rollback=rollback), item(6, "o", "b"))
    then = await replies(stream, 3)

    assert [first[id_].WhichOneof("reply") for id_ in (1, 2, 3)] == ["try_branch"] * 2 + ["begin"]
    assert first[1].try_branch.branch.state == BranchState.BRANCH_STATE_TRIED
    assert first[2].try_branch.branch.reason == "sold out"
    assert first[3].begin.outcome.state == TRYING
    assert then[4].commit.outcome.state == CONFIRMED
    assert then[5].rollback.outcome.state == CANCELLED
    assert then[6].execute.outcome.state == CONFIRMED


async def test_what_the_interactive_form_gets_wrong_is_told_as_by_the_plain_method(
    house: House,
) -> None:
    stream = house.transactions.ExecuteStream()

    unknown = initiator_pb2.CommitRequest(xid="never begun")
    await send(stream, Item(id=1, commit=unknown), tried(2, "with space", "b"), Item(id=3))
    answered = await replies(stream, 3)

    with pytest.raises(grpc.aio.AioRpcError) as plain:
        await house.transactions.Commit(unknown)
    assert status_of(answered[1]).message == plain.value.details()
    assert status_of(answered[2]).message.startswith("xid")
    assert status_of(answered[3]).code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert "execute, begin, try_branch, commit, rollback" in status_of(answered[3]).message


async def test_a_try_nobody_waits_for_any_more_can_be_rolled_back(house: House) -> None:
    house.participant.on("b", "Try", hangs())
    stream = house.transactions.ExecuteStream()
    impatient = tried(1, "x", "b")
    impatient.timeout_ms = 50

    await send(stream, impatient)
    late = (await replies(stream, 1))[1]
    rollback = initiator_pb2.RollbackRequest(xid="x", reason="too slow")
    await send(stream, Item(id=2, rollback=rollback))
    ended = (await replies(stream, 1))[2]

    assert status_of(late).code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
    assert ended.rollback.outcome.state == CANCELLED


async def test_tries_that_hang_hold_up_nothing_that_decides(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execute_stream, "REPLIES_MAX", 2)
    house.participant.on("b", "Try", *[hangs()] * 9)
    stream = house.transactions.ExecuteStream()
    rollback = initiator_pb2.RollbackRequest(xid="x1", reason="too slow")

    await send(stream, *(tried(number, f"x{number}", "b") for number in range(1, 4)))
    await send(stream, Item(id=4, rollback=rollback))
    answered = await replies(stream, 2)

    assert sorted(answered) == [1, 4]
    assert answered[4].rollback.outcome.state == CANCELLED


async def test_no_more_is_read_of_an_initiator_that_does_not_read_its_replies(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execute_stream, "REPLIES_MAX", 2)
    asked: list[int] = []

    async def requests() -> AsyncIterator[initiator_pb2.ExecuteStreamRequest]:
        for number in range(1, 9):
            asked.append(number)
            # Refused at once, for it is no request.
            yield initiator_pb2.ExecuteStreamRequest(items=[Item(id=number)])
            await asyncio.sleep(0)

    responses = ExecuteStream(house.coordinator, {}).serve(requests())
    read = [reply.id for reply in (await anext(responses)).items]
    for _ in range(100):
        await asyncio.sleep(0)
    # Two replies lie unread; the request after them was taken from the wire, and waits.
    assert asked == list(range(1, len(read) + 4))

    read += [reply.id async for response in responses for reply in response.items]
    assert read == list(range(1, 9))


async def test_a_request_that_waits_keeps_nothing_of_the_message_it_came_in(house: House) -> None:
    message = initiator_pb2.ExecuteStreamRequest(
        items=[Item(id=1, commit=initiator_pb2.CommitRequest(xid="mine"))]
    )

    async def requests() -> AsyncIterator[initiator_pb2.ExecuteStreamRequest]:
        yield message

    async def commit(request: initiator_pb2.CommitRequest, _: object) -> Any:
        # What is a part of the message would change with it.
        message.items[0].commit.xid = "changed"
        outcome = transaction_pb2.TransactionOutcome(xid=request.xid)
        return initiator_pb2.CommitResponse(outcome=outcome)

    responses = ExecuteStream(house.coordinator, {"commit": commit}).serve(requests())

    xids = [one.commit.outcome.xid async for each in responses for one in each.items]
    assert xids == ["mine"]


async def test_a_stream_that_is_held_up_tells_that_nobody_read(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execute_stream, "REQUESTS_MAX", 2)
    held_up: list[Unread] = []
    monkeypatch.setattr(Unread, "held_up", lambda self: held_up.append(self))
    stream = house.transactions.ExecuteStream()

    await send(stream, *(item(number, f"x{number}", "b") for number in range(1, 5)))
    await replies(stream, 4)

    assert held_up


async def test_whoever_waits_no_longer_costs_the_coordinator_nothing_more(house: House) -> None:
    house.participant.on("b", "Confirm", hangs(), ok())
    stream = house.transactions.ExecuteStream()
    impatient = item(1, "x", "b")
    impatient.timeout_ms = 50

    await send(stream, impatient)
    late = (await replies(stream, 1))[1]

    assert status_of(late).code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
    outcome = await house.transactions.Wait(initiator_pb2.WaitRequest(xid="x"))
    assert outcome.outcome.state == CONFIRMED


async def test_when_the_initiator_vanishes_its_transactions_go_on(house: House) -> None:
    house.participant.on("b", "Try", hangs(), ok())
    stream = house.transactions.ExecuteStream()
    await send(stream, item(1, "x", "b"))
    await house.participant.called("b", "Try")

    stream.cancel()

    outcome = await house.transactions.Wait(initiator_pb2.WaitRequest(xid="x"))
    assert outcome.outcome.decision == Decision.DECISION_CONFIRM


@pytest.mark.parametrize("vanishes", [False, True])
async def test_a_transaction_nobody_waits_for_any_more_need_not_stay_in_memory(
    house: House, vanishes: bool
) -> None:
    house.participant.on("b", "Confirm", pends())
    stream = house.transactions.ExecuteStream()
    # One that begins it, and one that joins it.
    requests = item(1, "x", "b"), item(2, "x", "b")
    for request in requests:
        request.timeout_ms = 60_000 if vanishes else 50
    await send(stream, *requests)
    await house.participant.called("b", "Confirm")

    if vanishes:
        stream.cancel()
    else:
        answered = await replies(stream, 2)
        assert all(b"within the time" in answered[id_].status for id_ in (1, 2))

    while house.coordinator.has("x"):  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0)


async def test_closing_the_sending_side_lets_what_runs_be_answered(house: House) -> None:
    stream = house.transactions.ExecuteStream()
    await send(stream, *(item(number, f"x{number}", "b") for number in range(1, 51)))
    await stream.done_writing()

    assert sorted(await replies(stream, 50)) == list(range(1, 51))
    assert await stream.read() is grpc.aio.EOF
    assert await stream.code() is grpc.StatusCode.OK


async def test_a_coordinator_that_is_starting_refuses_the_stream(house: House) -> None:
    house.server._ready = False
    stream = house.transactions.ExecuteStream()

    await asyncio.gather(send(stream, item(1, "x", "b")), return_exceptions=True)

    assert await stream.code() is grpc.StatusCode.UNAVAILABLE
    house.server._ready = True
