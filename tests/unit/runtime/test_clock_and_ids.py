"""The journal's clock and fresh ids."""

import re

from trypact_coordinator.runtime.clock import JournalClock
from trypact_coordinator.runtime.ids import Uuid7


class Monotonic:
    """A monotonic clock that stands until it is moved."""

    def __init__(self) -> None:
        self.us = 5

    def __call__(self) -> int:
        return self.us * 1000 + 999


def test_between_replies_the_monotonic_clock_advances_it() -> None:
    monotonic = Monotonic()
    clock = JournalClock(monotonic)
    clock.observe(1_000_000)
    monotonic.us += 250
    assert clock.now() == 1_000_250


def test_a_reply_from_the_past_stops_it_and_never_turns_it_back() -> None:
    monotonic = Monotonic()
    clock = JournalClock(monotonic)
    clock.observe(1_000_000)
    assert clock.now() == 1_000_000
    clock.observe(900_000)
    monotonic.us += 10
    assert clock.now() == 1_000_000
    monotonic.us += 100_000
    assert clock.now() == 1_000_010


def test_ids_are_uuids_of_version_seven() -> None:
    pattern = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
    ids = {Uuid7().new() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(pattern.fullmatch(id_) for id_ in ids)
