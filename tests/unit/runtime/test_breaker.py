"""The circuit breaker, with the time as an argument."""

from trypact_coordinator.runtime.breaker import Breaker, BreakerState

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
    breaker.succeeded()
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
