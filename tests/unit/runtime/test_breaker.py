"""The circuit breaker, with the time as an argument."""

from trypact_coordinator.runtime.breaker import TURNS_MAX, Breaker, BreakerState

SECOND = 1_000_000


def opened() -> Breaker:
    breaker = Breaker(failures_until_open=3, open_us=SECOND)
    for _ in range(3):
        breaker.failed(now=0)
    return breaker


def test_it_stays_closed_below_its_number_of_consecutive_failures() -> None:
    breaker = Breaker(failures_until_open=3, open_us=SECOND)
    breaker.failed(0)
    breaker.failed(0)
    breaker.succeeded()
    breaker.failed(0)
    breaker.failed(0)
    assert breaker.state is BreakerState.CLOSED
    assert breaker.retry_in_us(0) == 0


def test_open_it_tells_a_try_how_long_to_stay() -> None:
    breaker = opened()
    assert breaker.state is BreakerState.OPEN
    assert breaker.retry_in_us(now=SECOND // 4) == 3 * SECOND // 4


def test_after_its_time_it_lets_one_probe_through_and_no_second() -> None:
    breaker = opened()
    assert breaker.retry_in_us(SECOND) == 0
    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.retry_in_us(SECOND + 1) == SECOND - 1


def test_a_probe_that_succeeds_closes_it() -> None:
    breaker = opened()
    breaker.retry_in_us(SECOND)
    assert breaker.succeeded()
    assert not breaker.succeeded()
    assert breaker.state is BreakerState.CLOSED
    assert breaker.retry_in_us(SECOND + 1) == 0


def test_a_probe_that_fails_opens_it_at_once() -> None:
    breaker = opened()
    breaker.retry_in_us(SECOND)
    breaker.failed(SECOND + 10)
    assert breaker.state is BreakerState.OPEN
    assert breaker.retry_in_us(SECOND + 10) == SECOND


def test_a_lost_probe_does_not_keep_it_half_open_for_ever() -> None:
    breaker = opened()
    assert breaker.retry_in_us(SECOND) == 0
    assert breaker.retry_in_us(2 * SECOND) == 0


def test_those_that_stay_have_turns_one_after_the_other() -> None:
    breaker = opened()
    assert [breaker.retry_in_us(SECOND // 2) / SECOND for _ in range(3)] == [0.5, 2.5, 4.5]
    assert breaker.retry_in_us(SECOND) == 0
    breaker.failed(SECOND + 10)
    # Its next turn is after all of theirs.
    assert breaker.retry_in_us(SECOND + 10) == 6 * SECOND - 10


def test_a_turn_that_passed_without_anybody_is_nobodys() -> None:
    breaker = opened()
    breaker.retry_in_us(0)
    breaker.retry_in_us(0)
    assert breaker.retry_in_us(20 * SECOND) == 0
    breaker.failed(20 * SECOND)
    assert breaker.retry_in_us(20 * SECOND) == SECOND


def test_thousands_stay_longer_than_all_turns_and_not_together() -> None:
    breaker = opened()
    waits = [breaker.retry_in_us(0) / SECOND for _ in range(10 * TURNS_MAX)]
    shared = waits[TURNS_MAX:]
    assert min(shared) >= 2 * TURNS_MAX
    assert max(shared) < 4 * TURNS_MAX
    assert max(shared.count(wait) for wait in shared) <= 9


def test_who_comes_after_it_has_closed_finds_all_turns_free() -> None:
    breaker = opened()
    for _ in range(TURNS_MAX):
        breaker.retry_in_us(0)
    breaker.succeeded()
    for _ in range(3):
        breaker.failed(0)
    assert breaker.retry_in_us(0) == SECOND
