"""What must hold of every tcc action of the shop, whatever it does."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.integration.shop import desks
from tests.integration.shop.desk import Desk
from tests.integration.shop.desks import Setting

_RESERVE = {"order_id": 7, "lines": [{"sku_id": 1, "quantity": 5}, {"sku_id": 2, "quantity": 1}]}
_FREEZE = {"order_id": 7, "user_id": 1, "amount": 30}
_USE = {"order_id": 7, "user_id": 1, "coupon_id": 11}
_ORDER = {"order_id": 7}
_PAY = _ORDER | {"pay_id": 70}


@dataclass(frozen=True)
class Action:
    """An action, the desk it is asked at, and what comes before it."""

    verb: str
    request: Any
    desk: Setting
    before: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        return f"{self.desk.name}.{self.verb}"


ACTIONS = [
    Action("reserve", _RESERVE, desks.INVENTORY),
    Action("deduct", _ORDER, desks.INVENTORY, (("reserve", _RESERVE),)),
    Action("release", _ORDER, desks.INVENTORY, (("reserve", _RESERVE),)),
    Action("return", _ORDER, desks.INVENTORY, (("reserve", _RESERVE), ("deduct", _ORDER))),
    Action("use", _USE, desks.COUPON),
    Action("give_back", {"order_id": 7, "coupon_id": 11}, desks.COUPON, (("use", _USE),)),
    Action("freeze", _FREEZE, desks.BALANCE),
    Action("freeze_coins", _FREEZE, desks.BALANCE),
    Action("refund", {"order_id": 7, "amount": 30}, desks.BALANCE, (("freeze", _FREEZE),)),
    Action(
        "refund_coins", {"order_id": 7, "amount": 30}, desks.BALANCE, (("freeze_coins", _FREEZE),)
    ),
    Action("create", desks.an_order(), desks.ORDER),
    Action("pay", _PAY, desks.ORDER, (("create", desks.an_order()),)),
    Action("cancel", _ORDER | {"reason": "no"}, desks.ORDER, (("create", desks.an_order()),)),
    Action(
        "close",
        _ORDER | {"reason": "refunded"},
        desks.ORDER,
        (("create", desks.an_order()), ("pay", _PAY)),
    ),
    Action(
        "refund",
        _ORDER | {"amount_cents": 1100},
        desks.ORDER,
        (("create", desks.an_order()), ("pay", _PAY)),
    ),
]
# What an action moves; logs and work orders only ever grow.
_HOLDINGS = ("stock", "coupon", "account", "orders")


@pytest.fixture(params=ACTIONS, ids=str)
def action(request: pytest.FixtureRequest) -> Action:
    found: Action = request.param
    return found


@pytest.fixture
def desk(action: Action, desk_of: Callable[[Setting], Desk]) -> Desk:
    made = desk_of(action.desk)
    for number, (verb, request) in enumerate(action.before):
        made.through(verb, request, xid=f"before-{number}")
    return made


def test_a_duplicate_of_an_operation_changes_nothing(action: Action, desk: Desk) -> None:
    for operation in ("try", "confirm"):
        first = desk.done(operation, action.verb, action.request)
        after_the_first = desk.rows()
        assert desk.done(operation, action.verb, action.request) == first
        assert desk.rows() == after_the_first


def test_try_and_confirm_both_change_what_is_held(action: Action, desk: Desk) -> None:
    before = desk.rows()
    desk.done("try", action.verb, action.request)
    tried = desk.rows()
    assert tried != before
    desk.done("confirm", action.verb, action.request)
    assert desk.rows() not in (before, tried)


def test_cancel_gives_back_everything_that_try_took(action: Action, desk: Desk) -> None:
    before = desk.rows(*_HOLDINGS)
    desk.done("try", action.verb, action.request)
    assert action.verb == "give_back" or desk.rows() != before
    desk.done("cancel", action.verb, action.request)
    desk.done("cancel", action.verb, action.request)
    after = desk.rows(*_HOLDINGS)
    if action.verb == "create":
        assert desk.one("orders")["status"] == 1
        assert desk.one("orders")["visible"] == 99
    else:
        assert after == before


def test_after_a_cancel_the_same_can_be_tried_by_another_transaction(
    action: Action, desk: Desk
) -> None:
    desk.done("try", action.verb, action.request)
    desk.done("cancel", action.verb, action.request)
    if action.verb in ("reserve", "freeze", "freeze_coins", "create"):
        # These belong to the one transaction that creates the order.
        assert "7" in desk.refused("try", action.verb, action.request, xid="x2")
    else:
        desk.through(action.verb, action.request, xid="x2")


def test_a_cancel_without_a_try_succeeds_and_changes_nothing(action: Action, desk: Desk) -> None:
    before = desk.rows()
    desk.done("cancel", action.verb, action.request)
    assert desk.rows() == before


def test_a_late_try_after_cancel_is_refused_and_changes_nothing(action: Action, desk: Desk) -> None:
    before = desk.rows()
    desk.done("cancel", action.verb, action.request)
    assert "ALREADY_CANCELLED" in desk.refused("try", action.verb, action.request)
    assert desk.rows() == before


def test_a_confirm_without_a_try_is_refused_and_changes_nothing(action: Action, desk: Desk) -> None:
    before = desk.rows()
    desk.refused("confirm", action.verb, action.request)
    assert desk.rows() == before


def test_a_cancel_after_confirm_is_refused_and_changes_nothing(action: Action, desk: Desk) -> None:
    desk.through(action.verb, action.request, xid="x1")
    before = desk.rows()
    desk.refused("cancel", action.verb, action.request)
    assert desk.rows() == before


def test_a_second_transaction_is_refused_while_the_first_is_undecided(
    action: Action, desk: Desk
) -> None:
    desk.done("try", action.verb, action.request)
    before = desk.rows()
    desk.refused("try", action.verb, action.request, xid="x2")
    assert desk.rows() == before


def test_a_request_with_a_wrong_field_is_refused_with_the_field_and_what_is_allowed(
    action: Action, desk: Desk
) -> None:
    before = desk.rows()
    wrong = dict(action.request) | {"order_id": 0}
    reason = desk.refused("try", action.verb, wrong)
    assert reason == (
        "invalid payload: order_id: 0 is out of range;"
        " allowed: a whole number from 1 to 9007199254740991"
    )
    missing = {key: value for key, value in action.request.items() if key != "order_id"}
    assert "order_id" in desk.refused("try", action.verb, missing, xid="x2")
    surplus = dict(action.request) | {"discount": 100}
    assert "discount" in desk.refused("try", action.verb, surplus, xid="x3")
    assert desk.rows() == before
