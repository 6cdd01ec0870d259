"""What a fence does with every call in every order, the same everywhere."""

from typing import Any

import pytest
from trypact.call import Ok, Refused
from trypact.errors import Refuse, TryTooLate
from trypact.kinds import Kind, Operation

from tests.conformance.fence.conftest import EVERYWHERE, Shop, in_company, refused_by

pytestmark = pytest.mark.parametrize("shop", in_company(EVERYWHERE), indirect=True)

TRY, CONFIRM, CANCEL, _ = Operation


# ---------------------------------------------------------------- Try, Confirm, Cancel


def test_a_duplicate_try_gets_the_first_result(shop: Shop) -> None:
    answers = [shop.run("try") for _ in range(3)]

    assert answers == [Ok(b"result of run 1")] * 3
    assert shop.ran == [TRY]
    assert shop.stock == (8, 2, 0)


def test_a_try_without_a_result_answers_so_each_time(shop: Shop) -> None:
    assert [shop.run("try", lambda handle: b"") for _ in range(2)] == [Ok(), Ok()]
    assert shop.status == "TRIED"


def test_confirm_uses_the_reservation_once(shop: Shop) -> None:
    shop.run("try")

    assert [shop.run("confirm") for _ in range(3)] == [Ok()] * 3
    assert shop.ran == [TRY, CONFIRM]
    assert shop.stock == (8, 0, 2)


def test_cancel_releases_the_reservation_once(shop: Shop) -> None:
    shop.run("try")

    assert [shop.run("cancel") for _ in range(3)] == [Ok()] * 3
    assert shop.ran == [TRY, CANCEL]
    assert shop.stock == (10, 0, 0)


def test_a_duplicate_try_after_confirm_gets_the_first_result(shop: Shop) -> None:
    first = shop.run("try")
    shop.run("confirm")

    assert shop.run("try") == first
    assert shop.stock == (8, 0, 2)


def test_cancel_without_a_try_succeeds_and_runs_nothing(shop: Shop) -> None:
    assert [shop.run("cancel") for _ in range(2)] == [Ok(), Ok()]
    assert shop.ran == []
    assert shop.status == "CANCELLED"


def test_a_late_try_after_cancel_is_refused(shop: Shop) -> None:
    shop.run("cancel")

    assert refused_by(shop.run("try")) == "ALREADY_CANCELLED"
    assert shop.ran == []
    assert shop.stock == (10, 0, 0)


def test_a_try_after_try_and_cancel_is_refused(shop: Shop) -> None:
    shop.run("try")
    shop.run("cancel")

    assert refused_by(shop.run("try")) == "ALREADY_CANCELLED"
    assert shop.stock == (10, 0, 0)


def test_confirm_without_a_try_is_refused_and_leaves_no_row(shop: Shop) -> None:
    assert refused_by(shop.run("confirm")) == "NOT_TRIED"
    assert shop.status is None
    assert shop.run("try") == Ok(b"result of run 1")


def test_confirm_without_a_try_asks_whether_instances_share_their_database(shop: Shop) -> None:
    answer = shop.run("confirm")

    assert isinstance(answer, Refused)
    assert answer.reason == (
        "NOT_TRIED: confirm refused by the fence, there is no Try to confirm in this database; do "
        "all instances of the participant share one?"
    )


def test_confirm_after_cancel_is_refused(shop: Shop) -> None:
    shop.run("try")
    shop.run("cancel")

    assert refused_by(shop.run("confirm")) == "ALREADY_CANCELLED"
    assert shop.stock == (10, 0, 0)


def test_cancel_after_confirm_is_refused(shop: Shop) -> None:
    shop.run("try")
    shop.run("confirm")

    assert refused_by(shop.run("cancel")) == "ALREADY_CONFIRMED"
    assert shop.stock == (8, 0, 2)


def test_a_saga_step_is_compensated_like_a_reservation(shop: Shop) -> None:
    step = {"kind": Kind.SAGA}
    shop.run("try", **step)

    assert shop.run("cancel", **step) == Ok()
    assert shop.stock == (10, 0, 0)


def test_keys_that_begin_alike_are_different_branches(shop: Shop) -> None:
    for key in (("x", "b"), ("x", "bb"), ("xb", "b"), ("x'\"", "b"), ("x%", "b")):
        assert isinstance(shop.run("try", xid=key[0], branch_id=key[1]), Ok)

    assert shop.stock == (0, 10, 0)


@pytest.mark.parametrize("other", [{"kind": Kind.SAGA}, {"action": "inventory.release"}])
def test_a_key_in_use_for_something_else_is_refused(shop: Shop, other: dict[str, Any]) -> None:
    shop.run("try")

    for operation in ("try", "confirm", "cancel"):
        assert refused_by(shop.run(operation, **other)) == "KEY_IN_USE"
    assert shop.ran == [TRY]


def test_cancel_after_a_refused_try_runs_nothing_and_try_stays_refused(shop: Shop) -> None:
    def refuse(handle: Any) -> bytes:
        raise Refuse("no")

    shop.run("try", refuse)

    assert shop.run("cancel") == Ok()
    assert shop.run("try") == Refused("no")
    assert refused_by(shop.run("confirm")) == "NOT_TRIED"
    assert shop.ran == []


# ---------------------------------------------------------------- deliveries


def test_a_message_is_delivered_once(shop: Shop) -> None:
    answers = [shop.run("deliver", kind=Kind.MESSAGE) for _ in range(3)]

    assert answers == [Ok(b"result of run 1")] * 3
    assert shop.stock == (10, 0, 2)


# ---------------------------------------------------------------- not_after


def test_a_try_after_its_not_after_is_not_run_and_leaves_no_row(shop: Shop) -> None:
    with pytest.raises(TryTooLate, match=r"0\.500 s too late"):
        shop.run("try", not_after_us=shop.clock_us - 500_000)

    assert (shop.ran, shop.status) == ([], None)
    assert isinstance(shop.run("try", not_after_us=shop.clock_us), Ok)


def test_what_ran_in_time_is_answered_at_any_time(shop: Shop) -> None:
    first = shop.run("try", not_after_us=shop.clock_us)
    not_after_us, shop.clock_us = shop.clock_us, shop.clock_us + 60_000_000

    assert shop.run("try", not_after_us=not_after_us) == first
