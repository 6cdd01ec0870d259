"""What can be sold of some goods, warehouse by warehouse, while orders are taking from it."""

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, select
from trypact import Refuse

from trypact_shop.inventory.requests import Held, Line
from trypact_shop.inventory.tables import stock


class Shelves:
    """The sellable pieces of some goods, locked in the database and counted in memory.

    What is taken here is not written here.
    """

    def __init__(self, connection: Connection, sku_ids: Iterable[int]) -> None:
        # sku -> warehouse -> pieces, both in the order in which they are locked.
        self._pieces: dict[int, dict[int, int]] = {}
        rows = connection.execute(
            select(stock.c.sku_id, stock.c.warehouse_id, stock.c.available)
            .where(stock.c.sku_id.in_(sorted(sku_ids)))
            .order_by(stock.c.sku_id, stock.c.warehouse_id)
            .with_for_update()
        )
        for row in rows:
            self._pieces.setdefault(row.sku_id, {})[row.warehouse_id] = row.available

    def take(self, lines: Sequence[Line]) -> list[Held]:
        """Take every line of an order, or nothing. Raises Refuse with the first that cannot be."""
        held = [part for line in sorted(lines, key=_sku) for part in self._find(line)]
        for part in held:
            self._pieces[part.sku_id][part.warehouse_id] -= part.quantity
        return held

    def _find(self, line: Line) -> list[Held]:
        """Find a line: in one warehouse if one has enough, else in as many as it takes."""
        pieces = self._pieces.get(line.sku_id)
        if pieces is None:
            raise Refuse(f"unknown_goods: sku {line.sku_id} is not stocked")
        sellable = sum(pieces.values())
        if sellable < line.quantity:
            raise Refuse(
                f"out_of_stock: sku {line.sku_id} has {sellable} left,"
                f" {line.quantity} were asked for"
            )
        whole = [warehouse for warehouse in pieces if pieces[warehouse] >= line.quantity]
        found, missing = [], line.quantity
        for warehouse in whole[:1] or pieces:
            taken = min(missing, pieces[warehouse])
            if taken > 0:
                found.append(Held(line.sku_id, warehouse, taken))
                missing -= taken
        return found


def _sku(line: Line) -> int:
    return line.sku_id
