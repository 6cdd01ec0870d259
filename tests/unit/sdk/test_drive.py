"""The participant's side of Drive: every call has a reply, whatever becomes of it."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from trypact import _drive
from trypact._drive import CallFailed, Drive
from trypact.kinds import Operation
from trypact.v1 import participant_pb2, transaction_pb2

Item = participant_pb2.DriveRequest.Item
OK = transaction_pb2.Answer(ok=transaction_pb2.Answer.Ok(result=b"r"))


async def attend(
    call: participant_pb2.BranchCall, operation: Operation, decision: int
) -> transaction_pb2.Answer | CallFailed:
    if call.xid.startswith("bug"):
        raise ZeroDivisionError("a bug")
    if call.xid.startswith("no"):
        return CallFailed(grpc.StatusCode.UNAVAILABLE, "not now")
    return OK


async def replies_to(*xids: str) -> dict[str, participant_pb2.DriveResponse.Item]:
    async def requests() -> AsyncIterator[participant_pb2.DriveRequest]:
        for xid in xids:
            call = participant_pb2.BranchCall(xid=xid)
            yield participant_pb2.DriveRequest(
                items=[Item(operation=transaction_pb2.OPERATION_TRY, call=call)]
            )

    served = Drive(attend).serve(requests())
    return {item.xid: item async for response in served for item in response.items}


async def test_a_call_that_meets_a_bug_is_answered_with_its_error() -> None:
    replies = await replies_to("bug", "no", "x")

    assert replies["bug"].error == "INTERNAL: ZeroDivisionError"
    assert replies["no"].error == "UNAVAILABLE: not now"
    assert replies["x"].answer == OK


async def test_more_calls_than_there_is_room_for_are_answered_in_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_drive, "CALLS_MAX", 2)

    replies = await replies_to(*(f"{kind}{n}" for kind in ("bug", "x") for n in range(5)))

    assert len(replies) == 10


async def test_a_stream_that_is_finished_answers_what_it_has_begun_and_ends() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(
        call: participant_pb2.BranchCall, operation: Operation, decision: int
    ) -> transaction_pb2.Answer | CallFailed:
        begun.set()
        await go_on.wait()
        return OK

    async def requests() -> AsyncIterator[participant_pb2.DriveRequest]:
        call = participant_pb2.BranchCall(xid="x")
        item = Item(operation=transaction_pb2.OPERATION_TRY, call=call)
        yield participant_pb2.DriveRequest(items=[item])
        await asyncio.Event().wait()  # a coordinator that never closes

    async def collect() -> list[participant_pb2.DriveResponse.Item]:
        return [item async for response in drive.serve(requests()) for item in response.items]

    drive = Drive(slow)
    collecting = asyncio.create_task(collect())
    await begun.wait()
    drive.finish()
    go_on.set()
    (reply,) = await collecting

    assert reply.answer == OK
