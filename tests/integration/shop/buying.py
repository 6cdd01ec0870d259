"""A buyer at the running shop, and what the shop holds."""

import itertools
from typing import Any

from trypact_shop.demo import orders
from trypact_shop.demo.world import World, until
from trypact_shop.v1 import balance_pb2, coupon_pb2, inventory_pb2, member_pb2, order_pb2

_numbers = itertools.count(1)
TIMEOUT = 60.0


class Buyer:
    """A new user with 100.00, one coupon worth 5.00, and goods of his own at 8.00 to buy."""

    def __init__(self, world: World, pieces: int = 10, price_cents: int = 800) -> None:
        self.world = world
        self.number = next(_numbers)
        self.user_id = 5000 + self.number
        self.sku_id = 9000 + self.number
        self.coupon_id = 7000 + self.number
        world.inventory.AddStock(
            inventory_pb2.AddStockRequest(
                goods=inventory_pb2.Goods(
                    sku_id=self.sku_id,
                    goods_name="tea",
                    list_price_cents=900,
                    price_cents=price_cents,
                ),
                warehouse_id=1,
                quantity=pieces,
            ),
            timeout=TIMEOUT,
        )
        world.balance.Deposit(
            balance_pb2.DepositRequest(user_id=self.user_id, money_cents=10_000), timeout=TIMEOUT
        )
        world.coupon.IssueCoupon(
            coupon_pb2.IssueCouponRequest(
                coupon_id=self.coupon_id, user_id=self.user_id, coupon_price_cents=500
            ),
            timeout=TIMEOUT,
        )

    def request(self, quantity: int = 2, **fields: Any) -> order_pb2.SubmitOrderRequest:
        """A request to buy some of the goods with the coupon."""
        values: dict[str, Any] = {
            "request_id": f"r-{self.number}-{next(_numbers)}",
            "buyer_user_id": self.user_id,
            "coupon_id": self.coupon_id,
        }
        request = order_pb2.SubmitOrderRequest(**(values | fields))
        if not request.lines:
            request.lines.add(sku_id=self.sku_id, quantity=quantity)
        return request

    def submit(self, request: order_pb2.SubmitOrderRequest) -> order_pb2.Order:
        return self.world.order.SubmitOrder(request, timeout=TIMEOUT).order

    def submit_until_answered(self, request: order_pb2.SubmitOrderRequest) -> order_pb2.Order:
        """Submit, and again while nobody can say how it ends."""
        return orders.place(self.world, request)

    def stock(self) -> tuple[int, int, int]:
        """(available, reserved, undecided) of the goods."""
        query = inventory_pb2.GetStockRequest(sku_ids=[self.sku_id])
        (row,) = self.world.inventory.GetStock(query, timeout=TIMEOUT).stocks
        return row.available, row.reserved, row.undecided

    def money(self) -> tuple[int, int, int]:
        """(available, frozen, spent) of the account."""
        query = balance_pb2.ListAccountsRequest(user_ids=[self.user_id])
        (row,) = self.world.balance.ListAccounts(query, timeout=TIMEOUT).accounts
        return row.money_available_cents, row.money_frozen_cents, row.money_spent_cents

    def coupon(self) -> tuple[str, int]:
        """(state, order) of the coupon."""
        query = coupon_pb2.GetCouponRequest(coupon_id=self.coupon_id)
        row = self.world.coupon.GetCoupon(query, timeout=TIMEOUT).coupon
        return coupon_pb2.CouponState.Name(row.state), row.order_id

    def holds_nothing(self) -> bool:
        """Whether everything is where it was before he bought anything."""
        return (self.stock()[1:], self.money(), self.coupon()) == (
            (0, 0),
            (10_000, 0, 0),
            ("COUPON_STATE_FREE", 0),
        )

    def points(self) -> member_pb2.GetPointsTotalsResponse:
        """His points, once there are some."""

        def earned() -> member_pb2.GetPointsTotalsResponse | None:
            query = member_pb2.GetPointsTotalsRequest(user_id=self.user_id)
            found = self.world.member.GetPointsTotals(query, timeout=TIMEOUT)
            return found if found.deliveries else None

        found = until("points arrive", earned, TIMEOUT)
        assert found is not None
        return found
