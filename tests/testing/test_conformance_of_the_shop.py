"""The shop's own participants are examined, as its users would examine theirs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from trypact.testing import conformance

from tests.integration.shop import desks
from tests.integration.shop.desk import Desk
from tests.integration.shop.desks import Setting

# Coupons for as many branches as an examination confirms or has open.
COUPONS = 200


@dataclass(frozen=True)
class Stand:
    """An action of the shop, and what is needed to examine it."""

    setting: Setting
    verb: str
    payload: Callable[[int], dict[str, Any]]
    # The tables that hold what its branches set aside or use.
    watched: tuple[str, ...] = ()
    refused: Callable[[int], dict[str, Any]] | None = None

    def __str__(self) -> str:
        return f"{self.setting.name}.{self.verb}"


def lines(quantity: int) -> list[dict[str, int]]:
    return [{"sku_id": 2, "quantity": quantity}]


STANDS = [
    Stand(
        desks.INVENTORY,
        "reserve",
        lambda n: {"order_id": n, "lines": lines(1)},
        ("stock",),
        lambda n: {"order_id": n, "lines": lines(1_000)},
    ),
    Stand(
        desks.BALANCE,
        "freeze",
        lambda n: {"order_id": n, "user_id": 1, "amount": 1},
        ("account",),
        lambda n: {"order_id": n, "user_id": 1, "amount": 10_000},
    ),
    Stand(
        desks.COUPON,
        "use",
        lambda n: {"order_id": n, "user_id": 1, "coupon_id": 100 + n},
        ("coupon",),
        lambda n: {"order_id": n, "user_id": 1, "coupon_id": 9_999},
    ),
    Stand(
        desks.ORDER,
        "create",
        desks.an_order,
        (),
        lambda n: desks.an_order(n, buyer=13),
    ),
    Stand(
        desks.MEMBER,
        "add_points",
        lambda n: {"order_id": n, "user_id": 1, "points": 3, "growth": 1},
        ("member",),
    ),
    Stand(desks.NOTIFICATION, "send", lambda n: {"order_id": n, "user_id": 1}),
]


@pytest.mark.parametrize("stand", STANDS, ids=str)
async def test_a_participant_of_the_shop_passes_every_case(stand: Stand, tmp_path: Path) -> None:
    desk: Desk = stand.setting.open(f"sqlite:///{tmp_path}/shop.db")
    stand.setting.fill(desk)
    if stand.setting is desks.COUPON:
        for number in range(COUPONS):
            desk.put("coupon", coupon_id=100 + number, coupon_price_cents=500, user_id=1)

    report = await conformance(
        lambda: desk.participant,
        f"{stand.setting.name}.{stand.verb}",
        stand.payload,
        refused=stand.refused,
        probe=(lambda: desk.rows(*stand.watched)) if stand.watched else None,
    )
    desk.close()

    assert report.passed
