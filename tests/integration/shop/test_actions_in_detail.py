"""What each action of the shop does to its rows, and what it refuses."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError
from trypact import Decision, Kind
from trypact.call import Ok
from trypact.payload import decode
from trypact_shop.inventory.requests import ReserveResult

from tests.integration.shop import desks
from tests.integration.shop.desk import Desk
from tests.integration.shop.desks import Setting

DeskOf = Callable[[Setting], Desk]


# ---------------------------------------------------------------- inventory


def _reserve(quantity: int, sku_id: int = 1, order_id: int = 7) -> dict[str, Any]:
    return {"order_id": order_id, "lines": [{"sku_id": sku_id, "quantity": quantity}]}


def _places(desk: Desk) -> list[tuple[int, int, int]]:
    """(available, reserved, sold) of sku 1 in both warehouses."""
    rows = [row for row in desk.rows("stock")["stock"] if row["sku_id"] == 1]
    return [(row["available"], row["reserved"], row["sold"]) for row in rows]


@pytest.mark.parametrize(
    ("quantity", "held"),
    [
        (1, [(1, 1)]),
        (3, [(1, 3)]),
        # One warehouse that has enough is better than two.
        (4, [(2, 4)]),
        (5, [(1, 3), (2, 2)]),
        (7, [(1, 3), (2, 4)]),
    ],
)
def test_pieces_come_from_one_warehouse_if_they_can(
    desk_of: DeskOf, quantity: int, held: list[tuple[int, int]]
) -> None:
    desk = desk_of(desks.INVENTORY)
    result = decode(desk.done("try", "reserve", _reserve(quantity)), ReserveResult)
    assert [(part.warehouse_id, part.quantity) for part in result.held] == held
    for warehouse_id, pieces in held:
        assert _places(desk)[warehouse_id - 1][1] == pieces


def test_one_piece_more_than_there_are_is_refused_and_no_line_is_taken(desk_of: DeskOf) -> None:
    desk = desk_of(desks.INVENTORY)
    before = desk.rows()
    request = _reserve(8)
    request["lines"].insert(0, {"sku_id": 2, "quantity": 1})
    reason = desk.refused("try", "reserve", request)
    assert reason == "out_of_stock: sku 1 has 7 left, 8 were asked for"
    assert desk.rows() == before


def test_goods_that_are_not_stocked_are_refused(desk_of: DeskOf) -> None:
    desk = desk_of(desks.INVENTORY)
    reason = desk.refused("try", "reserve", _reserve(1, sku_id=3))
    assert reason == "unknown_goods: sku 3 is not stocked"


def test_pieces_go_from_reserved_to_sold_and_back_to_the_shelf(desk_of: DeskOf) -> None:
    desk = desk_of(desks.INVENTORY)
    desk.through("reserve", _reserve(5), "a")
    assert _places(desk) == [(0, 3, 0), (2, 2, 0)]
    desk.through("deduct", {"order_id": 7}, "b")
    assert _places(desk) == [(0, 0, 3), (2, 0, 2)]
    assert "not_locked" in desk.refused("try", "release", {"order_id": 7}, "c")
    desk.through("return", {"order_id": 7}, "d")
    assert _places(desk) == [(3, 0, 0), (4, 0, 0)]
    log = desk.rows("goods_log")["goods_log"]
    assert [row["movement"] for row in log] == [
        name for name in ("reserve", "lock", "deduct", "return") for _ in range(2)
    ]


def test_an_order_that_is_paid_meanwhile_cannot_be_released(desk_of: DeskOf) -> None:
    desk = desk_of(desks.INVENTORY)
    desk.through("reserve", _reserve(5), "a")
    desk.done("try", "deduct", {"order_id": 7}, "b")
    reason = desk.refused("try", "release", {"order_id": 7}, "c")
    assert reason == "not_locked: the stock of order 7 is deducting"
    assert desk.refused("try", "release", {"order_id": 8}, "d").startswith("nothing_held")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "lines (how many): 0 is out of range; allowed: a whole number from 1 to 50"),
        ([{"sku_id": n + 1, "quantity": 1} for n in range(51)], "lines (how many): 51"),
        ([{"sku_id": 1, "quantity": 1}] * 2, "lines.sku_id: 1 is named twice"),
        ([{"sku_id": 1, "quantity": 0}], "lines[0]: quantity: 0 is out of range"),
        ([{"sku_id": 1, "quantity": -3}], "lines[0]: quantity: -3 is out of range"),
        ([{"sku_id": 1, "quantity": 10_001}], "allowed: a whole number from 1 to 10000"),
        ([{"sku_id": 1, "quantity": 1.5}], "lines[0].quantity: is a number, not an integer"),
        ([{"sku_id": 1, "quantity": "2"}], "lines[0].quantity: is a string, not an integer"),
        ([{"sku_id": 1, "quantity": True}], "lines[0].quantity: is a boolean, not an integer"),
        ([{"sku_id": 2**53, "quantity": 1}], "lines[0]: sku_id: 9007199254740992 is out of"),
    ],
)
def test_wrong_lines_are_refused_with_what_is_allowed(
    desk_of: DeskOf, lines: list[Any], said: str
) -> None:
    desk = desk_of(desks.INVENTORY)
    assert said in desk.refused("try", "reserve", {"order_id": 7, "lines": lines})


def test_the_most_that_can_be_asked_for_is_reserved(desk_of: DeskOf) -> None:
    desk = desk_of(desks.INVENTORY)
    for number in range(100, 150):
        desk.put("goods", sku_id=number, goods_name="x", list_price_cents=1, price_cents=1)
        desk.put("stock", sku_id=number, warehouse_id=1, available=10_000, total=10_000)
    lines = [{"sku_id": number, "quantity": 10_000} for number in range(100, 150)]
    desk.done("try", "reserve", {"order_id": 7, "lines": lines})
    assert sum(row["reserved"] for row in desk.rows("stock")["stock"]) == 500_000


@pytest.mark.parametrize(
    "values",
    [
        {"available": -1, "total": -1},
        {"available": 1, "reserved": -1, "total": 0},
        {"available": 1, "reserved": 1, "total": 1},
    ],
)
def test_the_database_refuses_stock_that_does_not_add_up(
    desk_of: DeskOf, values: dict[str, int]
) -> None:
    desk = desk_of(desks.INVENTORY)
    with pytest.raises(IntegrityError):
        desk.put("stock", sku_id=2, warehouse_id=2, **values)


@pytest.mark.parametrize("operation", ["confirm", "cancel"])
@pytest.mark.parametrize(
    ("setting", "verb", "request_", "statement"),
    [
        (desks.INVENTORY, "reserve", _reserve(5), "DELETE FROM stock_work_detail"),
        (
            desks.COUPON,
            "use",
            {"order_id": 7, "user_id": 1, "coupon_id": 11},
            "UPDATE coupon SET order_id = 8 WHERE coupon_id = 11",
        ),
        (
            desks.BALANCE,
            "freeze",
            {"order_id": 7, "user_id": 1, "amount": 10},
            "UPDATE account SET money_frozen_cents = 9, money_deposited_cents = 999",
        ),
        (desks.ORDER, "create", desks.an_order(), "UPDATE orders SET status_ex = 0"),
    ],
    ids=lambda value: value.name if isinstance(value, Setting) else None,
)
def test_what_somebody_changed_by_hand_meanwhile_is_refused_and_not_made_worse(
    desk_of: DeskOf, operation: str, setting: Setting, verb: str, request_: Any, statement: str
) -> None:
    desk = desk_of(setting)
    desk.done("try", verb, request_)
    with desk.engine.begin() as connection:
        connection.exec_driver_sql(statement)
    before = desk.rows()
    assert desk.refused(operation, verb, request_).startswith("reservation_lost: ")
    assert desk.rows() == before


def test_stock_that_somebody_took_from_a_reservation_is_not_given_back_twice(
    desk_of: DeskOf,
) -> None:
    desk = desk_of(desks.INVENTORY)
    desk.done("try", "reserve", _reserve(3))
    with desk.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE stock SET reserved = 0, total = 0 WHERE reserved = 3")
    assert desk.refused("cancel", "reserve", _reserve(3)) == (
        "reservation_lost: sku 1 in warehouse 1 is not as its Try left it"
    )


# ---------------------------------------------------------------- coupon


def _use(coupon_id: int = 11, user_id: int = 1, order_id: int = 7) -> dict[str, int]:
    return {"order_id": order_id, "user_id": user_id, "coupon_id": coupon_id}


def test_a_coupon_is_held_then_used_then_given_back(desk_of: DeskOf) -> None:
    desk = desk_of(desks.COUPON)
    assert desk.done("try", "use", _use(), "a") == b'{"coupon_price_cents":500}'
    held = desk.rows("coupon")["coupon"][0]
    assert (held["is_used"], held["order_id"], held["used_time"]) == (2, 7, None)
    desk.done("confirm", "use", _use(), "a")
    used = desk.rows("coupon")["coupon"][0]
    assert (used["is_used"], used["order_id"]) == (1, 7)
    assert used["used_time"] is not None
    desk.through("give_back", {"order_id": 7, "coupon_id": 11}, "b")
    free = desk.rows("coupon")["coupon"][0]
    assert (free["is_used"], free["order_id"], free["used_time"]) == (0, None, None)


def test_a_coupon_that_is_unknown_foreign_held_or_used_is_refused(desk_of: DeskOf) -> None:
    desk = desk_of(desks.COUPON)
    assert desk.refused("try", "use", _use(99), "a") == "unknown_coupon: there is no coupon 99"
    assert desk.refused("try", "use", _use(user_id=2), "b").startswith("foreign_coupon: ")
    desk.done("try", "use", _use(), "c")
    held = "coupon_used: coupon 11 is held for order 7"
    assert desk.refused("try", "use", _use(order_id=8), "d") == held
    desk.done("confirm", "use", _use(), "c")
    used = "coupon_used: coupon 11 was used for order 7"
    assert desk.refused("try", "use", _use(order_id=8), "e") == used


def test_only_the_order_that_used_a_coupon_can_give_it_back(desk_of: DeskOf) -> None:
    desk = desk_of(desks.COUPON)
    assert desk.refused("try", "give_back", {"order_id": 7, "coupon_id": 11}, "a")
    desk.through("use", _use(), "b")
    reason = desk.refused("try", "give_back", {"order_id": 8, "coupon_id": 11}, "c")
    assert reason == "coupon_not_used: order 8 did not use coupon 11"


# ---------------------------------------------------------------- balance


def _freeze(amount: int, user_id: int = 1, order_id: int = 7) -> dict[str, int]:
    return {"order_id": order_id, "user_id": user_id, "amount": amount}


def _money(desk: Desk) -> tuple[int, int, int]:
    row = desk.one("account")
    return row["money_available_cents"], row["money_frozen_cents"], row["money_spent_cents"]


def test_money_is_frozen_then_spent_then_refunded_with_a_log(desk_of: DeskOf) -> None:
    desk = desk_of(desks.BALANCE)
    desk.done("try", "freeze", _freeze(1000), "a")
    assert _money(desk) == (0, 1000, 0)
    desk.done("confirm", "freeze", _freeze(1000), "a")
    assert _money(desk) == (0, 0, 1000)
    desk.through("refund", {"order_id": 7, "amount": 400}, "b")
    assert _money(desk) == (400, 0, 600)
    log = [(r["money_log_type"], r["use_money_cents"]) for r in desk.rows("money_log")["money_log"]]
    assert log == [(1, 1000), (2, 400)]


def test_coins_are_kept_apart_from_money(desk_of: DeskOf) -> None:
    desk = desk_of(desks.BALANCE)
    desk.through("freeze_coins", _freeze(50), "a")
    desk.through("freeze", _freeze(10), "b")
    desk.through("refund_coins", {"order_id": 7, "amount": 20}, "c")
    row = desk.one("account")
    assert _money(desk) == (990, 0, 10)
    assert (row["coins_available"], row["coins_frozen"], row["coins_spent"]) == (20, 0, 30)
    log = [(r["money_log_type"], r["use_coins"]) for r in desk.rows("coin_log")["coin_log"]]
    assert log == [(1, 50), (2, 20)]


def test_a_cent_too_much_and_a_user_without_account_are_refused(desk_of: DeskOf) -> None:
    desk = desk_of(desks.BALANCE)
    before = desk.rows()
    short = "balance_short: user 1 has 1000 money available, 1001 were asked for"
    assert desk.refused("try", "freeze", _freeze(1001), "a") == short
    assert desk.refused("try", "freeze", _freeze(1, user_id=2), "b").startswith("no_account: ")
    assert desk.refused("try", "freeze_coins", _freeze(51), "c").startswith("balance_short: ")
    assert desk.rows() == before


@pytest.mark.parametrize("amount", [0, -1, 10**12 + 1])
def test_an_amount_that_is_no_amount_is_refused(desk_of: DeskOf, amount: int) -> None:
    desk = desk_of(desks.BALANCE)
    reason = desk.refused("try", "freeze", _freeze(amount))
    assert f"amount: {amount} is out of range; allowed: a whole number from 1 to" in reason


def test_no_more_is_refunded_than_was_spent_even_by_two_at_once(desk_of: DeskOf) -> None:
    desk = desk_of(desks.BALANCE)
    assert desk.refused("try", "refund", {"order_id": 7, "amount": 1}).startswith("not_charged")
    desk.through("freeze", _freeze(100), "a")
    desk.done("try", "refund", {"order_id": 7, "amount": 60}, "b")
    reason = desk.refused("try", "refund", {"order_id": 7, "amount": 41}, "c")
    assert reason == ("refund_too_large: order 7 has 40 left to refund, 41 were asked for")
    desk.through("refund", {"order_id": 7, "amount": 40}, "d")
    desk.done("confirm", "refund", {"order_id": 7, "amount": 60}, "b")
    assert _money(desk) == (1000, 0, 0)


def test_the_database_refuses_an_account_that_does_not_add_up(desk_of: DeskOf) -> None:
    desk = desk_of(desks.BALANCE)
    with pytest.raises(IntegrityError):
        desk.put("account", user_id=2, money_available_cents=1)
    with pytest.raises(IntegrityError):
        desk.put("account", user_id=2, coins_available=-1, coins_deposited=-1)


# ---------------------------------------------------------------- order


def test_an_order_is_seen_once_it_is_confirmed(desk_of: DeskOf) -> None:
    desk = desk_of(desks.ORDER)
    desk.done("try", "create", desks.an_order())
    row = desk.one("orders")
    assert (row["status"], row["status_ex"], row["visible"]) == (0, 1, 99)
    assert (row["price_cents"], row["pay_amount_cents"], row["quantity"]) == (1600, 500, 2)
    desk.done("confirm", "create", desks.an_order())
    row = desk.one("orders")
    assert (row["status"], row["status_ex"], row["visible"]) == (0, 0, 0)
    assert desk.one("item_order_ex")["now_price_cents"] == 800


def test_an_order_moves_only_as_it_legally_may(desk_of: DeskOf) -> None:
    desk = desk_of(desks.ORDER)
    pay, end = {"order_id": 7, "pay_id": 70}, {"order_id": 7, "reason": "no"}
    assert desk.refused("try", "pay", pay, "a").startswith("unknown_order: ")
    desk.done("try", "create", desks.an_order(), "b")
    assert desk.refused("try", "pay", pay, "c").startswith("unknown_order: ")
    desk.done("confirm", "create", desks.an_order(), "b")
    assert desk.refused("try", "close", end, "d").startswith("illegal_close: order 7 is CREATED")
    desk.done("try", "pay", pay, "e")
    assert desk.refused("try", "cancel", end, "f") == "order_busy: order 7 is PAYING"
    desk.done("confirm", "pay", pay, "e")
    assert desk.one("orders")["status"] == 2
    assert desk.one("orders")["pay_id"] == 70
    assert desk.refused("try", "pay", pay, "g").startswith("illegal_pay: order 7 is PAID")
    assert desk.refused("try", "cancel", end, "h").startswith("illegal_cancel: order 7 is PAID")
    desk.through("close", end, "i")
    assert desk.one("orders")["status"] == 5
    log = desk.rows("order_operate_log")["order_operate_log"]
    assert [row["operate_type"] for row in log] == ["create", "pay", "close"]
    assert '"status": "PAID"' in log[-1]["before"]
    assert '"status": "CLOSED"' in log[-1]["after"]


def test_refunds_of_an_order_come_one_after_the_other_up_to_what_was_paid(
    desk_of: DeskOf,
) -> None:
    desk = desk_of(desks.ORDER)
    desk.through("create", desks.an_order(), "a")
    refund = {"order_id": 7, "amount_cents": 1000}
    assert desk.refused("try", "refund", refund, "b").startswith("illegal_refund: ")
    desk.through("pay", {"order_id": 7, "pay_id": 70}, "c")
    desk.done("try", "refund", refund, "d")
    small = {"order_id": 7, "amount_cents": 1}
    assert desk.refused("try", "refund", small, "e") == "order_busy: order 7 is REFUNDING"
    desk.done("confirm", "refund", refund, "d")
    assert desk.one("orders")["reverse_status"] == 4
    assert "100 cents not refunded" in desk.refused("try", "refund", refund, "f")
    desk.through("refund", {"order_id": 7, "amount_cents": 100}, "g")
    assert desk.one("orders")["refunded_cents"] == 1100


def test_too_many_pieces_blocked_buyers_and_taken_numbers_are_refused(desk_of: DeskOf) -> None:
    desk = desk_of(desks.ORDER)
    many = desks.an_order(quantity=101)
    assert desk.refused("try", "create", many, "a") == (
        "order_limit: 101 pieces; one order may have 100 at most"
    )
    blocked = desks.an_order(buyer=13)
    assert desk.refused("try", "create", blocked, "b") == (
        "buyer_blocked: user 13 (returned bricks)"
    )
    desk.done("try", "create", desks.an_order(quantity=100), "c")
    assert desk.refused("try", "create", desks.an_order(), "d").startswith("order_exists: ")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"items": []}, "items (how many): 0 is out of range"),
        ({"money_paid_cents": 1101}, "coupon and balance are 1 more than the price"),
        ({"money_paid_cents": -1}, "money_paid_cents: -1 is out of range"),
        ({"promotion_amount_cents": -1}, "promotion_amount_cents: -1 is out of range"),
        ({"coupon_id": 0}, "coupon_id: 0 is out of range"),
        ({"buyer_user_id": 0}, "buyer_user_id: 0 is out of range"),
    ],
)
def test_an_order_that_is_wrong_in_itself_is_refused(
    desk_of: DeskOf, change: dict[str, Any], said: str
) -> None:
    desk = desk_of(desks.ORDER)
    assert said in desk.refused("try", "create", desks.an_order() | change)


# ---------------------------------------------------------------- member and notification


def test_points_are_added_once_for_each_order(desk_of: DeskOf) -> None:
    desk = desk_of(desks.MEMBER)
    request = {"order_id": 7, "user_id": 1, "points": 11, "growth": 10}
    for _ in range(2):
        assert isinstance(desk.ask("deliver", "add_points", request, "a", Kind.MESSAGE), Ok)
    other = request | {"order_id": 8}
    assert isinstance(desk.ask("deliver", "add_points", other, "b", Kind.MESSAGE), Ok)
    assert desk.one("member") == {"user_id": 1, "points": 22, "growth": 20}
    assert len(desk.rows("points_log")["points_log"]) == 2
    again = desk.ask("deliver", "add_points", request, "c", Kind.MESSAGE)
    assert not isinstance(again, Ok)
    assert desk.one("member")["points"] == 22


@pytest.mark.parametrize(
    ("decision", "said"),
    [(Decision.CONFIRM, "has been placed"), (Decision.CANCEL, "could not be placed")],
)
def test_the_short_message_fits_the_decision_and_is_sent_once(
    desk_of: DeskOf, decision: Decision, said: str
) -> None:
    desk = desk_of(desks.NOTIFICATION)
    for _ in range(2):
        desk.ask("deliver", "send", {"order_id": 7, "user_id": 1}, "a", Kind.NOTICE, decision)
    assert said in desk.one("sent_log")["text"]
