"""Calls of one branch that meet on two connections, held in the middle by events."""

import threading
from typing import Any

import pytest
from trypact.call import Ok, Refused
from trypact.errors import Refuse
from trypact.kinds import Operation

from tests.conformance.fence.conftest import IN_A_SET, LOCKING, Gate, Shop, in_company

TRY, CONFIRM, CANCEL, DELIVER = Operation


pytestmark = pytest.mark.parametrize("shop", in_company(LOCKING), indirect=True)


def test_a_cancel_that_meets_a_running_try_waits_and_undoes_it(shop: Shop, gate: Gate) -> None:
    tried = shop.start("try", gate.hold(shop.move_try))
    assert gate.inside.wait(10)
    waiting = shop.place.arrivals(1)
    cancelled = shop.start("cancel")
    assert waiting.wait(10)
    gate.open()

    assert tried.result(10) == Ok(b"result of run 1")
    assert cancelled.result(10) == Ok()
    assert shop.ran == [TRY, CANCEL]
    assert (shop.status, shop.stock) == ("CANCELLED", (10, 0, 0))


def test_a_try_that_meets_a_running_cancel_is_refused(shop: Shop, gate: Gate) -> None:
    shop.run("try")
    cancelled = shop.start("cancel", gate.hold(shop.move_cancel))
    assert gate.inside.wait(10)
    waiting = shop.place.arrivals(1)
    late = shop.start("try")
    assert waiting.wait(10)
    gate.open()

    assert cancelled.result(10) == Ok()
    answer = late.result(10)
    assert isinstance(answer, Refused)
    assert answer.reason.startswith("ALREADY_CANCELLED")
    assert shop.stock == (10, 0, 0)


def test_two_tries_at_once_run_once_and_agree(shop: Shop, gate: Gate) -> None:
    first = shop.start("try", gate.hold(shop.move_try))
    assert gate.inside.wait(10)
    waiting = shop.place.arrivals(1)
    second = shop.start("try")
    assert waiting.wait(10)
    gate.open()

    assert first.result(10) == second.result(10) == Ok(b"result of run 1")
    assert shop.ran == [TRY]
    assert shop.stock == (8, 2, 0)


def test_a_try_that_waits_for_one_that_fails_runs_itself(shop: Shop, gate: Gate) -> None:
    def fail(handle: Any) -> bytes:
        gate.hold(shop.move_try)(handle)
        raise RuntimeError("a bug")

    first = shop.start("try", fail)
    assert gate.inside.wait(10)
    waiting = shop.place.arrivals(1)
    second = shop.start("try")
    assert waiting.wait(10)
    gate.open()

    if shop.company == IN_A_SET:
        # A set that fails lets the second one go first, whose result it then finds.
        assert first.exception(10) is None or isinstance(first.exception(), RuntimeError)
    else:
        with pytest.raises(RuntimeError, match="a bug"):
            first.result(10)
    assert isinstance(second.result(10), Ok)
    assert shop.stock == (8, 2, 0)


def test_a_try_that_waits_for_a_refusal_is_refused_alike(shop: Shop, gate: Gate) -> None:
    def refuse(handle: Any) -> bytes:
        gate.hold(shop.move_try)(handle)
        raise Refuse("no")

    first = shop.start("try", refuse)
    assert gate.inside.wait(10)
    waiting = shop.place.arrivals(1)
    second = shop.start("try")
    assert waiting.wait(10)
    gate.open()

    assert first.result(10) == second.result(10) == Refused("no")
    assert shop.stock == (10, 0, 0)


@pytest.mark.parametrize("operation", ["confirm", "cancel"])
def test_two_of_the_same_at_once_run_once(shop: Shop, gate: Gate, operation: str) -> None:
    shop.run("try")
    first = shop.start(operation, gate.hold(getattr(shop, f"move_{operation}")))
    assert gate.inside.wait(10)
    waiting = shop.place.arrivals(1)
    second = shop.start(operation)
    assert waiting.wait(10)
    gate.open()

    assert first.result(10) == second.result(10) == Ok()
    assert shop.ran == [TRY, Operation(operation)]


def test_confirm_against_cancel_has_one_winner(shop: Shop, gate: Gate) -> None:
    shop.run("try")
    confirmed = shop.start("confirm", gate.hold(shop.move_confirm))
    assert gate.inside.wait(10)
    waiting = shop.place.arrivals(1)
    cancelled = shop.start("cancel")
    assert waiting.wait(10)
    gate.open()

    assert confirmed.result(10) == Ok()
    answer = cancelled.result(10)
    assert isinstance(answer, Refused)
    assert answer.reason.startswith("ALREADY_CONFIRMED")
    assert shop.stock == (8, 0, 2)


def test_two_empty_cancels_and_a_try_leave_nothing_reserved(shop: Shop) -> None:
    start = threading.Barrier(3)

    def call(operation: str) -> object:
        start.wait(10)
        return shop.run(operation)

    futures = [shop._threads.submit(call, o) for o in ("cancel", "try", "cancel")]
    answers = [future.result(10) for future in futures]

    assert answers[0] == answers[2] == Ok()
    assert (shop.status, shop.stock) == ("CANCELLED", (10, 0, 0))
