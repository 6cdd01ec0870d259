"""A small assortment to try the shop with: goods in two warehouses, buyers, coupons."""

from dataclasses import dataclass

import grpc

from trypact_shop.v1 import (
    balance_pb2,
    balance_pb2_grpc,
    coupon_pb2,
    coupon_pb2_grpc,
    inventory_pb2,
    inventory_pb2_grpc,
)

TIMEOUT = 10.0


@dataclass(frozen=True)
class Goods:
    """Goods, and how many pieces of it are in each warehouse."""

    sku_id: int
    name: str
    list_price_cents: int
    price_cents: int
    pieces: tuple[int, int]


GOODS = (
    Goods(1001, "Teapot, cast iron", 8_900, 7_900, (60, 40)),
    Goods(1002, "Green tea, 250 g", 2_400, 1_950, (400, 300)),
    Goods(1003, "Cup, celadon", 1_600, 1_600, (250, 150)),
    Goods(1004, "Tea tray, bamboo", 4_500, 3_800, (120, 0)),
    Goods(1005, "Kettle, gooseneck", 12_900, 10_900, (30, 20)),
    # So few that it sells out.
    Goods(1006, "Teapot, Yixing, signed", 49_900, 45_000, (3, 2)),
)
WAREHOUSES = (1, 2)
COUPON_CENTS = 500
COINS = 1_000


@dataclass(frozen=True)
class Buyer:
    """A buyer, what he pays in, and his coupons."""

    user_id: int
    money_cents: int
    coupon_ids: tuple[int, ...]


def buyers(count: int) -> tuple[Buyer, ...]:
    """Return buyers 1 to `count`; every fourth one has less money, all have two coupons."""
    return tuple(
        Buyer(
            user_id=user_id,
            money_cents=60_000 if user_id % 4 == 0 else 400_000,
            coupon_ids=(user_id * 100 + 1, user_id * 100 + 2),
        )
        for user_id in range(1, count + 1)
    )


def stock_goods(inventory: grpc.Channel) -> None:
    """Stock all goods. Raises grpc.RpcError."""
    stub = inventory_pb2_grpc.InventoryServiceStub(inventory)
    for goods in GOODS:
        for warehouse_id, pieces in zip(WAREHOUSES, goods.pieces, strict=True):
            stub.AddStock(
                inventory_pb2.AddStockRequest(
                    goods=inventory_pb2.Goods(
                        sku_id=goods.sku_id,
                        goods_name=goods.name,
                        list_price_cents=goods.list_price_cents,
                        price_cents=goods.price_cents,
                    ),
                    warehouse_id=warehouse_id,
                    quantity=pieces,
                ),
                timeout=TIMEOUT,
            )


def open_account(balance: grpc.Channel, buyer: Buyer) -> None:
    """Pay in a buyer's money. Raises grpc.RpcError."""
    balance_pb2_grpc.BalanceServiceStub(balance).Deposit(
        balance_pb2.DepositRequest(
            user_id=buyer.user_id, money_cents=buyer.money_cents, coins=COINS
        ),
        timeout=TIMEOUT,
    )


def issue_coupons(coupon: grpc.Channel, buyer: Buyer) -> None:
    """Issue a buyer's coupons. Raises grpc.RpcError."""
    stub = coupon_pb2_grpc.CouponServiceStub(coupon)
    for coupon_id in buyer.coupon_ids:
        stub.IssueCoupon(
            coupon_pb2.IssueCouponRequest(
                coupon_id=coupon_id,
                user_id=buyer.user_id,
                coupon_price_cents=COUPON_CENTS,
            ),
            timeout=TIMEOUT,
        )
