"""A PENDING operation that the fence itself completes, in a local transaction of its own."""

from typing import Any

import pytest
from trypact.call import PENDING, Ok, Pending, Refused
from trypact.errors import CancelledMeanwhile, NotPending, Refuse
from trypact.kinds import Operation

from tests.conformance.fence.conftest import PLACES, Shop

TRY = Operation.TRY
pytestmark = pytest.mark.parametrize("shop", [(place, "alone") for place in PLACES], indirect=True)


def pending(handle: Any) -> Any:
    return PENDING


def test_the_effect_and_the_end_are_one(shop: Shop) -> None:
    def sell(handle: Any) -> bytes:
        shop.place.change(handle, sold=1)
        return b'"sold"'

    shop.run("try", pending)

    assert shop.fence.finish("x", "b", sell) == (TRY, Ok(b'"sold"'))
    assert shop.run("try") == Ok(b'"sold"')
    assert (shop.status, shop.stock) == ("TRIED", (10, 0, 1))
    with pytest.raises(NotPending, match="TRIED"):
        shop.fence.finish("x", "b", sell)
    assert shop.stock == (10, 0, 1)


def test_an_effect_that_is_refused_is_undone_and_the_refusal_stays(shop: Shop) -> None:
    def refuse(handle: Any) -> bytes:
        shop.place.change(handle, sold=1)
        raise Refuse("the bank said no")

    shop.run("try", pending)

    assert shop.fence.finish("x", "b", refuse) == (TRY, Refused("the bank said no"))
    assert shop.run("try") == Refused("the bank said no")
    assert shop.stock == (10, 0, 0)


def test_an_effect_that_fails_leaves_all_as_it_was(shop: Shop) -> None:
    def fail(handle: Any) -> bytes:
        shop.place.change(handle, sold=1)
        raise RuntimeError("the bank is closed")

    shop.run("try", pending)

    with pytest.raises(RuntimeError, match="the bank is closed"):
        shop.fence.finish("x", "b", fail)
    assert shop.run("try") == Pending()
    assert (shop.status, shop.stock) == ("TRY_PENDING", (10, 0, 0))


def test_what_was_cancelled_meanwhile_has_no_effect(shop: Shop) -> None:
    ran = []
    shop.run("try", pending)
    shop.run("cancel", lambda handle: b"")

    with pytest.raises(CancelledMeanwhile, match="the decision about transaction x is cancel"):
        shop.fence.finish("x", "b", ran.append)
    assert (shop.status, ran) == ("CANCELLED", [])
