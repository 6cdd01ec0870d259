"""Alarms ring once, never early, and not when they were called off; time is virtual."""

import random
from collections.abc import Callable

from trypact.testing.virtual_loop import VirtualLoop
from trypact_coordinator.alarms import Alarms

Rings = list[tuple[str, float]]


def rung(work: Callable[[Alarms[str], Rings], None]) -> Rings:
    """Run work with alarms; return what rang within an hour, and when."""
    loop = VirtualLoop(random.Random(7), lambda: None)
    rings: Rings = []

    async def main() -> None:
        alarms: Alarms[str] = Alarms(ring)
        work(alarms, rings)
        over = loop.create_future()
        loop.call_later(3600, over.set_result, None)
        await over

    def ring(key: str) -> None:
        rings.append((key, round(loop.time(), 3)))

    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    return rings


def test_each_rings_once_in_the_order_of_their_times() -> None:
    def work(alarms: Alarms[str], rings: Rings) -> None:
        for key, seconds in (("late", 60.0), ("soon", 0.5), ("between", 7.0), ("now", 0.0)):
            alarms.set(key, seconds)

    assert rung(work) == [("now", 0.0), ("soon", 0.5), ("between", 7.0), ("late", 60.0)]


def test_what_is_cancelled_stays_silent() -> None:
    def work(alarms: Alarms[str], rings: Rings) -> None:
        alarms.set("a", 1.0)
        alarms.set("b", 2.0)
        alarms.cancel("a")
        alarms.cancel("never set")

    assert rung(work) == [("b", 2.0)]


def test_a_new_time_takes_the_place_of_the_old_one() -> None:
    def work(alarms: Alarms[str], rings: Rings) -> None:
        alarms.set("sooner", 5.0)
        alarms.set("later", 1.0)
        alarms.set("sooner", 0.1)
        alarms.set("later", 9.0)

    assert rung(work) == [("sooner", 0.1), ("later", 9.0)]


def test_all_are_cleared_at_once_and_new_ones_ring_after_that() -> None:
    def work(alarms: Alarms[str], rings: Rings) -> None:
        alarms.set("a", 1.0)
        alarms.clear()
        alarms.set("b", 2.0)

    assert rung(work) == [("b", 2.0)]


def test_one_that_rings_may_cancel_another_and_set_itself_again() -> None:
    loop = VirtualLoop(random.Random(7), lambda: None)
    rings: list[str] = []

    async def main() -> None:
        over = loop.create_future()

        def ring(key: str) -> None:
            rings.append(key)
            alarms.cancel("other")
            if len(rings) < 3:
                alarms.set("again", 1.0)
            else:
                loop.call_later(60, over.set_result, None)

        alarms: Alarms[str] = Alarms(ring)
        alarms.set("again", 1.0)
        alarms.set("other", 1.0)
        await over

    loop.run_until_complete(main())
    loop.close()

    assert rings == ["again", "again", "again"]


def test_a_thousand_that_are_due_one_after_the_other_all_ring_and_none_early() -> None:
    def work(alarms: Alarms[str], rings: Rings) -> None:
        for number in range(1000):
            alarms.set(str(number), number / 1000)

    rings = rung(work)

    assert rings == [(str(number), number / 1000) for number in range(1000)]


def test_what_was_called_off_does_not_pile_up() -> None:
    def work(alarms: Alarms[str], rings: Rings) -> None:
        alarms.set("kept", 30.0)
        for number in range(10_000):
            alarms.set(str(number), 60.0)
            alarms.cancel(str(number))
        assert len(alarms._queue) < 100

    assert rung(work) == [("kept", 30.0)]


def test_one_that_fails_keeps_no_other_from_ringing() -> None:
    loop = VirtualLoop(random.Random(7), lambda: None)
    rings: list[str] = []
    failures: list[dict[str, object]] = []

    async def main() -> None:
        over = loop.create_future()

        def ring(key: str) -> None:
            rings.append(key)
            if len(rings) == 3:
                over.set_result(None)
            if key == "bug":
                raise ValueError(key)

        alarms: Alarms[str] = Alarms(ring)
        for key in ("first", "bug", "last"):
            alarms.set(key, 1.0)
        await over

    loop.set_exception_handler(lambda _, context: failures.append(context))
    loop.run_until_complete(main())
    loop.close()

    assert rings == ["first", "bug", "last"]
    assert [str(failure["exception"]) for failure in failures] == ["bug"]
