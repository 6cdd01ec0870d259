"""When the patience ends: what is waited for, asked once more, without I/O and on virtual time."""

import inspect
from typing import Any

import pytest
import trypact
from trypact import _exchange, errors
from trypact._exchange import Failure
from trypact.kinds import BranchState, Decision
from trypact.v1 import initiator_pb2, transaction_pb2

from tests.unit.sdk.conversing import Script, refusal

REQUEST = initiator_pb2.ExecuteRequest()
LATE = Failure("DEADLINE_EXCEEDED", "Deadline Exceeded")
NO_JOURNAL = Failure("UNAVAILABLE", "PostgreSQL: connection refused", "JOURNAL_UNAVAILABLE")


def branch(id_: str, state: BranchState, reason: str = "", kind: int = 1) -> Any:
    return transaction_pb2.BranchOutcome(
        id=id_, kind=kind, action="balance.freeze", state=state.wire, reason=reason
    )


def got(state: int, decision: Decision, *branches: Any) -> initiator_pb2.GetResponse:
    outcome = transaction_pb2.TransactionOutcome(
        xid="order-3", name="order", state=state, decision=decision.wire, branches=branches
    )
    return initiator_pb2.GetResponse(outcome=outcome)


UNDECIDED = got(
    transaction_pb2.TRANSACTION_STATE_TRYING,
    Decision.UNDECIDED,
    branch("stock", BranchState.TRIED),
    branch("money", BranchState.TRYING, "UNAVAILABLE: no route"),
    branch("mail", BranchState.REGISTERED, kind=3),
)


def unknown(script: Script, patience: float = 30.0) -> errors.OutcomeUnknown:
    with pytest.raises(errors.OutcomeUnknown) as caught:
        script.drive(script.exchange(patience).ask_to_decide(_exchange.EXECUTE, REQUEST, "order-3"))
    return caught.value


def test_the_patience_is_above_the_deadline_of_a_coordinator_that_is_told_nothing() -> None:
    for client in (trypact.Client, trypact.SyncClient):
        assert inspect.signature(client).parameters["patience"].default == 90.0


def test_an_undecided_transaction_says_which_branch_it_waits_for() -> None:
    script = Script([LATE, UNDECIDED], latency=30.0)
    error = unknown(script)

    assert str(error) == (
        "transaction order-3 is undecided after 30 s: branch money (balance.freeze) has no answer "
        "yet: UNAVAILABLE: no route; ask again with this xid"
    )
    assert error.outcome is not None
    assert error.outcome.branch("money").state is BranchState.TRYING
    assert isinstance(error.__cause__, errors.CoordinatorUnavailable)
    assert [send.timeout for send in script.sent] == [30.0, 1.0]
    assert script.sent[1].request == initiator_pb2.GetRequest(xid="order-3")


def test_a_try_that_takes_longer_than_the_patience_blames_the_branch_that_is_waited_for() -> None:
    script = Script([LATE, UNDECIDED], latency=30.0)
    exchange = script.exchange(30.0)
    with pytest.raises(errors.OutcomeUnknown) as caught:
        script.drive(exchange.ask_and_wait(_exchange.TRY, REQUEST, "order-3"))
    assert "branch money (balance.freeze) has no answer yet" in str(caught.value)

    script = Script([Failure("UNAVAILABLE", "connection refused")], latency=30.0)
    with pytest.raises(errors.CoordinatorUnavailable, match="connection refused"):
        script.drive(script.exchange(20.0).ask_and_wait(_exchange.TRY, REQUEST, "order-3"))


def test_a_decided_transaction_says_what_keeps_it_from_its_end() -> None:
    decided = got(
        transaction_pb2.TRANSACTION_STATE_CONFIRMING,
        Decision.CONFIRM,
        branch("stock", BranchState.CONFIRMED),
        branch("money", BranchState.CONFIRMING, "pending"),
        branch("mail", BranchState.DELIVERING, kind=3),
    )

    assert str(unknown(Script([LATE, decided], latency=4.0), patience=4.0)) == (
        "transaction order-3 is decided confirm but not settled after 4 s: branch money "
        "(balance.freeze) has no answer yet, it is confirming: pending; ask again with this xid"
    )


def test_many_branches_are_not_all_named() -> None:
    branches = [branch(f"b{n}", BranchState.TRYING) for n in range(5)]
    trying = got(transaction_pb2.TRANSACTION_STATE_TRYING, Decision.UNDECIDED, *branches)

    said = str(unknown(Script([LATE, trying])))
    assert "branch b2 (balance.freeze) has no answer yet; and 2 more; ask again" in said
    assert "b3" not in said


def test_what_has_ended_meanwhile_is_told() -> None:
    ended = got(transaction_pb2.TRANSACTION_STATE_CONFIRMED, Decision.CONFIRM)
    error = unknown(Script([LATE, ended]))

    assert "transaction order-3 is confirmed by now" in str(error)
    assert error.outcome is not None
    assert error.outcome.final


def test_a_transaction_the_coordinator_has_not_begun_is_told_so() -> None:
    script = Script([LATE, refusal("UNKNOWN_TRANSACTION", "NOT_FOUND")])

    assert "coordinator:7000 has not begun it after" in str(unknown(script))


@pytest.mark.parametrize(
    "replies",
    [[NO_JOURNAL], [LATE, NO_JOURNAL], [NO_JOURNAL, LATE, UNDECIDED], [NO_JOURNAL, LATE]],
)
def test_a_journal_that_does_not_answer_is_told(replies: list[Any]) -> None:
    script = Script(replies, latency=10.0)

    assert "JOURNAL_UNAVAILABLE: PostgreSQL: connection refused" in str(unknown(script))


def test_a_coordinator_that_answers_nothing_at_all_is_told_so() -> None:
    error = unknown(Script([LATE]))

    assert "the coordinator at coordinator:7000 does not answer (DEADLINE_EXCEEDED" in str(error)
    assert error.outcome is None


def test_an_outcome_of_a_newer_coordinator_stays_unknown() -> None:
    assert "State 99" in str(unknown(Script([LATE, got(99, Decision.CONFIRM)])))
