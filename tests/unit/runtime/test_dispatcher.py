"""Lanes: what one participant can cost, and who goes first."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace
from trypact_coordinator.core.events import Answered, Ok, Retry, Unknown
from trypact_coordinator.core.outcome import Call
from trypact_coordinator.core.transaction import Decision, Operation
from trypact_coordinator.runtime.breaker import BreakerState
from trypact_coordinator.runtime.dispatcher import Dispatcher
from trypact_coordinator.runtime.meters import Meters
from trypact_coordinator.runtime.settings import RuntimeSettings

from tests.unit.runtime.scripted import SECOND, HandClock, HandTransport, branch, call

SETTINGS = RuntimeSettings(lane_calls_max=4, lane_reserved=2, lane_queue_max=3, breaker_failures=2)


class Route:
    """Where one participant is; None once its last instance was taken off."""

    def __init__(self, endpoint: str | None) -> None:
        self.endpoint = endpoint

    def next_endpoint(self, now: int) -> str | None:
        return self.endpoint


class Routes:
    """Where each participant is."""

    def __init__(self) -> None:
        self.routes = {"inventory": Route("i:1"), "coupon": Route("c:1")}

    def route(self, participant: str) -> Route | None:
        return self.routes.get(participant)


class Bench:
    """A dispatcher with everything around it in the test's hands."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.transport = HandTransport()
        self.routes = Routes()
        self.deferred: list[Callable[[], None]] = []
        self.answers: list[Answered] = []
        self.meters = Meters()
        self.recovered: list[str] = []
        self.dispatcher = Dispatcher(
            self.transport,
            self.routes,
            self.clock,
            SETTINGS,
            self.meters,
            self.deferred.append,
            self.recovered.append,
        )
        self.dispatcher.take = lambda _xid, answered: self.answers.append(answered)

    def dispatch(
        self,
        operation: Operation,
        branch_id: str = "b",
        action: str = "inventory.reserve",
        attempt: int = 1,
    ) -> None:
        self.dispatcher.dispatch(
            [replace(call(operation, branch_id, action=action), attempt=attempt)]
        )

    def run_deferred(self) -> None:
        while self.deferred:
            self.deferred.pop(0)()

    def sent_ids(self) -> list[str]:
        return [call.branch_id for call in self.transport.sent]


def test_an_answer_reaches_whoever_sent_the_call() -> None:
    bench = Bench()
    bench.dispatch(Operation.TRY)
    assert bench.transport.endpoints[0] == "i:1"
    bench.transport.answer(Ok(b"r"))
    assert bench.answers == [Answered("b", Operation.TRY, 1, Ok(b"r"))]


def test_tries_leave_room_for_what_follows_a_decision() -> None:
    bench = Bench()
    for number in range(3):
        bench.dispatch(Operation.TRY, f"try{number}")
    assert bench.sent_ids() == ["try0", "try1"]
    bench.dispatch(Operation.CONFIRM, "confirm")
    assert bench.sent_ids() == ["try0", "try1", "confirm"]


def test_what_follows_a_decision_goes_before_what_is_new() -> None:
    bench = Bench()
    for number in range(4):
        bench.dispatch(Operation.CONFIRM, f"confirm{number}")
    bench.dispatch(Operation.TRY, "try")
    bench.dispatch(Operation.CANCEL, "cancel")
    bench.transport.answer(Ok())
    assert bench.sent_ids()[-1] == "cancel"


def test_one_participant_at_its_limit_costs_another_nothing() -> None:
    bench = Bench()
    for number in range(3):
        bench.dispatch(Operation.TRY, f"try{number}")
    bench.dispatch(Operation.TRY, "other", "coupon.use")
    assert bench.sent_ids()[-1] == "other"


def test_a_full_queue_declines_and_says_so_in_a_later_turn() -> None:
    bench = Bench()
    for number in range(2 + SETTINGS.lane_queue_max):
        bench.dispatch(Operation.TRY, f"try{number}")
    assert bench.deferred == []
    bench.dispatch(Operation.TRY, "late")
    assert bench.answers == []
    bench.run_deferred()
    assert bench.answers[0].branch_id == "late"
    assert isinstance(bench.answers[0].answer, Retry)


def test_a_queue_full_of_tries_declines_nothing_that_follows_a_decision() -> None:
    bench = Bench()
    for number in range(4):
        bench.dispatch(Operation.CONFIRM, f"busy{number}")
    for number in range(SETTINGS.lane_queue_max):
        bench.dispatch(Operation.TRY, f"try{number}")
    bench.dispatch(Operation.CONFIRM, "confirm")
    assert bench.deferred == []
    bench.transport.answer(Ok())
    assert bench.sent_ids()[-1] == "confirm"


def test_a_try_that_waited_past_its_time_is_never_sent() -> None:
    bench = Bench()
    for number in range(3):
        bench.dispatch(Operation.TRY, f"try{number}")
    bench.clock.us = 6 * SECOND
    bench.transport.answer(Ok())
    bench.run_deferred()
    assert bench.sent_ids() == ["try0", "try1"]
    assert [a.branch_id for a in bench.answers] == ["try0", "try2"]
    assert isinstance(bench.answers[1].answer, Retry)


def test_a_try_that_waited_gets_only_the_time_that_is_left() -> None:
    bench = Bench()
    for number in range(3):
        bench.dispatch(Operation.TRY, f"try{number}")
    bench.clock.us = 4 * SECOND
    bench.transport.answer(Ok())
    assert bench.transport.sent[-1].timeout_ms == 2_000


def test_an_open_breaker_fails_tries_fast_and_probes_with_the_others() -> None:
    bench = Bench()
    for _ in range(SETTINGS.breaker_failures):
        bench.dispatch(Operation.TRY)
        bench.transport.answer(Unknown("UNAVAILABLE"))
    assert bench.dispatcher.view("inventory").breaker is BreakerState.OPEN
    bench.answers.clear()
    sent = len(bench.transport.sent)

    bench.dispatch(Operation.TRY, "shed")
    bench.run_deferred()
    assert len(bench.transport.sent) == sent
    assert isinstance(bench.answers[0].answer, Retry)
    assert bench.answers[0].answer.after_ms > 0

    bench.dispatch(Operation.CANCEL, "probe")
    assert bench.sent_ids()[-1] == "probe"
    bench.transport.answer(Ok())
    assert bench.dispatcher.view("inventory").breaker is BreakerState.CLOSED


def test_who_was_spared_is_told_of_when_the_participant_answers_again() -> None:
    bench = Bench()
    for _ in range(SETTINGS.breaker_failures):
        bench.dispatch(Operation.TRY)
        bench.transport.answer(Unknown("UNAVAILABLE"))
    bench.dispatch(Operation.TRY, "spared")
    assert bench.recovered == []

    bench.clock.us += SETTINGS.breaker_open_ms * 1000
    for probe in ("it is back", "and stays"):
        bench.dispatch(Operation.TRY, probe)
        bench.transport.answer(Ok())
    assert bench.recovered == ["inventory"]


@pytest.mark.parametrize(
    "going_forward",
    [
        replace(call(), branch=replace(branch("pivot"), pivot=True)),
        replace(call(branch_id="after the pivot"), decision=Decision.CONFIRM),
    ],
    ids=lambda call: call.branch_id,
)
def test_a_try_with_no_way_back_leaves_as_what_follows_a_decision(going_forward: Call) -> None:
    """A flood of what is new does not keep it, nor a breaker that others hold open."""
    bench = Bench()
    for number in range(3):
        bench.dispatch(Operation.TRY, f"try{number}")
    bench.dispatcher.dispatch([going_forward])
    assert bench.sent_ids() == ["try0", "try1", going_forward.branch_id]

    for _ in range(SETTINGS.breaker_failures):
        bench.transport.answer(Unknown("no"))
    assert bench.dispatcher.view("inventory").breaker is BreakerState.OPEN
    bench.dispatcher.dispatch([going_forward])
    assert bench.sent_ids()[-1] == going_forward.branch_id


def test_a_participant_is_called_once_it_has_registered_and_not_without_an_instance() -> None:
    bench = Bench()
    late = Route(None)
    bench.dispatch(Operation.TRY, "before", "points.add")
    bench.routes.routes["points"] = late
    bench.dispatch(Operation.TRY, "nowhere", "points.add")
    late.endpoint = "p:1"
    bench.dispatch(Operation.TRY, "there", "points.add")
    bench.run_deferred()

    assert bench.sent_ids() == ["there"]
    assert [answered.branch_id for answered in bench.answers] == ["before", "nowhere"]


def test_a_participant_nobody_registered_is_asked_again_later() -> None:
    bench = Bench()
    bench.dispatch(Operation.CONFIRM, "b", "ghost.act")
    bench.run_deferred()
    assert bench.answers[0].answer == Retry(0, "no instance of the participant is registered")


def test_the_view_counts_what_is_in_flight_and_what_waits() -> None:
    bench = Bench()
    for number in range(3):
        bench.dispatch(Operation.TRY, f"try{number}")
    view = bench.dispatcher.view("inventory")
    assert (view.in_flight, view.queued) == (2, 1)
    assert replace(view, queued=0) == replace(bench.dispatcher.view("coupon"), in_flight=2)


def test_every_call_is_counted_by_what_came_back_and_so_is_one_that_never_left() -> None:
    bench = Bench()
    bench.dispatch(Operation.TRY)
    bench.transport.answer(Ok())
    bench.dispatch(Operation.CONFIRM)
    bench.transport.answer(Unknown("UNAVAILABLE"))
    bench.dispatch(Operation.CONFIRM, "b", "ghost.act")
    counted = {
        (participant, *key): count
        for participant, attempts in bench.meters.attempts.items()
        for key, count in attempts.items()
        if count
    }
    assert counted == {
        ("inventory", Operation.TRY, Ok): 1,
        ("inventory", Operation.CONFIRM, Unknown): 1,
        ("ghost", Operation.CONFIRM, None): 1,
    }
