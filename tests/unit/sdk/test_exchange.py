"""Requests, retries and errors, without I/O and on virtual time."""

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from trypact import _exchange, errors
from trypact._exchange import Failure, failure_of, retry_wait
from trypact.v1 import initiator_pb2

from tests.unit.sdk.conversing import DOWN, OVERLOADED, Script, refusal

REQUEST = initiator_pb2.GetRequest(xid="17")
REPLY = initiator_pb2.GetResponse()


def test_an_answer_is_returned_and_the_deadline_is_the_patience() -> None:
    script = Script([REPLY])

    assert script.drive(script.exchange(7.0).ask(_exchange.GET, REQUEST)) is REPLY
    assert [send.timeout for send in script.sent] == [7.0]


def test_what_did_not_arrive_is_sent_again_with_growing_waits() -> None:
    script = Script([DOWN] * 8 + [REPLY])

    assert script.drive(script.exchange(60.0).ask(_exchange.GET, REQUEST)) is REPLY
    assert script.pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    assert all(send.request is REQUEST for send in script.sent)


def test_the_deadline_of_a_repeated_request_is_what_is_left_of_the_patience() -> None:
    script = Script([DOWN, DOWN, REPLY], latency=1.0)

    script.drive(script.exchange(10.0).ask(_exchange.GET, REQUEST))

    assert [send.timeout for send in script.sent] == pytest.approx([10.0, 8.95, 7.85])


def test_patience_ends_without_a_last_useless_wait() -> None:
    script = Script([DOWN], latency=0.4)

    with pytest.raises(errors.CoordinatorUnavailable, match="coordinator:7000 does not answer"):
        script.drive(script.exchange(1.0).ask(_exchange.GET, REQUEST))
    assert script.now == pytest.approx(1.0)
    assert [send.timeout for send in script.sent] == pytest.approx([1.0, 0.55, 0.05])


def test_jitter_spreads_the_waits() -> None:
    script = Script([DOWN, DOWN, REPLY], draw=0.25)

    script.drive(script.exchange().ask(_exchange.GET, REQUEST))

    assert script.pauses == [0.0125, 0.025]


def test_being_turned_away_with_a_hint_waits_at_least_that_long() -> None:
    script = Script([OVERLOADED, OVERLOADED, REPLY])

    assert script.drive(script.exchange().ask(_exchange.GET, REQUEST)) is REPLY
    assert script.pauses == [0.55, 0.6]


def test_overload_to_the_end_says_that_nothing_was_begun() -> None:
    script = Script([OVERLOADED])

    with pytest.raises(errors.Overloaded, match="too many") as caught:
        script.drive(script.exchange(1.0).ask_to_decide(_exchange.EXECUTE, REQUEST, "17"))
    assert caught.value.retry_after == 0.5


def test_overload_after_a_lost_answer_proves_nothing() -> None:
    script = Script([DOWN, OVERLOADED])

    with pytest.raises(errors.OutcomeUnknown) as caught:
        script.drive(script.exchange(1.0).ask_to_decide(_exchange.EXECUTE, REQUEST, "17"))
    assert caught.value.xid == "17"
    assert "connection refused" in caught.value.reason


@pytest.mark.parametrize(
    "failure",
    [
        DOWN,
        Failure("DEADLINE_EXCEEDED", "Deadline Exceeded"),
        Failure("CANCELLED", "channel closed"),
        Failure("INTERNAL", "a bug", "INTERNAL"),
        Failure("UNKNOWN", ""),
        refusal("INVARIANT_VIOLATED", "INTERNAL"),
        refusal("JOURNAL_UNAVAILABLE", "UNAVAILABLE"),
        refusal("SHUTTING_DOWN", "UNAVAILABLE"),
    ],
)
def test_a_decision_that_may_have_been_made_is_an_unknown_outcome(failure: Failure) -> None:
    script = Script([failure])

    with pytest.raises(errors.OutcomeUnknown, match="ask again with this xid") as caught:
        script.drive(script.exchange(0.1).ask_to_decide(_exchange.COMMIT, REQUEST, "17"))
    assert isinstance(caught.value.__cause__, errors.TrypactError)


@pytest.mark.parametrize("failure", [refusal("XID_CONFLICT"), refusal("TRY_UNSETTLED")])
def test_a_refused_request_is_no_unknown_outcome(failure: Failure) -> None:
    script = Script([DOWN, failure])

    with pytest.raises(errors.RequestRefused):
        script.drive(script.exchange().ask_to_decide(_exchange.COMMIT, REQUEST, "17"))


@pytest.mark.parametrize(
    "failure",
    [
        Failure("DEADLINE_EXCEEDED", ""),
        Failure("RESOURCE_EXHAUSTED", "Received message larger than max"),
        Failure("INTERNAL", ""),
        Failure("UNAVAILABLE", "nobody home", "PARTICIPANT_UNAVAILABLE"),
        refusal("XID_CONFLICT", "ALREADY_EXISTS"),
    ],
)
def test_nothing_else_is_sent_again(failure: Failure) -> None:
    assert retry_wait(failure, attempt=1, draw=1.0) is None


@pytest.mark.parametrize(
    ("failure", "error", "said"),
    [
        (Failure("UNIMPLEMENTED", "unknown service"), errors.CoordinatorUnavailable, "no trypact"),
        (Failure("RESOURCE_EXHAUSTED", "too big"), errors.LimitExceeded, "too large"),
        (Failure("INVALID_ARGUMENT", "odd"), errors.InvalidRequest, "odd"),
        (Failure("INTERNAL", "broken"), errors.CoordinatorFault, "INTERNAL: broken"),
        (Failure("DATA_LOSS", "", "SOMETHING_NEW"), errors.CoordinatorFault, "DATA_LOSS"),
        (Failure("UNAVAILABLE", "", "SOMETHING_NEW"), errors.CoordinatorUnavailable, "7000"),
    ],
)
def test_a_failure_without_a_known_code_is_read_by_its_status(
    failure: Failure, error: type[errors.TrypactError], said: str
) -> None:
    found = Script([]).exchange().error(failure)

    assert type(found) is error
    assert said in str(found)


# ---------------------------------------------------------------- google.rpc details


def metadata(*details: Message) -> list[tuple[str, str | bytes]]:
    status = status_pb2.Status(code=3, message="no")
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return [("server", "x"), ("grpc-status-details-bin", status.SerializeToString())]


def test_details_are_read_from_the_trailing_metadata() -> None:
    violation = error_details_pb2.BadRequest.FieldViolation(field="xid", description="is missing")
    found = failure_of(
        "RESOURCE_EXHAUSTED",
        "no",
        metadata(
            error_details_pb2.ErrorInfo(reason="OVERLOADED", domain="trypact"),
            error_details_pb2.RetryInfo(retry_delay=Duration(seconds=1, nanos=500_000_000)),
            error_details_pb2.BadRequest(field_violations=[violation]),
            error_details_pb2.DebugInfo(detail="not for us"),
        ),
    )

    assert found == Failure(
        "RESOURCE_EXHAUSTED",
        "no",
        "OVERLOADED",
        1.5,
        (errors.FieldViolation("xid", "is missing"),),
    )


@pytest.mark.parametrize(
    "trailing",
    [None, [], [("grpc-status-details-bin", b"\xff\xff")], [("grpc-status-details-bin", "text")]],
)
def test_details_that_are_missing_or_garbage_leave_the_status(
    trailing: list[tuple[str, str | bytes]] | None,
) -> None:
    assert failure_of("UNKNOWN", None, trailing) == Failure("UNKNOWN", "")
