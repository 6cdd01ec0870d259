"""What a fence's local transaction adds to its rules, the same on every database."""

from typing import Any

import pytest
from trypact.call import PENDING, Ok, Pending, Refused
from trypact.errors import NotPending, ParticipantError, Refuse, RetryLater
from trypact.kinds import Kind, Operation

from tests.conformance.fence.conftest import PLACES, Shop, in_company, refused_by

pytestmark = pytest.mark.parametrize("shop", in_company(PLACES), indirect=True)

TRY = Operation.TRY
MESSAGE = {"kind": Kind.MESSAGE, "action": "inventory.ship"}


def pending(handle: Any) -> Any:
    return PENDING


# ---------------------------------------------------------------- refusals and failures


def test_a_refused_try_is_undone_and_stays_refused(shop: Shop) -> None:
    def refuse(handle: Any) -> bytes:
        shop.move_try(handle)
        raise Refuse("OUT_OF_STOCK: none left")

    assert [shop.run("try", refuse), shop.run("try")] == [Refused("OUT_OF_STOCK: none left")] * 2
    assert shop.ran == [TRY]
    assert shop.stock == (10, 0, 0)


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


# ---------------------------------------------------------------- deliveries


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
