"""What may be asked of the member participant."""

from dataclasses import dataclass

from trypact_shop import checks


@dataclass(frozen=True, slots=True)
class AddPointsRequest:
    """Add the points and the growth that a user earned by an order."""

    order_id: int
    user_id: int
    points: int
    growth: int

    def __post_init__(self) -> None:
        checks.identity("order_id", self.order_id)
        checks.identity("user_id", self.user_id)
        checks.whole("points", self.points, 0, checks.CENTS_MAX)
        checks.whole("growth", self.growth, 0, checks.CENTS_MAX)
