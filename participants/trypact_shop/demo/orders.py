"""The orders that the demo's buyers place: the same ones in every run."""

from collections import Counter
from dataclasses import dataclass, field

import grpc

from trypact_shop import seed
from trypact_shop.demo.world import DemoFailed, World, until
from trypact_shop.v1 import order_pb2

# A buyer who is blocked, and has money and coupons all the same.
BLOCKED_BUYER = 1_000
# How long one order may take, crashes included, in seconds.
PATIENCE = 60.0
_CALL_TIMEOUT = 20.0

_TEA, _CUP, _TRAY, _KETTLE, _SIGNED = 1002, 1003, 1004, 1005, 1006
_UNCERTAIN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def planned(count: int, buyers: int) -> list[order_pb2.SubmitOrderRequest]:
    """Return orders of all kinds; some of them must be refused, each by another participant."""
    # Shifted in every round of kinds, so that every buyer meets every kind.
    return [
        _plan(number, (number + 3 * (number // 20)) % buyers + 1, buyers) for number in range(count)
    ]


def _plan(number: int, buyer: int, buyers: int) -> order_pb2.SubmitOrderRequest:
    request = order_pb2.SubmitOrderRequest(
        request_id=f"demo-{number}",
        buyer_user_id=buyer,
        form=(
            order_pb2.SUBMIT_FORM_INTERACTIVE if number % 5 == 4 else order_pb2.SUBMIT_FORM_ONE_SHOT
        ),
    )
    kind = number % 20
    if kind == 3:
        request.buyer_user_id = BLOCKED_BUYER
    own_coupons = {1: buyer * 100 + 1, 9: buyer * 100 + 2}
    if kind in own_coupons:
        # Free the first time, used the second.
        request.coupon_id = own_coupons[kind]
    if kind == 13:
        # Somebody else's.
        request.coupon_id = (buyer % buyers + 1) * 100 + 2
    if kind == 7:
        # More pieces than one order may have.
        request.lines.add(sku_id=_TEA, quantity=101)
    elif kind == 11:
        # There are five: the second who wants three comes too late.
        request.buyer_user_id = 1
        request.lines.add(sku_id=_SIGNED, quantity=3)
    elif kind == 17:
        # Every fourth buyer has too little money for it.
        request.buyer_user_id = 4 * (number // 20 % (buyers // 4) + 1)
        request.lines.add(sku_id=_KETTLE, quantity=6)
    else:
        request.lines.add(sku_id=_TEA, quantity=number % 3 + 1)
        if number % 2:
            request.lines.add(sku_id=_CUP, quantity=1)
        if number % 7 == 0:
            request.lines.add(sku_id=_TRAY, quantity=1)
    return request


def simple(name: str, buyer: int) -> order_pb2.SubmitOrderRequest:
    """Return an order that nobody has a reason to refuse."""
    request = order_pb2.SubmitOrderRequest(request_id=name, buyer_user_id=buyer)
    request.lines.add(sku_id=_TEA, quantity=1)
    return request


def place(world: World, request: order_pb2.SubmitOrderRequest) -> order_pb2.Order:
    """Place an order as a careful buyer does: no answer, the same request again.

    Raises DemoFailed when there is no answer in time, grpc.RpcError for anything but silence.
    """

    def ask() -> order_pb2.Order | None:
        try:
            return world.order.SubmitOrder(request, timeout=_CALL_TIMEOUT).order
        except grpc.RpcError as error:
            call: grpc.Call = error  # type: ignore[assignment]
            if call.code() in _UNCERTAIN:
                return None
            raise

    order = until(f"request {request.request_id} is answered", ask, PATIENCE)
    if order is None:
        raise DemoFailed(f"request {request.request_id} has no answer")
    return order


@dataclass
class Answers:
    """What the buyers were told."""

    orders: dict[str, order_pb2.Order] = field(default_factory=dict)

    def add(self, request: order_pb2.SubmitOrderRequest, order: order_pb2.Order) -> None:
        """Keep an answer."""
        self.orders[request.request_id] = order

    @property
    def confirmed(self) -> list[order_pb2.Order]:
        """Orders that were placed."""
        created = order_pb2.ORDER_STATUS_CREATED
        return [order for order in self.orders.values() if order.status == created]

    @property
    def refused(self) -> list[order_pb2.Order]:
        """Orders that were refused."""
        return [order for order in self.orders.values() if order.HasField("refusal")]

    def refusals(self) -> list[tuple[str, str, int]]:
        """Count refusals by (participant, code)."""
        counts = Counter((o.refusal.participant, o.refusal.code) for o in self.refused)
        return [(participant, code, n) for (participant, code), n in sorted(counts.items())]


def buyers_of(count: int) -> tuple[seed.Buyer, ...]:
    """Return the buyers, the blocked one among them."""
    blocked = seed.Buyer(BLOCKED_BUYER, 400_000, (BLOCKED_BUYER * 100 + 1,))
    return (*seed.buyers(count), blocked)
