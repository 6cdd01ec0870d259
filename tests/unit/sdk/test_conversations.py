"""Interactive transactions, without I/O: what is sent, and above all what is not."""

from functools import partial
from typing import Any

import pytest
from trypact import _conversations as conversations
from trypact import errors, tcc
from trypact._exchange import Failure
from trypact._interactive import OpenTransaction
from trypact.kinds import Decision, State
from trypact.v1 import initiator_pb2, transaction_pb2

from tests.unit.sdk.conversing import DOWN, NO_CONNECTION, OVERLOADED, Script, refusal


def outcome(state: int = transaction_pb2.TRANSACTION_STATE_CONFIRMED) -> Any:
    decision = {4: 1, 5: 2, 1: 3}[state]
    return transaction_pb2.TransactionOutcome(
        xid="17", name="order", state=state, decision=decision, reason="why"
    )


CANCELLED = transaction_pb2.TRANSACTION_STATE_CANCELLED
TRIED = initiator_pb2.TransactionServiceTryResponse(
    branch=transaction_pb2.BranchOutcome(id="freeze", kind=1, action="bank.freeze", state=3)
)
BRANCH_REFUSED = initiator_pb2.TransactionServiceTryResponse(
    branch=transaction_pb2.BranchOutcome(
        id="freeze", kind=1, action="bank.freeze", state=4, reason="no money"
    )
)
BEGUN = initiator_pb2.BeginResponse()
COMMITTED = initiator_pb2.CommitResponse(outcome=outcome())
ROLLED_BACK = initiator_pb2.RollbackResponse(outcome=outcome(CANCELLED))
GOT_CANCELLED = initiator_pb2.GetResponse(outcome=outcome(CANCELLED))
SETTLED = initiator_pb2.GetDecisionResponse(decision=transaction_pb2.DECISION_CANCEL)


def opened(script: Script, patience: float = 10.0) -> OpenTransaction:
    begin = conversations.begin_of("order", "17", 5.0, {"order": "17"}, "", nonce="n")
    tx = OpenTransaction(script.exchange(patience), begin, "settled")
    # As its block does, but for what that binds.
    tx._open = True
    return tx


def try_(tx: OpenTransaction, branch_id: str = "") -> Any:
    return tx._try("bank.freeze", {"amount": 1}, Any, kind="tcc", id=branch_id)


def test_begin_rides_with_the_first_try_only() -> None:
    script = Script([TRIED, TRIED, COMMITTED])
    tx = opened(script)
    script.drive(try_(tx))
    script.drive(try_(tx))
    script.drive(tx._commit())

    assert script.methods == ["Try", "Try", "Commit"]
    requests: Any = [send.request for send in script.sent]
    assert [requests[0].HasField("begin"), requests[1].HasField("begin")] == [True, False]
    assert (requests[0].begin.nonce, requests[0].begin.timeout_ms) == ("n", 5000)
    assert [requests[0].branch.id, requests[1].branch.id] == ["freeze", "freeze-2"]
    assert tx.outcome.state is State.CONFIRMED


def test_a_try_that_is_repeated_is_the_same_branch() -> None:
    script = Script([DOWN, TRIED])
    script.drive(try_(opened(script)))

    assert script.sent[0].request == script.sent[1].request


def test_a_transaction_that_asked_for_nothing_sends_nothing() -> None:
    script = Script([])
    tx = opened(script)
    script.drive(tx._commit())
    script.drive(tx._rollback("why"))

    assert script.sent == []
    with pytest.raises(errors.NotDecided, match="17"):
        _ = tx.outcome


def test_deliveries_alone_begin_and_commit() -> None:
    script = Script([BEGUN, COMMITTED])
    tx = opened(script)
    assert [tx.message("m.mail"), tx.notice("n.mail", on="any")] == ["mail", "mail-2"]
    script.drive(tx._commit())

    assert script.methods == ["Begin", "Commit"]
    request: Any = script.sent[1].request
    assert [(d.id, d.kind, d.on) for d in request.deliveries] == [("mail", 3, 1), ("mail-2", 4, 3)]


def test_a_rollback_carries_the_deliveries_that_are_for_it() -> None:
    script = Script([TRIED, ROLLED_BACK])
    tx = opened(script)
    tx.message("m.paid")
    tx.message("m.sorry", on="cancel")
    script.drive(try_(tx))
    script.drive(tx._rollback("KeyError: 'x'" + "é" * 1000))

    request: Any = script.sent[1].request
    assert [d.id for d in request.deliveries] == ["sorry"]
    assert len(request.reason.encode()) <= 1024
    assert tx.outcome.decision is Decision.CANCEL


def test_a_refused_try_raises_and_is_rolled_back_once() -> None:
    script = Script([BRANCH_REFUSED, ROLLED_BACK])
    tx = opened(script)
    with pytest.raises(errors.BranchRefused, match=r"bank\.freeze refused branch 'freeze'"):
        script.drive(try_(tx))
    script.drive(tx._rollback("BranchRefused"))

    assert script.methods == ["Try", "Rollback"]


@pytest.mark.parametrize(
    "failure",
    [
        refusal("XID_IN_USE"),
        refusal("XID_CONFLICT"),
        refusal("UNKNOWN_ACTION"),
        refusal("INVALID_ARGUMENT"),
        refusal("ALREADY_CONFIRMED"),
    ],
)
def test_what_was_refused_was_not_begun_and_is_not_ours_to_roll_back(failure: Failure) -> None:
    script = Script([failure])
    tx = opened(script)
    with pytest.raises(errors.RequestRefused):
        script.drive(try_(tx))
    script.drive(tx._rollback("why"))

    assert script.methods == ["Try"]


def test_overload_at_the_first_try_leaves_nothing_to_roll_back() -> None:
    script = Script([OVERLOADED])
    tx = opened(script, patience=0.1)
    with pytest.raises(errors.Overloaded):
        script.drive(try_(tx))
    script.drive(tx._rollback("why"))

    assert script.methods == ["Try"]


def test_a_try_whose_answer_is_lost_is_rolled_back_and_an_unknown_xid_is_settled() -> None:
    script = Script([DOWN])
    tx = opened(script, patience=0.01)
    with pytest.raises(errors.CoordinatorUnavailable):
        script.drive(try_(tx))
    script.replies = [refusal("UNKNOWN_TRANSACTION", "NOT_FOUND"), SETTLED]
    script.drive(tx._rollback("why"))

    assert script.methods == ["Try", "Rollback", "GetDecision"]
    assert script.sent[2].request == initiator_pb2.GetDecisionRequest(xid="17", settle=True)


def test_a_try_that_is_abandoned_half_way_is_rolled_back() -> None:
    script = Script([ROLLED_BACK])
    tx = opened(script)
    abandoned = try_(tx)
    next(abandoned)
    abandoned.close()
    script.drive(tx._rollback("the initiator's task was cancelled"))

    assert script.methods == ["Rollback"]


def test_a_block_with_a_try_that_gave_no_result_is_never_committed() -> None:
    script = Script([TRIED, Failure("INTERNAL", ""), ROLLED_BACK])
    tx = opened(script)
    script.drive(try_(tx))
    with pytest.raises(errors.CoordinatorFault):
        script.drive(try_(tx, "lost"))
    with pytest.raises(errors.TryUnsettled, match="the Try of lost gave no result"):
        script.drive(tx._commit())

    assert script.methods == ["Try", "Try", "Rollback"]


def test_a_refusal_that_the_block_swallowed_is_told_with_its_reason() -> None:
    script = Script([BRANCH_REFUSED, ROLLED_BACK])
    tx = opened(script)
    with pytest.raises(errors.BranchRefused):
        script.drive(try_(tx))
    with pytest.raises(errors.TryUnsettled) as caught:
        script.drive(tx._commit())

    said = "transaction 17 is rolled back: bank.freeze refused branch 'freeze': no money"
    assert str(caught.value) == said
    assert script.methods == ["Try", "Rollback"]


def test_an_open_transaction_is_shown_in_short() -> None:
    script = Script([TRIED, COMMITTED])
    tx = opened(script)
    seen = [repr(tx)]
    script.drive(try_(tx))
    seen.append(repr(tx))
    script.drive(tx._commit())
    seen.append(repr(tx))

    assert seen == [
        "<OpenTransaction 17 'order': not begun>",
        "<OpenTransaction 17 'order': trying>",
        "<OpenTransaction 17 'order': confirmed>",
    ]


@pytest.mark.parametrize("when", ["try", "commit"])
def test_a_transaction_cancelled_meanwhile_is_told_with_its_outcome(when: str) -> None:
    replies = [refusal("ALREADY_CANCELLED"), GOT_CANCELLED]
    script = Script([TRIED, *replies] if when == "commit" else replies)
    tx = opened(script)
    if when == "commit":
        script.drive(try_(tx))

    with pytest.raises(errors.TransactionCancelled, match="why"):
        script.drive(tx._commit() if when == "commit" else try_(tx))
    assert tx.outcome.cancelled


def test_a_refused_commit_is_rolled_back() -> None:
    script = Script([TRIED, refusal("UNKNOWN_ACTION"), ROLLED_BACK])
    tx = opened(script)
    tx.message("nobody.mail")
    script.drive(try_(tx))
    with pytest.raises(errors.UnknownAction):
        script.drive(tx._commit())

    assert script.methods == ["Try", "Commit", "Rollback"]


def test_a_commit_of_unknown_outcome_is_not_rolled_back() -> None:
    script = Script([TRIED, DOWN])
    tx = opened(script, patience=0.5)
    script.drive(try_(tx))
    with pytest.raises(errors.OutcomeUnknown):
        script.drive(tx._commit())

    assert set(script.methods) == {"Try", "Commit"}


@pytest.mark.parametrize(
    ("replies", "asked"),
    [([NO_CONNECTION], {"Try"}), ([DOWN, NO_CONNECTION], {"Try", "Rollback"})],
)
def test_only_what_may_have_been_begun_is_rolled_back(replies: list[Any], asked: set[str]) -> None:
    script = Script(replies)
    tx = opened(script, patience=0.5)
    with pytest.raises(errors.CoordinatorUnavailable) as caught:
        script.drive(try_(tx))
    script.drive(tx._rollback("why"))

    assert caught.value.sent == ("Rollback" in asked)
    assert set(script.methods) == asked


def test_a_rollback_is_not_waited_for_as_long_as_a_commit() -> None:
    script = Script([TRIED, DOWN])
    tx = opened(script, patience=60.0)
    script.drive(try_(tx))
    script.drive(tx._rollback("why"))

    assert script.now <= 5.0


def test_a_rollback_after_confirm_is_logged_and_not_raised(
    caplog: pytest.LogCaptureFixture,
) -> None:
    script = Script([TRIED, refusal("ALREADY_CONFIRMED")])
    tx = opened(script)
    tx.notice("m.sorry", on="any")
    script.drive(try_(tx))
    script.drive(tx._rollback("why"))

    assert script.methods == ["Try", "Rollback"]
    assert "could not be rolled back" in caplog.text


def test_branch_ids_are_used_once_in_a_transaction() -> None:
    script = Script([TRIED])
    tx = opened(script)
    script.drive(try_(tx, "stock"))

    with pytest.raises(errors.BranchConflict, match="'stock' is used twice"):
        tx.message("m.mail", id="stock")
    with pytest.raises(errors.InvalidRequest, match="a message has no Try"):
        script.drive(tx._try("bank.freeze", None, Any, kind="message", id=""))


def test_execute_sends_ids_that_it_chose_before() -> None:
    script = Script([initiator_pb2.ExecuteResponse(outcome=outcome())])
    begin = conversations.begin_of("order", None, None, None, "")
    branches = [tcc("bank.freeze"), tcc("bank.freeze")]
    found = script.drive(
        conversations.execute(script.exchange(), "order", branches, begin, "decided", False)
    )

    request: Any = script.sent[0].request
    assert request.begin.xid == begin.xid != ""
    assert request.begin.timeout_ms == 0
    assert [b.id for b in request.branches] == ["freeze", "freeze-2"]
    assert request.wait_until == initiator_pb2.WAIT_UNTIL_DECIDED
    assert found.confirmed


@pytest.mark.parametrize(
    ("before", "fresh"), [([OVERLOADED, OVERLOADED], True), ([DOWN, OVERLOADED], False)]
)
def test_an_xid_is_fresh_until_a_request_with_it_may_have_arrived(
    before: list[Any], fresh: bool
) -> None:
    script = Script([*before, initiator_pb2.ExecuteResponse(outcome=outcome())])
    begin = conversations.begin_of("order", None, None, None, "")
    branches = [tcc("bank.freeze")]
    script.drive(
        conversations.execute(script.exchange(), "order", branches, begin, "settled", True)
    )

    request: Any = script.sent[-1].request
    assert len(script.sent) == 3
    assert request.fresh is fresh


def test_an_outcome_of_a_newer_coordinator_is_named() -> None:
    newer: Any = 99
    reply = initiator_pb2.GetResponse(outcome=transaction_pb2.TransactionOutcome(state=newer))
    script = Script([reply])

    with pytest.raises(errors.CoordinatorFault, match="State 99"):
        script.drive(conversations.get(script.exchange(), "17"))


@pytest.mark.parametrize("timeout", [0, -1, 0.0001, float("inf"), float("nan")])
def test_a_timeout_that_is_none_is_refused(timeout: float) -> None:
    with pytest.raises(errors.InvalidRequest, match="timeout"):
        conversations.begin_of("order", None, timeout, None, "")


def test_waiting_for_something_else_is_refused() -> None:
    with pytest.raises(errors.InvalidRequest, match="allowed: settled, decided"):
        conversations.until("done")


def test_a_report_is_ok_or_refused_but_not_both() -> None:
    script = Script([])

    with pytest.raises(errors.InvalidRequest, match="both are given"):
        script.drive(conversations.report(script.exchange(), "17", "b", "try", ok=1, refused="no"))


def test_a_report_of_something_that_is_no_operation_is_refused() -> None:
    script = Script([])

    with pytest.raises(errors.InvalidRequest, match="operation: is 'tried'; allowed: try, conf"):
        script.drive(conversations.report(script.exchange(), "17", "b", "tried", None, None))


@pytest.mark.parametrize("ask", [conversations.get, partial(conversations.decision, settle=True)])
def test_an_xid_that_is_no_text_is_refused_before_it_is_sent(ask: Any) -> None:
    with pytest.raises(errors.InvalidRequest, match="xid: is 17; allowed: a string"):
        Script([]).drive(ask(Script([]).exchange(), 17))


@pytest.mark.parametrize("patience", [0, -1.0, float("inf"), float("nan"), "5"])
def test_a_patience_that_is_none_is_refused(patience: Any) -> None:
    script = Script([])

    with pytest.raises(errors.InvalidRequest, match="patience: is"):
        script.exchange(patience)
    with pytest.raises(errors.InvalidRequest, match="patience: is"):
        script.drive(conversations.wait_for(script.exchange(), "17", "settled", patience))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"labels": {"order": 17}}, "labels: 'order': 17; allowed: strings"),
        ({"xid": "a\ud800"}, "surrogates not allowed"),
        ({"xid": 17}, "xid: is 17; allowed: a string"),
        ({"name": None}, "name: is None; allowed: a string"),
        ({"labels": "order"}, "labels: is 'order'; allowed: a dict of strings"),
        ({"timeout": 1e9}, "timeout: is 1000000000.0; allowed: 0.001 to 2592000 seconds"),
        ({"timeout": "10"}, "timeout: is '10'; allowed: 0.001 to 2592000 seconds"),
    ],
)
def test_what_cannot_travel_is_refused_before_it_is_sent(fields: dict[str, Any], said: str) -> None:
    full: dict[str, Any] = {
        "name": "order", "xid": None, "timeout": None, "labels": None, "trace_parent": "", **fields
    }  # fmt: skip

    with pytest.raises(errors.InvalidRequest, match=said):
        conversations.begin_of(**full)
