"""A PENDING operation that the fence itself completes, in a local transaction of its own."""

from typing import Any

import pytest
from trypact._framing import framed, unframed
from trypact.call import PENDING, Ok, Pending, Refused
from trypact.errors import CancelledMeanwhile, InvalidRequest, NotPending, Refuse, ResultTooLarge
from trypact.kinds import Operation

from tests.conformance.fence.conftest import PLACES, Shop

TRY, CANCEL = Operation.TRY, Operation.CANCEL
pytestmark = pytest.mark.parametrize("shop", [(place, "alone") for place in PLACES], indirect=True)


def pending(handle: Any) -> Any:
    return PENDING


def test_the_effect_and_the_end_are_one(shop: Shop) -> None:
    def sell(handle: Any) -> bytes:
        shop.place.change(handle, sold=1)
        return b'"sold"'

    shop.run("try", pending)

    assert shop.fence.finish("x", "b", TRY, sell) == Ok(b'"sold"')
    assert shop.run("try") == Ok(b'"sold"')
    assert (shop.status, shop.stock) == ("TRIED", (10, 0, 1))
    with pytest.raises(NotPending, match="TRIED"):
        shop.fence.finish("x", "b", TRY, sell)
    assert shop.stock == (10, 0, 1)


def test_an_effect_that_is_refused_is_undone_and_the_refusal_stays(shop: Shop) -> None:
    def refuse(handle: Any) -> bytes:
        shop.place.change(handle, sold=1)
        raise Refuse("the bank said no")

    shop.run("try", pending)

    # Whoever calls it may have the word from a queue.
    assert shop.fence.finish("x", "b", "try", refuse) == Refused("the bank said no")
    assert shop.run("try") == Refused("the bank said no")
    assert shop.stock == (10, 0, 0)


def test_an_effect_that_fails_leaves_all_as_it_was(shop: Shop) -> None:
    def fail(handle: Any) -> bytes:
        shop.place.change(handle, sold=1)
        raise RuntimeError("the bank is closed")

    shop.run("try", pending)

    with pytest.raises(RuntimeError, match="the bank is closed"):
        shop.fence.finish("x", "b", TRY, fail)
    assert shop.run("try") == Pending()
    assert (shop.status, shop.stock) == ("TRY_PENDING", (10, 0, 0))


def test_what_was_cancelled_meanwhile_has_no_effect(shop: Shop) -> None:
    ran = []
    shop.run("try", pending)
    shop.run("cancel", lambda handle: b"")

    with pytest.raises(CancelledMeanwhile, match="the decision about transaction x is cancel"):
        shop.fence.finish("x", "b", TRY, ran.append)
    assert (shop.status, ran) == ("CANCELLED", [])


def test_the_end_of_a_try_that_comes_late_is_not_the_end_of_its_cancel(shop: Shop) -> None:
    ran: list[Any] = []
    shop.run("try", pending)
    assert shop.run("cancel", pending) == Pending()

    with pytest.raises(CancelledMeanwhile, match="nothing of it may happen now"):
        shop.fence.finish("x", "b", TRY, ran.append)
    with pytest.raises(CancelledMeanwhile):
        shop.place.complete(ran.append, "try", ok="done")
    assert shop.status == "CANCEL_PENDING"
    assert shop.fence.finish("x", "b", CANCEL, lambda handle: b"") == Ok()
    assert shop.status == "CANCELLED"
    with pytest.raises(NotPending, match="CANCELLED, not waiting for the end of its cancel") as no:
        shop.fence.finish("x", "b", CANCEL, lambda handle: b"")
    assert type(no.value) is NotPending


def test_a_result_looks_like_nothing_else_whatever_its_bytes(shop: Shop) -> None:
    result = framed(b"seat 7", expires_at_us=1)
    shop.run("try", pending)
    shop.place.complete(lambda handle: None, "try", ok=result)

    answer = shop.run("try")
    assert isinstance(answer, Ok)
    assert unframed(answer.result) == (result, 0)


def test_an_answer_that_cannot_be_kept_is_refused_at_the_door(shop: Shop) -> None:
    shop.run("try", pending)

    with pytest.raises(ResultTooLarge, match=r"try of branch 'b' is 65537 bytes .* at most 65536"):
        shop.place.complete(lambda handle: None, "try", ok=b"x" * 65_537)
    with pytest.raises(InvalidRequest, match="ok, refused: both"):
        shop.place.complete(lambda handle: None, "try", ok=1, refused="no")
    with pytest.raises(ValueError, match="operation: 'tried'; allowed: try, confirm, cancel"):
        shop.place.complete(lambda handle: None, "tried", ok=1)
    assert shop.status == "TRY_PENDING"
