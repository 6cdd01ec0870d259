"""The participant's side of Drive: every call has a reply, whatever becomes of it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from trypact import _drive
from trypact._drive import CallFailed, Drive, Reply
from trypact.kinds import Operation
from trypact.v1 import participant_pb2, transaction_pb2

Item = participant_pb2.DriveRequest.Item
OK = transaction_pb2.Answer(ok=transaction_pb2.Answer.Ok(result=b"r"))


def attend(
    call: participant_pb2.BranchCall, operation: Operation, decision: int, reply: Reply
) -> None:
    if call.xid.startswith("no"):
        reply(CallFailed(grpc.StatusCode.UNAVAILABLE, "not now"))
    elif call.xid.startswith("late"):
        asyncio.get_running_loop().call_soon(reply, OK)
    else:
        reply(OK)


async def replies_to(
    *xids: str, operation: Any = transaction_pb2.OPERATION_TRY
) -> dict[str, participant_pb2.DriveResponse.Item]:
    async def requests() -> AsyncIterator[participant_pb2.DriveRequest]:
        for xid in xids:
            call = participant_pb2.BranchCall(xid=xid)
            yield participant_pb2.DriveRequest(items=[Item(operation=operation, call=call)])

    served = Drive(attend).serve(requests())
    return {item.xid: item async for response in served for item in response.items}


async def test_every_call_is_answered_whenever_its_answer_comes() -> None:
    replies = await replies_to("late", "no", "x")

    assert replies["no"].error == "UNAVAILABLE: not now"
    assert replies["late"].answer == replies["x"].answer == OK


async def test_a_call_without_an_operation_is_told_so() -> None:
    replies = await replies_to("x", operation=transaction_pb2.OPERATION_UNSPECIFIED)

    assert replies["x"].error == "INVALID_ARGUMENT: operation is missing"


async def test_more_calls_than_there_is_room_for_are_answered_in_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_drive, "CALLS_MAX", 2)

    replies = await replies_to(*(f"{kind}{n}" for kind in ("late", "x") for n in range(5)))

    assert len(replies) == 10


async def test_a_stream_that_is_finished_answers_what_it_has_begun_and_ends() -> None:
    begun: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    def slow(
        call: participant_pb2.BranchCall, operation: Operation, decision: int, reply: Reply
    ) -> None:
        begun.set_result(reply)

    async def requests() -> AsyncIterator[participant_pb2.DriveRequest]:
        call = participant_pb2.BranchCall(xid="x")
        item = Item(operation=transaction_pb2.OPERATION_TRY, call=call)
        yield participant_pb2.DriveRequest(items=[item])
        await asyncio.Event().wait()  # a coordinator that never closes

    async def collect() -> list[participant_pb2.DriveResponse.Item]:
        return [item async for response in drive.serve(requests()) for item in response.items]

    drive = Drive(slow)
    collecting = asyncio.create_task(collect())
    go_on = await begun
    drive.finish()
    go_on(OK)
    (reply,) = await collecting

    assert reply.answer == OK
