"""Counting: each thing once, and into the right bucket."""

from msgspec.structs import replace
from trypact_coordinator.core.events import Ok, Retry, Unknown
from trypact_coordinator.core.policy import SECOND, Policy
from trypact_coordinator.core.step import begin, tombstone
from trypact_coordinator.core.transaction import Operation, Spec, State, Transaction
from trypact_coordinator.runtime.meters import Histogram, Meters

from tests.unit.runtime.scripted import branch

T0 = 1_800_000_000 * SECOND


def begun() -> Transaction:
    record = begin(Spec("x", "test", 1_000, b"f"), (branch(),), T0, 1, Policy()).record
    assert record is not None
    return record.transaction


def settled(tx: Transaction, seconds: float, state: State = State.CONFIRMED) -> Transaction:
    return replace(tx, state=state, finished_at=T0 + int(seconds * SECOND))


def test_a_value_falls_into_the_bucket_whose_bound_it_does_not_exceed() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 2.5, 9.0):
        histogram.observe(value)
    assert histogram.counts == [2, 2, 2]
    assert (histogram.count, histogram.total) == (6, 16.5)


def test_a_transaction_starts_with_its_first_record_and_finishes_with_the_settling_one() -> None:
    meters = Meters()
    first = begun()
    decided = replace(first, state=State.CONFIRMING)
    last = settled(decided, 0.02)
    meters.recorded(None, first)
    meters.recorded(first, decided)
    assert (meters.started, sum(meters.finished.values())) == (1, 0)
    meters.recorded(decided, last)
    assert (meters.started, meters.finished[State.CONFIRMED]) == (1, 1)
    assert meters.transaction_seconds.total == 0.02


def test_deliveries_after_the_settling_finish_nothing_again() -> None:
    meters = Meters()
    last = settled(begun(), 1, State.CANCELLED)
    meters.recorded(begun(), last)
    meters.recorded(last, replace(last, version=9))
    assert meters.finished == {State.CONFIRMED: 0, State.CANCELLED: 1}
    assert meters.transaction_seconds.count == 1


def test_one_that_is_cancelled_before_it_is_begun_starts_and_finishes_at_once() -> None:
    meters = Meters()
    record = tombstone("x", T0, 1, Policy()).record
    assert record is not None
    meters.recorded(None, record.transaction)
    assert (meters.started, meters.finished[State.CANCELLED]) == (1, 1)


def test_attempts_are_counted_for_each_participant_by_what_came_back() -> None:
    meters = Meters()
    lane = meters.attempts_of("inventory")
    for fate in (Ok, Ok, Retry, Unknown, None):
        lane[Operation.TRY, fate] += 1
    assert meters.attempts_of("inventory") is lane
    assert meters.attempts_of("coupon")[Operation.TRY, Ok] == 0
    assert meters.attempts["inventory"][Operation.TRY, Ok] == 2


def test_a_commit_counts_its_records_and_its_time() -> None:
    meters = Meters()
    meters.committed(3, 0.25)
    meters.committed(1, 0.5)
    assert (meters.batch_records.count, meters.batch_records.total) == (2, 4.0)
    assert meters.commit_seconds.total == 0.75


def test_every_reason_to_refuse_is_counted_from_zero() -> None:
    assert Meters().refused == {
        "INVALID_ARGUMENT": 0,
        "LIMIT_EXCEEDED": 0,
        "UNKNOWN_PARTICIPANT": 0,
        "UNKNOWN_ACTION": 0,
        "KIND_NOT_SERVED": 0,
        "PARTICIPANT_UNAVAILABLE": 0,
        "OVERLOADED": 0,
        "SHUTTING_DOWN": 0,
    }


def test_refusals_are_counted_by_reason() -> None:
    meters = Meters()
    for reason in ("OVERLOADED", "UNKNOWN_ACTION", "OVERLOADED"):
        meters.turned_away(reason)
    counted = {reason: count for reason, count in meters.refused.items() if count}
    assert counted == {"OVERLOADED": 2, "UNKNOWN_ACTION": 1}
