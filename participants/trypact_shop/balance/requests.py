"""What may be asked of the balance participant. Amounts are cents, or coins."""

from dataclasses import dataclass

from trypact_shop import checks


@dataclass(frozen=True, slots=True)
class FreezeRequest:
    """Freeze an amount of a user's for an order."""

    order_id: int
    user_id: int
    amount: int

    def __post_init__(self) -> None:
        checks.identity("order_id", self.order_id)
        checks.identity("user_id", self.user_id)
        checks.cents("amount", self.amount)


@dataclass(frozen=True, slots=True)
class RefundRequest:
    """Give back a part, or all, of what an order was charged."""

    order_id: int
    amount: int

    def __post_init__(self) -> None:
        checks.identity("order_id", self.order_id)
        checks.cents("amount", self.amount)
