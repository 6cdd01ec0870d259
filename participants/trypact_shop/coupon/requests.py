"""What may be asked of the coupon participant."""

from dataclasses import dataclass

from trypact_shop import checks


@dataclass(frozen=True, slots=True)
class UseRequest:
    """Use a user's coupon for an order."""

    order_id: int
    user_id: int
    coupon_id: int

    def __post_init__(self) -> None:
        checks.identity("order_id", self.order_id)
        checks.identity("user_id", self.user_id)
        checks.identity("coupon_id", self.coupon_id)


@dataclass(frozen=True, slots=True)
class UseResult:
    """What the coupon takes off the order's price."""

    coupon_price_cents: int


@dataclass(frozen=True, slots=True)
class GiveBackRequest:
    """Give a used coupon back to its owner."""

    order_id: int
    coupon_id: int

    def __post_init__(self) -> None:
        checks.identity("order_id", self.order_id)
        checks.identity("coupon_id", self.coupon_id)
