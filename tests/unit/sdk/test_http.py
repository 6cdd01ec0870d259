"""What a web application answers for each error."""

import pytest
from trypact import errors
from trypact.http import HttpAnswer, status_of
from trypact.kinds import Decision, State
from trypact.outcome import Outcome

CANCELLED = Outcome("17", "order", State.CANCELLED, Decision.CANCEL, reason="the deadline passed")
AGAIN = {"Retry-After": "1"}


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        (errors.TransactionCancelled(CANCELLED), 409, {}),
        (errors.BranchRefused("17", "stock", "stock.hold", "sold_out"), 409, {}),
        (errors.OutcomeUnknown("17", "nobody answers"), 503, AGAIN),
        (errors.CoordinatorUnavailable(), 503, AGAIN),
        (errors.JournalUnavailable(), 503, AGAIN),
        (errors.ParticipantUnavailable(), 503, AGAIN),
        (errors.Overloaded(retry_after=0.05), 429, AGAIN),
        (errors.Overloaded(retry_after=2.5), 429, {"Retry-After": "3"}),
        (errors.XidConflict(), 422, {}),
        (errors.XidInUse(), 422, {}),
        (errors.UnknownAction("no 'secret'"), 500, {}),
        (errors.CoordinatorFault("secret"), 500, {}),
        (errors.PayloadError("secret", "is a set"), 500, {}),
    ],
)
def test_each_error_has_a_status_of_http(
    error: errors.TrypactError, status: int, headers: dict[str, str]
) -> None:
    answer = status_of(error)

    assert (answer.status, answer.headers) == (status, headers)
    assert "secret" not in answer.detail


def test_a_refusal_says_its_reason() -> None:
    refused = errors.BranchRefused("17", "stock", "stock.hold", "sold_out")

    assert status_of(refused) == HttpAnswer(409, "sold_out", {})
    assert status_of(errors.TransactionCancelled(CANCELLED)).detail == "the deadline passed"
