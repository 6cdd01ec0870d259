"""The fence's table answers every legal pair, and nothing that is no pair."""

from trypact.call import FencedCall, Ok, Pending, Refused
from trypact.fence import rules
from trypact.fence.rules import MEETINGS, Row, Status, meet
from trypact.kinds import Kind, Operation

DELIVERIES = {Status.DELIVER_PENDING, Status.DELIVERED}


def call(operation: Operation) -> FencedCall:
    return FencedCall("x", "b", "inventory.reserve", Kind.TCC, operation)


def row(status: Status) -> Row:
    return Row("inventory.reserve", "tcc", status, b"first", "why")


def test_every_operation_meets_every_status_it_can_find() -> None:
    expected = {
        (operation, status)
        for operation in Operation
        for status in Status
        if (operation is Operation.DELIVER) == (status in DELIVERIES)
    }

    assert set(MEETINGS) == expected


def test_a_pair_that_cannot_be_is_refused_and_never_run() -> None:
    answer = meet(call(Operation.DELIVER), row(Status.TRIED))

    assert isinstance(answer, Refused)


def test_only_what_undoes_or_uses_a_try_runs_on_an_existing_row() -> None:
    runs = {pair for pair in MEETINGS if meet(call(pair[0]), row(pair[1])) is None}

    assert runs == {
        (Operation.CONFIRM, Status.TRIED),
        (Operation.CANCEL, Status.TRIED),
        (Operation.CANCEL, Status.TRY_PENDING),
    }


def test_results_are_for_those_who_wait_for_them() -> None:
    assert meet(call(Operation.TRY), row(Status.CONFIRMED)) == Ok(b"first")
    assert meet(call(Operation.CONFIRM), row(Status.CONFIRMED)) == Ok()
    assert meet(call(Operation.TRY), row(Status.REFUSED)) == Refused("why")
    assert meet(call(Operation.CANCEL), row(Status.CANCEL_PENDING)) == Pending()


def test_what_is_done_and_what_is_pending_are_statuses_of_the_same_operation() -> None:
    for operation in Operation:
        assert MEETINGS[operation, rules.DONE[operation]] is rules.Meeting.DONE
        assert MEETINGS[operation, rules.PENDING[operation]] is rules.Meeting.PENDING
    assert set(rules.PENDING) == set(Operation)
