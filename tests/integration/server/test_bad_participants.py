"""Participants that misbehave, seen from the initiator and from the operator."""

import asyncio
from typing import Any

import grpc
import pytest
from trypact.v1 import admin_pb2, initiator_pb2
from trypact.v1.transaction_pb2 import Answer

from tests.integration.server.house import MESSAGE, NOTICE, House, branch
from tests.integration.server.scripted_participant import (
    Script,
    ScriptedParticipant,
    aborts,
    hangs,
    ok,
    refuses,
    retries,
    says,
)

CONFIRMED, CANCELLED = 4, 5


async def show(house: House) -> Any:
    return await house.admin.ShowTransaction(admin_pb2.ShowTransactionRequest(xid="x"))


async def until_stuck(house: House, branch_id: str, operation: str, calls: int) -> Any:
    """Return how a transaction is shown once that branch is stuck."""
    await house.participant.called(branch_id, operation, calls)
    while True:
        shown = await show(house)
        if shown.transaction.summary.stuck_reason:
            return shown


@pytest.mark.parametrize("operation", ["Try", "Confirm"])
@pytest.mark.parametrize(
    ("script", "last_error"),
    [
        (says(b"\xff\xffgarbage"), "DATA_LOSS: 9 bytes that are no"),
        (says(Answer()), "DATA_LOSS: an answer that says none"),
        (ok(b"x" * 65_537), "OUT_OF_RANGE: a result of 65537 bytes"),
        (aborts(grpc.StatusCode.UNAVAILABLE, "gone"), "UNAVAILABLE: gone"),
        (retries(1, "busy"), "busy"),
    ],
)
async def test_a_bad_answer_is_asked_again_and_shown(
    house: House, operation: str, script: Script, last_error: str
) -> None:
    house.participant.on("b", operation, script, ok())

    outcome = await house.execute(branch())

    assert outcome.state == CONFIRMED
    assert house.participant.count("b", operation) == 2
    timeline = (await show(house)).transaction.timeline
    assert any(entry.detail.startswith(last_error) for entry in timeline)


async def test_a_participant_that_hangs_is_asked_again_after_its_time_out(house: House) -> None:
    house.participant.on("b", "Confirm", hangs(), ok())

    outcome = await house.execute(branch())

    assert outcome.state == CONFIRMED
    events = [entry.event for entry in (await show(house)).transaction.timeline]
    assert "confirm unknown" in events


async def test_an_answer_after_its_deadline_changes_nothing(house: House) -> None:
    release = asyncio.Event()
    finished = asyncio.Event()

    async def late(request: Any, context: Any) -> Answer:
        try:
            await release.wait()
        finally:
            finished.set()
        return Answer(refused=Answer.Refused(reason="too late to matter"))

    house.participant.on("b", "Try", late, ok(b"second"))

    outcome = await house.execute(branch())
    release.set()
    await finished.wait()

    assert (outcome.state, outcome.branches[0].result) == (CONFIRMED, b"second")
    waited = await house.transactions.Wait(initiator_pb2.WaitRequest(xid="x"))
    assert waited.outcome.state == CONFIRMED


async def test_a_participant_that_dies_half_way_and_returns_elsewhere(house: House) -> None:
    house.participant.on("b", "Confirm", hangs())
    executing = asyncio.create_task(house.execute(branch()))
    await house.participant.called("b", "Confirm")

    await house.participant.die()
    async with ScriptedParticipant() as reborn:
        await house.register(reborn.endpoint)

        assert (await executing).state == CONFIRMED
        assert reborn.count("b", "Confirm") == 1


async def test_a_refused_confirm_is_stuck_at_once_and_still_undecidable(house: House) -> None:
    house.participant.on("b", "Confirm", refuses("no such reservation"))

    await house.execute(branch(), wait_until=initiator_pb2.WAIT_UNTIL_DECIDED)
    shown = await until_stuck(house, "b", "Confirm", 1)

    reason = shown.transaction.summary.stuck_reason
    assert reason == "inventory: Confirm of b: no such reservation"
    assert "was refused by inventory" in shown.explanation
    assert "`trypact tx skip-branch x b --reason ...`" in shown.explanation
    # The journal is searched, and learns of it a moment after it is shown.
    stuck = admin_pb2.ListTransactionsRequest(filter="stuck=true")
    while not (found := await house.admin.ListTransactions(stuck)).transactions:
        pass
    assert [tx.xid for tx in found.transactions] == ["x"]


async def test_a_confirm_that_fails_too_often_is_stuck_and_mended_by_retry(house: House) -> None:
    gone = aborts(grpc.StatusCode.UNAVAILABLE, "gone")
    house.participant.on("b", "Confirm", gone, gone, gone, ok())

    await house.execute(branch(), wait_until=initiator_pb2.WAIT_UNTIL_DECIDED)
    shown = await until_stuck(house, "b", "Confirm", 3)
    assert shown.transaction.branches[0].attempts == 3
    assert shown.transaction.branches[0].HasField("failing_since")

    await house.admin.RetryTransaction(
        admin_pb2.RetryTransactionRequest(xid="x", reason="mended", actor="ann")
    )
    waited = await house.transactions.Wait(initiator_pb2.WaitRequest(xid="x"))
    assert waited.outcome.state == CONFIRMED


async def test_a_message_is_delivered_until_it_is_acknowledged(house: House) -> None:
    house.participant.on("m", "Deliver", aborts(grpc.StatusCode.UNKNOWN, "?"), ok())

    outcome = await house.execute(branch(), branch("m", MESSAGE))
    await house.participant.called("m", "Deliver", 2)

    assert outcome.state == CONFIRMED


async def test_a_notice_that_is_refused_changes_nothing(house: House) -> None:
    house.participant.on("n", "Deliver", refuses("no such number"))

    outcome = await house.execute(branch(), branch("n", NOTICE))
    await house.participant.called("n", "Deliver")

    assert outcome.state == CONFIRMED
    assert not (await show(house)).transaction.summary.stuck_reason


async def test_a_reason_of_a_participant_is_cut_at_its_limit(house: House) -> None:
    house.participant.on("b", "Try", refuses("r" * 5_000))

    outcome = await house.execute(branch())

    assert outcome.state == CANCELLED
    assert len(outcome.reason.encode()) == 1024
    assert outcome.reason.endswith("…")
