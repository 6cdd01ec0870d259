"""Whose lane is too long, judged by how it stands and how fast it moves."""

from trypact_coordinator.runtime.breaker import BreakerState
from trypact_coordinator.runtime.dispatcher import LaneView
from trypact_coordinator.runtime.lane_watch import (
    HINT_MS_MAX,
    HINT_MS_MIN,
    LOOK_EVERY,
    ROUNDS_MAX,
    LaneWatch,
)

ROOM = 192
FULL = ROOM * ROUNDS_MAX
QUEUE_MAX = 10_000
# A time over which the rate is known, without a rounding error.
EIGHTH = 0.125


class Lanes:
    """Two lanes, set by hand."""

    def __init__(self) -> None:
        self.views = {
            "inventory": LaneView(0, 0, BreakerState.CLOSED),
            "coupon": LaneView(0, 0, BreakerState.CLOSED),
        }
        self.answered = dict.fromkeys(self.views, 0)
        self.looks = 0
        self.watch = LaneWatch(
            self.views.keys, self.view, self.answered.__getitem__, ROOM, QUEUE_MAX
        )
        self.now = 128.0

    def view(self, name: str) -> LaneView:
        self.looks += 1
        return self.views[name]

    def fill(self, queued: int, breaker: BreakerState = BreakerState.CLOSED) -> None:
        self.views["inventory"] = LaneView(ROOM if queued else 0, queued, breaker)

    def after(self, seconds: float, answers: int) -> dict[str, str]:
        """Let time pass with answers in it; return who is behind and why."""
        self.now += seconds
        self.answered["inventory"] += answers
        return self.behind()

    def behind(self, memory_is_scarce: bool = False) -> dict[str, str]:
        found = self.watch.behind(self.now, memory_is_scarce)
        return {name: behind.why for name, behind in found.items()}


def test_a_lane_that_moves_and_is_too_long_is_behind_and_no_other() -> None:
    lanes = Lanes()
    lanes.fill(FULL)
    assert lanes.behind() == {}
    assert lanes.after(EIGHTH, ROOM) == {
        "inventory": f"{FULL} calls wait for inventory, and {ROOM} are under way"
    }
    lanes.fill(FULL - 1)
    assert lanes.after(LOOK_EVERY, 0) == {}


def test_a_lane_that_stands_may_fill_until_it_is_full() -> None:
    lanes = Lanes()
    lanes.fill(QUEUE_MAX - 1)
    lanes.behind()
    assert lanes.after(1.0, 3) == {}
    lanes.fill(QUEUE_MAX)
    assert set(lanes.after(1.0, 3)) == {"inventory"}


def test_where_memory_is_scarce_nobody_waits_for_who_does_not_answer() -> None:
    lanes = Lanes()
    lanes.fill(0, BreakerState.OPEN)
    assert lanes.behind() == {}
    lanes.now += LOOK_EVERY
    assert lanes.behind(memory_is_scarce=True) == {"inventory": "inventory does not answer"}
    lanes.now += LOOK_EVERY
    lanes.fill(1)
    assert set(lanes.behind(memory_is_scarce=True)) == {"inventory"}
    lanes.now += LOOK_EVERY
    lanes.fill(0)
    assert lanes.behind(memory_is_scarce=True) == {}


def test_the_hint_is_about_when_the_queue_will_be_gone() -> None:
    lanes = Lanes()
    for answers, hint_ms in (
        (2 * FULL, HINT_MS_MIN),
        (FULL, 125),
        (ROOM, 500),
    ):
        lanes.fill(FULL)
        lanes.behind()
        lanes.after(EIGHTH, answers)
        assert lanes.watch.behind(lanes.now, False)["inventory"].hint_ms == hint_ms
    lanes.fill(QUEUE_MAX)
    lanes.after(EIGHTH, 0)
    assert lanes.watch.behind(lanes.now, False)["inventory"].hint_ms == HINT_MS_MAX


def test_lanes_are_looked_at_now_and_then_and_not_for_each_transaction() -> None:
    lanes = Lanes()
    for _ in range(100):
        lanes.behind()
    assert lanes.looks == len(lanes.views)
