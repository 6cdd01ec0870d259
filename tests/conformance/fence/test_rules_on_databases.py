"""What a fence does with every call in every order, the same on every database."""

from typing import Any

import pytest
from trypact.call import PENDING, Ok, Pending, Refused
from trypact.errors import (
    NotPending,
    ParticipantError,
    Refuse,
    RetryLater,
    TryTooLate,
)
from trypact.kinds import Kind, Operation

from tests.conformance.fence.conftest import PLACES, Shop, in_company

pytestmark = pytest.mark.parametrize("shop", in_company(PLACES), indirect=True)

TRY, CONFIRM, CANCEL, DELIVER = Operation
MESSAGE = {"kind": Kind.MESSAGE, "action": "inventory.ship"}


def pending(handle: Any) -> Any:
    return PENDING


def refused_by(answer: object) -> str:
    assert isinstance(answer, Refused)
    return answer.reason.partition(":")[0]


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


# ---------------------------------------------------------------- refusals and failures


def test_a_refused_try_is_undone_and_stays_refused(shop: Shop) -> None:
    def refuse(handle: Any) -> bytes:
        shop.move_try(handle)
        raise Refuse("OUT_OF_STOCK: none left")

    assert [shop.run("try", refuse), shop.run("try")] == [Refused("OUT_OF_STOCK: none left")] * 2
    assert shop.ran == [TRY]
    assert shop.stock == (10, 0, 0)


def test_cancel_after_a_refused_try_runs_nothing_and_try_stays_refused(shop: Shop) -> None:
    def refuse(handle: Any) -> bytes:
        raise Refuse("no")

    shop.run("try", refuse)

    assert shop.run("cancel") == Ok()
    assert shop.run("try") == Refused("no")
    assert refused_by(shop.run("confirm")) == "NOT_TRIED"
    assert shop.ran == []


@pytest.mark.parametrize("operation", ["try", "confirm", "cancel"])
@pytest.mark.parametrize("error", [RuntimeError("a bug"), RetryLater(2.0)], ids=["bug", "later"])
def test_an_exception_undoes_the_fence_too(shop: Shop, operation: str, error: Exception) -> None:
    if operation != "try":
        shop.run("try")
    before, stock = shop.status, shop.stock

    def fail(handle: Any) -> bytes:
        getattr(shop, f"move_{operation}")(handle)
        raise error

    with pytest.raises(type(error)):
        shop.run(operation, fail)
    assert (shop.status, shop.stock) == (before, stock)
    assert isinstance(shop.run(operation), Ok)


@pytest.mark.parametrize("operation", ["confirm", "cancel"])
def test_a_refused_confirm_or_cancel_is_no_end(shop: Shop, operation: str) -> None:
    shop.run("try")

    def refuse(handle: Any) -> bytes:
        getattr(shop, f"move_{operation}")(handle)
        raise Refuse("not today")

    assert shop.run(operation, refuse) == Refused("not today")
    assert (shop.status, shop.stock) == ("TRIED", (8, 2, 0))
    assert shop.run(operation) == Ok()


@pytest.mark.parametrize("operation", ["try", "confirm"])
def test_a_handler_that_commits_by_itself_is_found_out(shop: Shop, operation: str) -> None:
    def commit(handle: Any) -> bytes:
        shop.place.end(handle)
        return b""

    if operation == "confirm":
        shop.run("try")
    with pytest.raises(ParticipantError, match="ended the fence's local transaction"):
        shop.run(operation, commit)


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


# ---------------------------------------------------------------- deliveries


def test_a_message_is_delivered_once(shop: Shop) -> None:
    answers = [shop.run("deliver", **MESSAGE) for _ in range(3)]

    assert answers == [Ok(b"result of run 1")] * 3
    assert shop.stock == (10, 0, 2)


def test_a_refused_delivery_leaves_no_row_and_runs_again(shop: Shop) -> None:
    def refuse(handle: Any) -> bytes:
        shop.move_deliver(handle)
        raise Refuse("warehouse closed")

    assert shop.run("deliver", refuse, **MESSAGE) == Refused("warehouse closed")
    assert (shop.status, shop.stock) == (None, (10, 0, 0))
    assert isinstance(shop.run("deliver", **MESSAGE), Ok)


# ---------------------------------------------------------------- PENDING


def complete(shop: Shop, operation: str, **answer: Any) -> None:
    """Complete a pending operation and sell one piece in the same local transaction."""
    shop.place.complete(lambda handle: shop.place.change(handle, sold=1), operation, **answer)


def test_a_pending_try_is_not_run_again_and_completes_with_its_effect(shop: Shop) -> None:
    assert [shop.run("try", pending), shop.run("try")] == [Pending(), Pending()]
    assert refused_by(shop.run("confirm")) == "NOT_TRIED"

    complete(shop, "try", ok={"ready": True})
    assert shop.run("try") == Ok(b'{"ready":true}')
    assert shop.stock == (10, 0, 1)


def test_a_pending_try_that_was_cancelled_cannot_be_completed(shop: Shop) -> None:
    shop.run("try", pending)
    shop.run("cancel", lambda handle: b"")

    with pytest.raises(NotPending, match="CANCELLED"):
        complete(shop, "try")
    assert (shop.status, shop.stock) == ("CANCELLED", (10, 0, 0))


def test_a_pending_try_is_completed_once(shop: Shop) -> None:
    shop.run("try", pending)
    complete(shop, "try", ok=1)

    with pytest.raises(NotPending, match="TRIED"):
        complete(shop, "try", ok=2)
    assert shop.run("try") == Ok(b"1")
    assert shop.stock == (10, 0, 1)


def test_nothing_unknown_can_be_completed(shop: Shop) -> None:
    with pytest.raises(NotPending, match="unknown here"):
        complete(shop, "try")


def test_a_pending_try_can_end_as_refused(shop: Shop) -> None:
    shop.run("try", pending)

    complete(shop, "try", refused="the bank said no")
    assert shop.run("try") == Refused("the bank said no")
    assert shop.run("cancel") == Ok()
    assert shop.ran == []


@pytest.mark.parametrize("operation", ["confirm", "cancel"])
def test_confirm_and_cancel_can_be_pending_too(shop: Shop, operation: str) -> None:
    shop.run("try")
    other = {"confirm": "cancel", "cancel": "confirm"}[operation]

    assert [shop.run(operation, pending), shop.run(operation)] == [Pending(), Pending()]
    assert isinstance(shop.run(other), Refused)
    complete(shop, operation)
    assert shop.run(operation) == Ok()
    assert shop.ran == [TRY]


@pytest.mark.parametrize("operation", ["confirm", "cancel"])
def test_a_pending_confirm_or_cancel_that_is_refused_runs_again(shop: Shop, operation: str) -> None:
    shop.run("try")
    shop.run(operation, pending)
    complete(shop, operation, refused="later")

    assert shop.run(operation) == Ok()
    assert shop.ran == [TRY, Operation(operation)]


def test_a_pending_delivery_completes_with_its_result(shop: Shop) -> None:
    assert shop.run("deliver", pending, **MESSAGE) == Pending()
    assert shop.run("deliver", **MESSAGE) == Pending()
    complete(shop, "deliver", ok="sent")
    assert shop.run("deliver", **MESSAGE) == Ok(b'"sent"')


def test_a_pending_delivery_that_is_refused_is_delivered_again(shop: Shop) -> None:
    shop.run("deliver", pending, **MESSAGE)
    complete(shop, "deliver", refused="bounced")

    assert shop.run("deliver", **MESSAGE) == Ok(b"result of run 1")


# ---------------------------------------------------------------- the table


def test_creating_the_tables_again_is_harmless(shop: Shop) -> None:
    shop.fence.create_tables()
