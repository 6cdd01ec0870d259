"""What may be asked of the order participant."""

from dataclasses import dataclass

from trypact_shop import checks
from trypact_shop.errors import Invalid


@dataclass(frozen=True, slots=True)
class Item:
    """So many pieces of one sku, and what one piece costs."""

    sku_id: int
    title: str
    quantity: int
    price_cents: int
    now_price_cents: int

    def __post_init__(self) -> None:
        checks.identity("sku_id", self.sku_id)
        checks.text("title", self.title)
        checks.quantity("quantity", self.quantity)
        checks.cents("price_cents", self.price_cents, least=0)
        checks.cents("now_price_cents", self.now_price_cents, least=0)


@dataclass(frozen=True, slots=True)
class CreateRequest:
    """Create an order; the amounts must add up."""

    order_id: int
    buyer_user_id: int
    items: list[Item]
    # What the coupon takes off, what the balance pays; the rest is left to pay.
    promotion_amount_cents: int
    money_paid_cents: int
    coupon_id: int | None

    def __post_init__(self) -> None:
        checks.identity("order_id", self.order_id)
        checks.identity("buyer_user_id", self.buyer_user_id)
        checks.whole("items (how many)", len(self.items), 1, checks.LINES_MAX)
        checks.distinct("items.sku_id", [item.sku_id for item in self.items])
        checks.cents("promotion_amount_cents", self.promotion_amount_cents, least=0)
        checks.cents("money_paid_cents", self.money_paid_cents, least=0)
        if self.coupon_id is not None:
            checks.identity("coupon_id", self.coupon_id)
        if self.pay_amount_cents < 0:
            raise Invalid(
                "money_paid_cents",
                f"coupon and balance are {-self.pay_amount_cents} more than the price",
                "at most the price less the coupon",
            )

    @property
    def price_cents(self) -> int:
        """What the goods cost."""
        return sum(item.quantity * item.now_price_cents for item in self.items)

    @property
    def quantity(self) -> int:
        """How many pieces there are."""
        return sum(item.quantity for item in self.items)

    @property
    def pay_amount_cents(self) -> int:
        """What is left to pay."""
        return self.price_cents - self.promotion_amount_cents - self.money_paid_cents


@dataclass(frozen=True, slots=True)
class PayRequest:
    """Note that an order was paid."""

    order_id: int
    pay_id: int

    def __post_init__(self) -> None:
        checks.identity("order_id", self.order_id)
        checks.identity("pay_id", self.pay_id)


@dataclass(frozen=True, slots=True)
class EndRequest:
    """Cancel or close an order, with the reason."""

    order_id: int
    reason: str

    def __post_init__(self) -> None:
        checks.identity("order_id", self.order_id)
        checks.text("reason", self.reason)


@dataclass(frozen=True, slots=True)
class RefundRequest:
    """Note a refund of a part, or all, of what was paid for an order."""

    order_id: int
    amount_cents: int

    def __post_init__(self) -> None:
        checks.identity("order_id", self.order_id)
        checks.cents("amount_cents", self.amount_cents)
