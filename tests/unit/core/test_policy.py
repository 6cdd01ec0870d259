"""Backoff: bounds, growth, determinism."""

from hypothesis import given
from hypothesis import strategies as st
from trypact_coordinator.core.policy import (
    MILLISECOND,
    SECOND,
    Policy,
    backoff_us,
    deadline,
    slow_retry_us,
)

POLICY = Policy()
keys = st.text(max_size=40)
attempts = st.integers(min_value=0, max_value=1 << 40)


@given(keys, attempts)
def test_backoff_stays_between_half_the_base_and_the_cap(key: str, attempt: int):
    wait = backoff_us(POLICY, key, attempt)
    assert POLICY.backoff_base_ms * MILLISECOND // 2 <= wait
    assert wait <= POLICY.backoff_cap_ms * MILLISECOND


@given(keys, st.integers(min_value=1, max_value=8))
def test_an_early_backoff_stays_below_its_own_span(key: str, attempt: int):
    assert backoff_us(POLICY, key, attempt) <= POLICY.backoff_base_ms * MILLISECOND << attempt - 1


@given(keys, attempts)
def test_the_same_history_gives_the_same_backoff(key: str, attempt: int):
    assert backoff_us(POLICY, key, attempt) == backoff_us(POLICY, key, attempt)


def test_backoff_spreads_branches_that_failed_together():
    waits = {backoff_us(POLICY, f"x{n}/stock", 10) for n in range(1000)}
    assert len(waits) > 900
    mean = sum(waits) / len(waits)
    assert 13 * SECOND < mean < 17 * SECOND


@given(keys, attempts)
def test_a_slow_retry_is_within_ten_percent(key: str, attempt: int):
    wait = slow_retry_us(POLICY, key, attempt)
    assert abs(wait - POLICY.slow_retry_ms * MILLISECOND) <= POLICY.slow_retry_ms * 100


def test_a_deadline_is_in_microseconds():
    assert deadline(5, 20) == 20_005
