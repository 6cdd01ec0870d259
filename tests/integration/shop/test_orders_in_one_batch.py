"""What comes of orders that arrive together: the same as if they had come one after another."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from trypact import Kind
from trypact.call import Ok, Refused
from trypact.fence.contract import ALONE

from tests.integration.shop import desks
from tests.integration.shop.desk import Desk
from tests.integration.shop.desks import Setting

DeskOf = Callable[[Setting], Desk]
Requests = dict[str, Any]


def _reserve(order_id: int, *lines: tuple[int, int]) -> dict[str, Any]:
    wanted = [{"sku_id": sku_id, "quantity": quantity} for sku_id, quantity in lines]
    return {"order_id": order_id, "lines": wanted}


def test_of_two_orders_in_one_batch_exactly_one_gets_the_last_piece(desk_of: DeskOf) -> None:
    desk = desk_of(desks.INVENTORY)
    orders = {"a": _reserve(1, (1, 6)), "b": _reserve(2, (1, 1)), "c": _reserve(3, (1, 1))}

    said = desk.ask_together("try", "reserve", orders)

    assert isinstance(said["a"], Ok)
    assert isinstance(said["b"], Ok)
    assert said["c"] == Refused("out_of_stock: sku 1 has 0 left, 1 were asked for")
    stock = [row for row in desk.rows("stock")["stock"] if row["sku_id"] == 1]
    assert sum(row["available"] for row in stock) == 0
    assert sum(row["reserved"] for row in stock) == 7


def test_an_order_that_is_refused_takes_nothing_from_those_behind_it(desk_of: DeskOf) -> None:
    desk = desk_of(desks.INVENTORY)
    orders = {"a": _reserve(1, (1, 7), (2, 11)), "b": _reserve(2, (1, 7)), "c": _reserve(2, (2, 1))}

    said = desk.ask_together("try", "reserve", orders)

    assert said["a"] == Refused("out_of_stock: sku 2 has 10 left, 11 were asked for")
    assert isinstance(said["b"], Ok)
    assert said["c"] == Refused("already_reserved: order 2 has a stock work order")


def test_one_that_somebody_changed_by_hand_makes_the_others_run_alone(desk_of: DeskOf) -> None:
    desk = desk_of(desks.INVENTORY)
    orders = {"a": _reserve(1, (1, 2)), "b": _reserve(2, (2, 2))}
    desk.ask_together("try", "reserve", orders)
    with desk.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE stock SET reserved = 0, total = available WHERE sku_id = 2"
        )

    assert desk.ask_together("cancel", "reserve", orders) == {"a": ALONE, "b": ALONE}
    assert desk.ask("cancel", "reserve", orders["a"], "a") == Ok()
    assert "sku 2 in warehouse 1" in desk.refused("cancel", "reserve", orders["b"], "b")


def test_points_of_several_orders_add_up_and_no_order_earns_twice(desk_of: DeskOf) -> None:
    desk = desk_of(desks.MEMBER)

    def deliver(*orders: tuple[str, int, int]) -> list[Any]:
        requests = {
            xid: {"order_id": order_id, "user_id": user_id, "points": 5, "growth": 3}
            for xid, order_id, user_id in orders
        }
        return list(desk.ask_together("deliver", "add_points", requests, Kind.MESSAGE).values())

    first = deliver(("a", 1, 7), ("b", 2, 7), ("c", 2, 7), ("d", 3, 8))
    second = deliver(("e", 4, 7), ("f", 5, 9))

    refused = Refused("already_earned: order 2 has earned its points")
    assert first == [Ok(), Ok(), refused, Ok()]
    assert second == [Ok(), Ok()]
    earned = {
        row["user_id"]: (row["points"], row["growth"]) for row in desk.rows("member")["member"]
    }
    assert earned == {7: (15, 9), 8: (5, 3), 9: (5, 3)}


@dataclass(frozen=True)
class Mix:
    """An action, and a way to make up requests for it that compete with each other."""

    verb: str
    desk: Setting
    request: Callable[[random.Random], dict[str, Any]]

    def __str__(self) -> str:
        return f"{self.desk.name}.{self.verb}"


MIXES = [
    Mix(
        "reserve",
        desks.INVENTORY,
        lambda chance: (
            _reserve(
                chance.randint(1, 30),
                *((sku_id, chance.randint(1, 3)) for sku_id in chance.sample((1, 2, 3), 2)),
            )
            if chance.random() < 0.2
            else _reserve(chance.randint(1, 30), (chance.choice((1, 2)), chance.randint(1, 3)))
        ),
    ),
    Mix(
        "use",
        desks.COUPON,
        lambda chance: {
            "order_id": chance.randint(1, 30),
            "user_id": chance.choice((1, 1, 1, 2)),
            "coupon_id": chance.choice((11, 12, 13)),
        },
    ),
    *(
        Mix(
            verb,
            desks.BALANCE,
            lambda chance: {
                "order_id": chance.randint(1, 30),
                "user_id": chance.choice((1, 1, 1, 2)),
                "amount": chance.randint(1, 30),
            },
        )
        for verb in ("freeze", "freeze_coins")
    ),
    Mix(
        "create",
        desks.ORDER,
        lambda chance: (
            desks.an_order(
                chance.randint(1, 30), chance.choice((1, 1, 13)), chance.choice((1, 2, 101))
            )
            | {"promotion_amount_cents": 0, "money_paid_cents": 0}
        ),
    ),
]


def _kept(desk: Desk) -> dict[str, list[str]]:
    """All rows, but for when they were written and how they are numbered."""
    return {
        table: sorted(
            str({key: row[key] for key in row if key != "id" and not key.endswith("_time")})
            for row in rows
        )
        for table, rows in desk.rows().items()
    }


def _asked(desk: Desk, mix: Mix, seed: int, together: bool) -> list[Any]:
    """Try a mix of orders, then confirm some of those that went well and cancel the others."""
    desk.clear()
    mix.desk.fill(desk)
    chance = random.Random(seed)
    requests = {f"x{number:02}": mix.request(chance) for number in range(12)}

    def ask(operation: str, chosen: Requests) -> dict[str, Any]:
        if together:
            return desk.ask_together(operation, mix.verb, chosen)
        return {xid: desk.ask(operation, mix.verb, chosen[xid], xid) for xid in chosen}

    tried = ask("try", requests)
    done = {xid: requests[xid] for xid in requests if isinstance(tried[xid], Ok)}
    confirmed = {xid: done[xid] for xid in done if chance.random() < 0.5}
    cancelled = {xid: done[xid] for xid in done if xid not in confirmed}
    return [tried, ask("confirm", confirmed), ask("cancel", cancelled), ask("try", requests)]


@pytest.mark.parametrize("mix", MIXES, ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_orders_in_one_batch_end_as_they_would_one_by_one(
    desk_of: DeskOf, mix: Mix, seed: int
) -> None:
    desk = desk_of(mix.desk)

    alone = _asked(desk, mix, seed, together=False), _kept(desk)
    together = _asked(desk, mix, seed, together=True), _kept(desk)

    assert together == alone
    assert any(isinstance(said, Ok) for said in alone[0][0].values())
    assert any(isinstance(said, Refused) for said in alone[0][0].values())
