"""Looks goods and coupons up at their participants."""

from collections.abc import Sequence

import grpc
from grpc.aio import AioRpcError, Channel

from trypact_shop.errors import NotAnswering, NotFound, ShopError
from trypact_shop.inventory.requests import Line
from trypact_shop.order.requests import Item
from trypact_shop.v1 import coupon_pb2, coupon_pb2_grpc, inventory_pb2, inventory_pb2_grpc

# How long a look-up may take, in seconds.
TIMEOUT = 5.0


class GrpcPrices:
    """`Prices` over gRPC."""

    def __init__(self, inventory: Channel, coupon: Channel) -> None:
        self._inventory = inventory_pb2_grpc.InventoryServiceStub(inventory)
        self._coupon = coupon_pb2_grpc.CouponServiceStub(coupon)

    async def items(self, lines: Sequence[Line]) -> list[Item]:
        """Return goods with their prices. Raises NotFound, or NotAnswering."""
        request = inventory_pb2.GetGoodsRequest(sku_ids=[line.sku_id for line in lines])
        try:
            response = await self._inventory.GetGoods(request, timeout=TIMEOUT)
        except AioRpcError as error:
            raise _told("inventory", error) from None
        return [
            Item(
                sku_id=goods.sku_id,
                title=goods.goods_name,
                quantity=line.quantity,
                price_cents=goods.list_price_cents,
                now_price_cents=goods.price_cents,
            )
            for line, goods in zip(lines, response.goods, strict=True)
        ]

    async def coupon_price_cents(self, coupon_id: int) -> int:
        """Return what a coupon takes off. Raises NotFound, or NotAnswering."""
        request = coupon_pb2.GetCouponRequest(coupon_id=coupon_id)
        try:
            response = await self._coupon.GetCoupon(request, timeout=TIMEOUT)
        except AioRpcError as error:
            raise _told("coupon", error) from None
        return response.coupon.coupon_price_cents


def _told(participant: str, error: AioRpcError) -> ShopError:
    if error.code() is grpc.StatusCode.NOT_FOUND:
        return NotFound(error.details() or f"{participant}: not found")
    return NotAnswering(f"{participant} does not answer: {error.details() or error.code().name}")
