"""Knows which participants are behind, so that what names them is refused and nothing else is.

A lane that moves is kept short: with several times more Tries waiting than are called at once,
whoever joins waits that many times as long as a call takes, and a longer queue would serve nobody.
A lane that stands (its participant hangs, or takes seconds) may fill instead, because waiting for a
participant to come back is what a coordinator is for; only once memory is half full is it refused,
which leaves the other half to everybody else. It must never look at a transaction: lanes are looked
at now and then, not for each that begins.

Pure: the time is an argument, in seconds.
"""

from collections.abc import Callable, Iterable, Mapping

import msgspec

from trypact_coordinator.runtime.breaker import BreakerState
from trypact_coordinator.runtime.dispatcher import LaneView

LOOK_EVERY = 0.02
# Calls that may wait in a lane that moves, for each that it has room for.
ROUNDS_MAX = 4
# A lane moves when it answers as many calls as it has room for within so long.
ROUND_MAX = 1.0
RATE_OVER = 0.1

HINT_MS_MIN = 100
HINT_MS_MAX = 5_000


class Behind(msgspec.Struct, frozen=True, gc=False):
    """Why a participant gets no new work now, and when to ask again."""

    why: str
    hint_ms: int


class _Seen:
    """How many calls of one lane had been answered, and how fast they were lately."""

    __slots__ = ("answered", "at", "rate")

    def __init__(self, at: float, answered: int) -> None:
        self.at = at
        self.answered = answered
        # Answers a second.
        self.rate = 0.0


class LaneWatch:
    """Looks at the lanes and says who is behind.

    Args:
        names: of the participants that have a lane.
        view: how one lane stands.
        answered: how many of a participant's calls have been answered.
        room: calls of what is new that one lane has at once.
        queue_max: calls that wait in one lane at most.
    """

    def __init__(
        self,
        names: Callable[[], Iterable[str]],
        view: Callable[[str], LaneView],
        answered: Callable[[str], int],
        room: int,
        queue_max: int,
    ) -> None:
        self._names = names
        self._view = view
        self._answered = answered
        self._room = room
        self._queue_max = queue_max
        self._look_at = 0.0
        self._scarce = False
        self._seen: dict[str, _Seen] = {}
        self._behind: Mapping[str, Behind] = {}

    def behind(self, now: float, memory_is_scarce: bool) -> Mapping[str, Behind]:
        """Return the participants that get no new work now, by name."""
        if now >= self._look_at or memory_is_scarce is not self._scarce:
            self._look_at, self._scarce = now + LOOK_EVERY, memory_is_scarce
            self._behind = {
                name: behind
                for name in self._names()
                if (behind := self._judge(name, now, memory_is_scarce)) is not None
            }
        return self._behind

    def _judge(self, name: str, now: float, memory_is_scarce: bool) -> Behind | None:
        lane = self._view(name)
        if lane.queued < min(self._room * ROUNDS_MAX, self._queue_max):
            self._seen.pop(name, None)
            if not memory_is_scarce:
                return None
            if lane.breaker is not BreakerState.CLOSED:
                return Behind(f"{name} does not answer", HINT_MS_MAX)
            if lane.queued:
                return Behind(_waiting(name, lane), HINT_MS_MAX)
            return None
        rate = self._rate(name, now)
        moves = rate * ROUND_MAX >= self._room
        if moves or memory_is_scarce or lane.queued >= self._queue_max:
            hint_ms = lane.queued * 1000 / rate if rate else HINT_MS_MAX
            return Behind(_waiting(name, lane), int(_within(hint_ms)))
        return None

    def _rate(self, name: str, now: float) -> float:
        answered = self._answered(name)
        seen = self._seen.get(name)
        if seen is None:
            self._seen[name] = _Seen(now, answered)
            return 0.0
        if now - seen.at >= RATE_OVER:
            seen.rate = (answered - seen.answered) / (now - seen.at)
            seen.at, seen.answered = now, answered
        return seen.rate


def _waiting(name: str, lane: LaneView) -> str:
    return f"{lane.queued} calls wait for {name}, and {lane.in_flight} are under way"


def _within(hint_ms: float) -> float:
    return min(max(hint_ms, HINT_MS_MIN), HINT_MS_MAX)
