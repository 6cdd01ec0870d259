"""TransactionService over real gRPC: what goes through, and what is refused at the door."""

import asyncio
from typing import Any

import pytest
from trypact.v1 import initiator_pb2
from trypact.v1.transaction_pb2 import Answer, Decision, Operation
from trypact_coordinator.core import limits

from tests.integration.server.house import (
    ALL_KINDS,
    MESSAGE,
    NOTICE,
    SAGA,
    TCC,
    House,
    branch,
    keep_house,
    refused,
)
from tests.integration.server.scripted_participant import (
    hangs,
    ok,
    pends,
    refuses,
)

CONFIRMED, CANCELLED = 4, 5


async def test_all_four_kinds_go_through_in_one_transaction(house: House) -> None:
    house.participant.on("stock", "Try", ok(b'{"left": 3}'))

    outcome = await house.execute(
        branch("stock"), branch("ship", SAGA), branch("points", MESSAGE), branch("sms", NOTICE)
    )

    assert outcome.state == CONFIRMED
    assert outcome.decision == Decision.DECISION_CONFIRM
    assert outcome.branches[0].result == b'{"left": 3}'
    await house.participant.called("points", "Deliver")
    await house.participant.called("sms", "Deliver")
    assert house.participant.count("stock", "Confirm") == 1
    assert house.participant.count("ship", "Confirm") == 0


async def test_a_refusal_cancels_and_says_who_and_why(house: House) -> None:
    house.participant.on("money", "Try", refuses("balance_low"))

    outcome = await house.execute(branch("stock"), branch("money"))

    assert outcome.state == CANCELLED
    assert (outcome.refused_branch_id, outcome.reason) == ("money", "balance_low")
    assert house.participant.count("money", "Cancel") == 0


async def test_the_same_request_again_is_the_same_transaction(house: House) -> None:
    both = await asyncio.gather(house.execute(branch()), house.execute(branch()))
    again = await house.execute(branch())

    assert both[0] == both[1] == again
    assert house.participant.count("b", "Try") == 1


async def test_labels_and_trace_are_not_identity_but_the_default_timeout_is(house: House) -> None:
    await house.execute(branch(), labels={"a": "1"}, trace_parent="00-a")

    await house.execute(branch(), labels={"a": "2"}, trace_parent="00-b", timeout_ms=60_000)
    with refused("ALREADY_EXISTS", "XID_CONFLICT") as conflict:
        await house.execute(branch(), timeout_ms=59_999)
    assert "its timeout was 60000 ms, not 59999 ms" in conflict[0].message


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ([branch(payload=b"other")], "branch 'b' had another payload"),
        ([branch(), branch("second")], "it had no branch 'second'"),
        ([branch(kind=SAGA)], "branch 'b' had another kind"),
        ([branch("c")], "it had a branch 'b'"),
        ([branch(action="inventory.tell", kind=MESSAGE)], "branch 'b' had another kind"),
    ],
)
async def test_the_same_xid_with_other_content_is_a_conflict(
    house: House, other: Any, said: str
) -> None:
    first = await house.execute(branch())

    with refused("ALREADY_EXISTS", "XID_CONFLICT") as conflict:
        await house.execute(*other)
    assert conflict[0].message == f"transaction x exists with other content: {said}"

    outcome = (await house.transactions.Get(initiator_pb2.GetRequest(xid="x"))).outcome
    assert outcome == first


@pytest.mark.parametrize(
    ("branches", "field", "reason"),
    [
        ([], "branches", "INVALID_ARGUMENT"),
        ([branch("a"), branch("a")], "branches[1].id", "INVALID_ARGUMENT"),
        ([branch("")], "branches[0].id", "INVALID_ARGUMENT"),
        ([branch("a b")], "branches[0].id", "INVALID_ARGUMENT"),
        ([branch("a" * 65)], "branches[0].id", "LIMIT_EXCEEDED"),
        ([branch("a"), branch(kind=0)], "branches[1].kind", "INVALID_ARGUMENT"),
        ([branch(kind=99, action="inventory.reserve")], "branches[0].kind", "INVALID_ARGUMENT"),
        ([branch(kind=MESSAGE, on=9)], "branches[0].on", "INVALID_ARGUMENT"),
        ([branch(on=2)], "branches[0].on", "INVALID_ARGUMENT"),
        ([branch(delay_ms=1)], "branches[0].delay_ms", "INVALID_ARGUMENT"),
        ([branch(kind=MESSAGE, delay_ms=-1)], "branches[0].delay_ms", "INVALID_ARGUMENT"),
        ([branch(action="inventory")], "branches[0].action", "INVALID_ARGUMENT"),
        ([branch(action="Inventory.Reserve")], "branches[0].action", "INVALID_ARGUMENT"),
        ([branch(after=["nobody"])], "branches[0].after", "INVALID_ARGUMENT"),
        ([branch("a", after=["a"])], "branches.after", "INVALID_ARGUMENT"),
        (
            [branch("a", after=["c"]), branch("b", after=["a"]), branch("c", after=["b"])],
            "branches.after",
            "INVALID_ARGUMENT",
        ),
        ([branch("a", after=["m"]), branch("m", MESSAGE)], "branches[0].after", "INVALID_ARGUMENT"),
        ([branch(f"b{i}") for i in range(257)], "branches", "LIMIT_EXCEEDED"),
        ([branch(payload=b"p" * (256 * 1024 + 1))], "branches[0].payload", "LIMIT_EXCEEDED"),
        (
            [branch(f"b{i}", payload=b"p" * 256 * 1024) for i in range(9)],
            "branches.payload",
            "LIMIT_EXCEEDED",
        ),
    ],
)
async def test_a_branch_that_cannot_be_is_refused_by_field(
    house: House, branches: Any, field: str, reason: str
) -> None:
    with refused("INVALID_ARGUMENT", reason) as errors:
        await house.execute(*branches)

    assert errors[0].fields == [field]
    with refused("NOT_FOUND", "UNKNOWN_TRANSACTION"):
        await house.transactions.Get(initiator_pb2.GetRequest(xid="x"))


async def test_what_is_exactly_at_its_limit_goes_through(house: House) -> None:
    most = limits.PAYLOAD_BYTES_MAX
    full = [branch(f"b{i}", payload=b"p" * most) for i in range(8)]
    small = [branch(f"s{i}") for i in range(limits.BRANCHES_MAX - 8)]

    outcome = await house.execute(*full, *small, xid="x" * limits.XID_BYTES_MAX)

    assert outcome.state == CONFIRMED
    assert len(outcome.branches) == limits.BRANCHES_MAX


@pytest.mark.parametrize(
    ("begin", "field", "reason"),
    [
        ({"name": ""}, "name", "INVALID_ARGUMENT"),
        ({"name": "n" * 129}, "name", "LIMIT_EXCEEDED"),
        ({"timeout_ms": -1}, "timeout_ms", "INVALID_ARGUMENT"),
        ({"timeout_ms": 2**62}, "timeout_ms", "INVALID_ARGUMENT"),
        ({"labels": {"": "v"}}, "labels", "INVALID_ARGUMENT"),
        ({"labels": {f"k{i}": "v" for i in range(17)}}, "labels", "LIMIT_EXCEEDED"),
        ({"trace_parent": "t" * 65}, "trace_parent", "LIMIT_EXCEEDED"),
        ({"xid": ""}, "xid", "INVALID_ARGUMENT"),
        ({"xid": "a\nb"}, "xid", "INVALID_ARGUMENT"),
        ({"xid": "a b"}, "xid", "INVALID_ARGUMENT"),
        ({"xid": "ä"}, "xid", "INVALID_ARGUMENT"),
        ({"xid": "a\x00"}, "xid", "INVALID_ARGUMENT"),
        ({"xid": "x" * 129}, "xid", "LIMIT_EXCEEDED"),
        ({"xid": "x" * 4096}, "xid", "LIMIT_EXCEEDED"),
        ({"wait_until": 7}, "wait_until", "INVALID_ARGUMENT"),
    ],
)
async def test_a_description_that_cannot_be_is_refused_by_field(
    house: House, begin: Any, field: str, reason: str
) -> None:
    with refused("INVALID_ARGUMENT", reason) as errors:
        await house.execute(branch(), **begin)

    assert errors[0].fields == [field]


@pytest.mark.parametrize(
    ("asked", "reason", "says"),
    [
        (branch(action="stranger.reserve"), "UNKNOWN_PARTICIPANT", "registered: inventory"),
        (branch(action="inventory.resreve"), "UNKNOWN_ACTION", "it has: reserve, tell"),
        (branch(kind=TCC, action="inventory.tell"), "KIND_NOT_SERVED", "message, notice"),
    ],
)
async def test_what_is_not_registered_is_refused_at_the_door(
    house: House, asked: Any, reason: str, says: str
) -> None:
    with refused("FAILED_PRECONDITION", reason) as errors:
        await house.execute(asked)

    assert says in errors[0].message


@pytest.mark.parametrize("xid", ["it's", 'say"hello"', "100%;DROP--", "a/b?c=d", "\\n", "{}"])
async def test_an_xid_with_quotes_is_an_xid(house: House, xid: str) -> None:
    outcome = await house.execute(branch(), xid=xid)

    assert (outcome.xid, outcome.state) == (xid, CONFIRMED)
    assert (await house.transactions.Get(initiator_pb2.GetRequest(xid=xid))).outcome.xid == xid


async def test_an_xid_that_begins_another_is_another_transaction(house: House) -> None:
    house.participant.on("long", "Try", refuses("no"))

    short, long = await asyncio.gather(
        house.execute(branch("short"), xid="order-1"), house.execute(branch("long"), xid="order-17")
    )

    assert (short.state, long.state) == (CONFIRMED, CANCELLED)


@pytest.mark.parametrize(
    "method", ["Get", "Wait", "Commit", "Rollback", "GetDecision", "Try", "ReportBranch"]
)
@pytest.mark.parametrize("xid", ["", "a\nb", "x" * 4096])
async def test_no_method_takes_an_xid_that_cannot_be(house: House, method: str, xid: str) -> None:
    name = f"TransactionService{method}Request" if method == "Try" else f"{method}Request"
    request = getattr(initiator_pb2, name)(xid=xid)

    with pytest.raises(Exception, match="xid") as raised:
        await getattr(house.transactions, method)(request)

    assert raised.value.code().name == "INVALID_ARGUMENT"  # type: ignore[attr-defined]


async def test_an_interactive_transaction_is_tried_branch_by_branch(house: House) -> None:
    await house.begin()
    house.participant.on("stock", "Try", ok(b"reserved"))

    tried = await house.try_(branch("stock"))
    assert (tried.state, tried.result) == (3, b"reserved")

    request = initiator_pb2.CommitRequest(xid="x", deliveries=[branch("points", MESSAGE)])
    outcome = (await house.transactions.Commit(request)).outcome
    assert outcome.state == CONFIRMED
    assert house.participant.count("stock", "Try") == 1
    await house.participant.called("points", "Deliver")


async def test_the_first_try_can_carry_the_beginning(house: House) -> None:
    request = initiator_pb2.TransactionServiceTryRequest(
        xid="x", begin=initiator_pb2.Begin(xid="x", name="test", nonce="n"), branch=branch()
    )

    assert (await house.transactions.Try(request)).branch.state == 3

    with refused("ALREADY_EXISTS", "XID_IN_USE"):
        await house.begin(nonce="another process")


async def test_a_commit_after_a_rollback_is_refused_and_the_reverse(house: House) -> None:
    await house.begin("cancelled")
    await house.transactions.Rollback(initiator_pb2.RollbackRequest(xid="cancelled", reason="no"))
    with refused("FAILED_PRECONDITION", "ALREADY_CANCELLED") as errors:
        await house.transactions.Commit(initiator_pb2.CommitRequest(xid="cancelled"))
    assert "no" in errors[0].message

    await house.begin("confirmed")
    await house.transactions.Commit(initiator_pb2.CommitRequest(xid="confirmed"))
    with refused("FAILED_PRECONDITION", "ALREADY_CONFIRMED"):
        await house.transactions.Rollback(initiator_pb2.RollbackRequest(xid="confirmed"))

    for method, xid in (("Rollback", "cancelled"), ("Commit", "confirmed")):
        request = getattr(initiator_pb2, f"{method}Request")(xid=xid)
        again = await getattr(house.transactions, method)(request)
        assert again.outcome.state in (CONFIRMED, CANCELLED)


async def test_a_branch_after_the_decision_is_refused(house: House) -> None:
    await house.begin()
    await house.transactions.Commit(initiator_pb2.CommitRequest(xid="x"))

    with refused("FAILED_PRECONDITION", "ALREADY_CONFIRMED"):
        await house.try_(branch("late"))

    assert house.participant.count("late", "Try") == 0


async def test_a_commit_with_an_unsettled_try_is_refused(house: House) -> None:
    await house.begin()
    house.participant.on("b", "Try", hangs(), ok())
    trying = asyncio.create_task(house.try_(branch()))
    await house.participant.called("b", "Try")

    with refused("FAILED_PRECONDITION", "TRY_UNSETTLED"):
        await house.transactions.Commit(initiator_pb2.CommitRequest(xid="x"))

    assert (await trying).state == 3
    outcome = (await house.transactions.Commit(initiator_pb2.CommitRequest(xid="x"))).outcome
    assert outcome.state == CONFIRMED


async def test_a_branch_with_the_id_of_another_is_a_conflict(house: House) -> None:
    await house.begin()
    await house.try_(branch(payload=b"one"))

    with refused("ALREADY_EXISTS", "BRANCH_CONFLICT"):
        await house.try_(branch(payload=b"two"))
    assert (await house.try_(branch(payload=b"one"))).state == 3


@pytest.mark.parametrize("reason", ["r" * limits.REASON_BYTES_MAX, "", "line\nbreak"])
async def test_a_rollback_takes_a_reason_up_to_its_limit(house: House, reason: str) -> None:
    await house.begin()

    request = initiator_pb2.RollbackRequest(xid="x", reason=reason)
    outcome = (await house.transactions.Rollback(request)).outcome

    assert outcome.reason == (reason or "rolled back by the initiator")


async def test_a_reason_over_its_limit_is_refused_and_nothing_is_decided(house: House) -> None:
    await house.begin()
    request = initiator_pb2.RollbackRequest(xid="x", reason="r" * (limits.REASON_BYTES_MAX + 1))

    with refused("INVALID_ARGUMENT", "LIMIT_EXCEEDED") as errors:
        await house.transactions.Rollback(request)

    assert errors[0].fields == ["reason"]
    assert (await house.transactions.Get(initiator_pb2.GetRequest(xid="x"))).outcome.state == 1


@pytest.mark.parametrize("kind", ALL_KINDS)
async def test_deliveries_of_a_commit_are_messages_and_notices(house: House, kind: int) -> None:
    await house.begin()
    request = initiator_pb2.CommitRequest(xid="x", deliveries=[branch("d", kind)])

    if kind in (MESSAGE, NOTICE):
        assert (await house.transactions.Commit(request)).outcome.state == CONFIRMED
    else:
        with refused("INVALID_ARGUMENT", "INVALID_ARGUMENT") as errors:
            await house.transactions.Commit(request)
        assert errors[0].fields == ["deliveries[0].kind"]


async def test_an_unknown_xid_is_unknown_until_somebody_settles_it(house: House) -> None:
    unknown = await house.transactions.GetDecision(initiator_pb2.GetDecisionRequest(xid="x"))
    assert (unknown.decision, unknown.final) == (Decision.DECISION_UNKNOWN, False)

    settle = initiator_pb2.GetDecisionRequest(xid="x", settle=True)
    settled = await house.transactions.GetDecision(settle)
    assert settled.decision == Decision.DECISION_CANCEL

    with refused("FAILED_PRECONDITION", "ALREADY_CANCELLED"):
        await house.execute(branch())


async def test_waiting_for_the_decision_does_not_wait_for_confirm(house: House) -> None:
    house.participant.on("b", "Confirm", hangs())

    outcome = await house.execute(branch(), wait_until=initiator_pb2.WAIT_UNTIL_DECIDED)

    assert outcome.decision == Decision.DECISION_CONFIRM
    waiting = initiator_pb2.WaitRequest(xid="x", wait_until=initiator_pb2.WAIT_UNTIL_DECIDED)
    assert (await house.transactions.Wait(waiting)).outcome.decision == Decision.DECISION_CONFIRM


async def test_a_pending_operation_is_completed_by_a_report(house: House) -> None:
    house.participant.on("b", "Try", pends())
    executing = asyncio.create_task(house.execute(branch()))
    await house.participant.called("b", "Try")
    report = initiator_pb2.ReportBranchRequest(
        xid="x",
        branch_id="b",
        operation=Operation.OPERATION_TRY,
        answer=Answer(ok=Answer.Ok(result=b"later")),
    )

    first = await house.transactions.ReportBranch(report)
    outcome = await executing
    second = await house.transactions.ReportBranch(report)

    assert first.accepted
    assert (outcome.state, outcome.branches[0].result) == (CONFIRMED, b"later")
    assert (second.accepted, second.decision) == (False, Decision.DECISION_CONFIRM)


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        ({"operation": 0}, "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
        ({"operation": 77}, "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
        ({"answer": Answer()}, "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
        ({"answer": Answer(pending=Answer.Pending())}, "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
        ({"branch_id": ""}, "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
        ({"branch_id": "c"}, "NOT_FOUND", "UNKNOWN_BRANCH"),
        ({"xid": "y"}, "NOT_FOUND", "UNKNOWN_TRANSACTION"),
        (
            {"answer": Answer(ok=Answer.Ok(result=b"r" * (limits.RESULT_BYTES_MAX + 1)))},
            "INVALID_ARGUMENT",
            "LIMIT_EXCEEDED",
        ),
        (
            {"answer": Answer(refused=Answer.Refused(reason="r" * 1025))},
            "INVALID_ARGUMENT",
            "LIMIT_EXCEEDED",
        ),
    ],
)
async def test_a_report_that_cannot_be_is_refused(
    house: House, change: Any, status: str, reason: str
) -> None:
    await house.execute(branch())
    fields = {"xid": "x", "branch_id": "b", "operation": 1, "answer": Answer(ok=Answer.Ok())}

    with refused(status, reason):
        await house.transactions.ReportBranch(
            initiator_pb2.ReportBranchRequest(**(fields | change))
        )


async def test_a_caller_who_vanishes_changes_nothing(house: House) -> None:
    house.participant.on("b", "Try", hangs(), ok())
    calling = asyncio.create_task(house.execute(branch()))
    await house.participant.called("b", "Try")

    calling.cancel()

    waited = await house.transactions.Wait(initiator_pb2.WaitRequest(xid="x"))
    assert waited.outcome.state == CONFIRMED


async def test_a_stopping_coordinator_takes_no_new_work() -> None:
    async with keep_house() as house:
        await house.execute(branch())
        house.coordinator._stopping = True
        with refused("UNAVAILABLE", "SHUTTING_DOWN"):
            await house.execute(branch(), xid="y")
        assert (await house.execute(branch())).state == CONFIRMED
