"""A desk for each participant of the shop, with the world that its tests start from."""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import MetaData
from trypact import Participant
from trypact.fence import Fence
from trypact_shop.balance import actions as balance_actions
from trypact_shop.balance import tables as balance_tables
from trypact_shop.coupon import actions as coupon_actions
from trypact_shop.coupon import tables as coupon_tables
from trypact_shop.inventory import actions as inventory_actions
from trypact_shop.inventory import tables as inventory_tables
from trypact_shop.member import actions as member_actions
from trypact_shop.member import tables as member_tables
from trypact_shop.notification import actions as notification_actions
from trypact_shop.notification import tables as notification_tables
from trypact_shop.order import actions as order_actions
from trypact_shop.order import tables as order_tables

from tests.integration.shop.desk import Desk


@dataclass(frozen=True)
class Setting:
    """A participant, and the world that its tests start from."""

    name: str
    tables: MetaData
    participant: Callable[[Fence], Participant]
    fill: Callable[[Desk], None]

    def open(self, url: str) -> Desk:
        return Desk(url, self.tables, self.participant)


def _fill_inventory(desk: Desk) -> None:
    for sku_id in (1, 2):
        desk.put("goods", sku_id=sku_id, goods_name="tea", list_price_cents=900, price_cents=800)
    for sku_id, warehouse_id, pieces in ((1, 1, 3), (1, 2, 4), (2, 1, 10)):
        desk.put("stock", sku_id=sku_id, warehouse_id=warehouse_id, available=pieces, total=pieces)


def _fill_coupon(desk: Desk) -> None:
    for coupon_id in (11, 12):
        desk.put("coupon", coupon_id=coupon_id, coupon_price_cents=500, user_id=1)


def _fill_balance(desk: Desk) -> None:
    desk.put(
        "account",
        user_id=1,
        money_available_cents=1000,
        money_deposited_cents=1000,
        coins_available=50,
        coins_deposited=50,
    )


def _fill_order(desk: Desk) -> None:
    desk.put("blocked_buyer", user_id=13, reason="returned bricks")


# Sku 1: 3 and 4 pieces in two warehouses; sku 2: 10 pieces.
INVENTORY = Setting(
    "inventory", inventory_tables.metadata, inventory_actions.participant, _fill_inventory
)
# Coupons 11 and 12 of user 1.
COUPON = Setting("coupon", coupon_tables.metadata, coupon_actions.participant, _fill_coupon)
# User 1 with 10.00 and 50 coins.
BALANCE = Setting("balance", balance_tables.metadata, balance_actions.participant, _fill_balance)
# No orders; user 13 is blocked.
ORDER = Setting("order", order_tables.metadata, order_actions.participant, _fill_order)
MEMBER = Setting("member", member_tables.metadata, member_actions.participant, lambda desk: None)
NOTIFICATION = Setting(
    "notification",
    notification_tables.metadata,
    notification_actions.participant,
    lambda desk: None,
)


def an_order(order_id: int = 7, buyer: int = 1, quantity: int = 2) -> dict[str, object]:
    """A request for order.create: two pieces for 8.00 each, 5.00 off, 6.00 from the balance."""
    item = {
        "sku_id": 1,
        "title": "tea",
        "quantity": quantity,
        "price_cents": 900,
        "now_price_cents": 800,
    }
    return {
        "order_id": order_id,
        "buyer_user_id": buyer,
        "items": [item],
        "promotion_amount_cents": 500,
        "money_paid_cents": 600,
        "coupon_id": 11,
    }
