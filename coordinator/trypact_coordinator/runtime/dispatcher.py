"""Sends calls to participants, through one bounded lane for each.

A lane caps how many calls one participant has at once and keeps part of that room for what comes
after a decision, so that a participant that hangs delays nobody else, and a flood of new work
never keeps decided work from finishing.
"""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import msgspec
from msgspec.structs import replace

from trypact_coordinator.core.events import Answer, Answered, Retry, Unknown
from trypact_coordinator.core.outcome import Call
from trypact_coordinator.core.policy import MILLISECOND
from trypact_coordinator.core.transaction import Decision, Operation, participant_of
from trypact_coordinator.ports import Clock, Done, Transport
from trypact_coordinator.runtime.breaker import Breaker, BreakerState
from trypact_coordinator.runtime.meters import Attempts, Meters
from trypact_coordinator.runtime.settings import RuntimeSettings


class Route(Protocol):
    """Where one participant is."""

    def next_endpoint(self, now: int) -> str | None:
        """Return where the next call to it goes; None if no instance is known."""
        ...


class Routes(Protocol):
    """Where participants are."""

    def route(self, participant: str) -> Route | None:
        """Return the way to a participant, for good; None if it was never registered."""
        ...


_TRY, _UNDECIDED = Operation.TRY, Decision.UNDECIDED
_CLOSED = BreakerState.CLOSED

# Takes the answer of a call, with the xid it is about.
Taker = Callable[[str, Answered], None]


class LaneView(msgspec.Struct, frozen=True, gc=False):
    """How one participant's lane stands."""

    in_flight: int
    queued: int
    breaker: BreakerState


class Lane:
    """The calls of one participant: those in flight, and two queues for those that wait."""

    def __init__(
        self,
        name: str,
        settings: RuntimeSettings,
        attempts: Attempts,
        done: Callable[["Lane", Call, Answer], None],
    ) -> None:
        self.name = name
        self.attempts = attempts
        # Takes the answers of this lane's calls.
        self.done: Done = partial(done, self)
        # None until the participant has registered.
        self.route: Route | None = None
        self.in_flight = 0
        # What its latest unknown answer said, for those who are told that the breaker is open.
        self.last_error = ""
        # What follows a decision goes before what is new.
        self.decided: deque[Call] = deque()
        self.new: deque[Call] = deque()
        self.breaker = Breaker(settings.breaker_failures, settings.breaker_open_ms * MILLISECOND)

    @property
    def queued(self) -> int:
        """How many calls wait."""
        return len(self.decided) + len(self.new)


class Dispatcher:
    """Carries the core's calls out; answers each exactly once, later.

    Args:
        transport: how a call reaches an endpoint.
        routes: which endpoints a participant has.
        clock: the journal's time.
        settings: the lanes' bounds.
        meters: counts what becomes of each call.
        defer: runs a function in a later turn of the event loop.
        recovered: told of a participant that answers again after its breaker was open.

    `take` gets all answers; whoever dispatches sets it first.
    """

    take: Taker

    def __init__(
        self,
        transport: Transport,
        routes: Routes,
        clock: Clock,
        settings: RuntimeSettings,
        meters: Meters,
        defer: Callable[[Callable[[], None]], object],
        recovered: Callable[[str], None],
    ) -> None:
        self._transport = transport
        self._routes = routes
        self._clock = clock
        self._settings = settings
        self._meters = meters
        self._defer = defer
        self._recovered = recovered
        # Calls to one participant at once, and those of them that may be new.
        self._room = settings.lane_calls_max
        self._room_for_new = settings.lane_calls_max - settings.lane_reserved
        self._lanes: dict[str, Lane] = {}
        # The same ones by the action of a call, which is what is known of it.
        self._lanes_of_actions: dict[str, Lane] = {}

    def dispatch(self, calls: Sequence[Call]) -> None:
        """Send calls, each now or when its lane has room."""
        now = self._clock.now()
        for call in calls:
            action = call.branch.action
            lane = self._lanes_of_actions.get(action) or self._lane_of_action(action)
            # Bounded each by itself: no flood of what is new turns away what follows a decision.
            if _is_new(call):
                queue, room = lane.new, self._room_for_new
            else:
                queue, room = lane.decided, self._room
            if not queue and lane.in_flight < room:
                self._send(lane, call, now)
            elif len(queue) < self._settings.lane_queue_max:
                queue.append(call)
            else:
                self._decline(lane, call, "too many calls wait for this participant")

    def view(self, participant: str) -> LaneView:
        """Return how a participant's lane stands."""
        lane = self._lane(participant)
        return LaneView(lane.in_flight, lane.queued, lane.breaker.state)

    def _lane(self, participant: str) -> Lane:
        lane = self._lanes.get(participant)
        if lane is None:
            attempts = self._meters.attempts_of(participant)
            lane = Lane(participant, self._settings, attempts, self._done)
            self._lanes[participant] = lane
        return lane

    def _lane_of_action(self, action: str) -> Lane:
        lane = self._lanes_of_actions[action] = self._lane(participant_of(action))
        return lane

    def _pump(self, lane: Lane) -> None:
        """Send what waits, as far as there is room."""
        now = self._clock.now()
        while lane.decided and lane.in_flight < self._room:
            self._send(lane, lane.decided.popleft(), now)
        while lane.new and lane.in_flight < self._room_for_new:
            self._send(lane, lane.new.popleft(), now)

    def _send(self, lane: Lane, call: Call, now: int) -> None:
        if call.operation is _TRY:
            left_us = call.not_after - now
            if left_us <= 0:
                why = "the call waited longer than its time-out for its turn"
                self._decline(lane, call, why)
                return
            spares = lane.breaker.state is not _CLOSED and _is_new(call)
            if spares and (wait_us := lane.breaker.retry_in_us(now)):
                why = f"spared while its breaker is open; it last said: {lane.last_error}"
                self._decline(lane, call, why, wait_us // MILLISECOND + 1)
                return
            left_ms = left_us // MILLISECOND or 1
            if left_ms < call.timeout_ms:
                call = replace(call, timeout_ms=left_ms)
        if lane.route is None:
            lane.route = self._routes.route(lane.name)
        endpoint = lane.route.next_endpoint(now) if lane.route is not None else None
        if endpoint is None:
            self._decline(lane, call, "no instance of the participant is registered")
            return
        lane.in_flight += 1
        self._transport.send(call, endpoint, lane.done)

    def _done(self, lane: Lane, call: Call, answer: Answer) -> None:
        """Take the answer of a call that was sent."""
        lane.in_flight -= 1
        lane.attempts[call.operation, type(answer)] += 1
        if type(answer) is Unknown:
            lane.breaker.failed(self._clock.now())
            lane.last_error = answer.error
        elif lane.breaker.succeeded():
            self._recovered(lane.name)
        self.take(call.xid, Answered(call.branch.id, call.operation, call.attempt, answer))
        if lane.decided or lane.new:
            self._pump(lane)

    def _decline(self, lane: Lane, call: Call, why: str, after_ms: int = 0) -> None:
        """Answer a call that was never sent, in a later turn as the contract of `done` asks."""
        lane.attempts[call.operation, None] += 1
        declined = Answered(call.branch.id, call.operation, call.attempt, Retry(after_ms, why))
        self._defer(partial(self.take, call.xid, declined))


def _is_new(call: Call) -> bool:
    """Whether its transaction can still be cancelled instead: not once a pivot was sent."""
    return call.operation is _TRY and call.decision is _UNDECIDED and not call.branch.pivot
