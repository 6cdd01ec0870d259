"""What may be asked of the notification participant."""

from dataclasses import dataclass

from trypact_shop import checks


@dataclass(frozen=True, slots=True)
class SendRequest:
    """Tell a user how an order ended."""

    order_id: int
    user_id: int

    def __post_init__(self) -> None:
        checks.identity("order_id", self.order_id)
        checks.identity("user_id", self.user_id)
