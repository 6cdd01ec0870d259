"""What may be asked of the inventory participant."""

from dataclasses import dataclass

from trypact_shop import checks


@dataclass(frozen=True, slots=True)
class Line:
    """So many pieces of one sku."""

    sku_id: int
    quantity: int

    def __post_init__(self) -> None:
        checks.identity("sku_id", self.sku_id)
        checks.quantity("quantity", self.quantity)


@dataclass(frozen=True, slots=True)
class ReserveRequest:
    """Freeze these pieces for an order; all of them or none."""

    order_id: int
    lines: list[Line]

    def __post_init__(self) -> None:
        checks.identity("order_id", self.order_id)
        checks.whole("lines (how many)", len(self.lines), 1, checks.LINES_MAX)
        checks.distinct("lines.sku_id", [line.sku_id for line in self.lines])


@dataclass(frozen=True, slots=True)
class Held:
    """Pieces held for an order in one warehouse."""

    sku_id: int
    warehouse_id: int
    quantity: int


@dataclass(frozen=True, slots=True)
class ReserveResult:
    """From which warehouses the pieces will come."""

    held: list[Held]


@dataclass(frozen=True, slots=True)
class OrderStockRequest:
    """Move everything that is held for an order."""

    order_id: int

    def __post_init__(self) -> None:
        checks.identity("order_id", self.order_id)
