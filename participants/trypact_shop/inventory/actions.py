"""What the inventory participant does for a transaction.

Each handler runs inside the fence's local transaction, so it runs once for each branch and
operation however often it is asked. Rows are always locked in the order (sku, warehouse). What
every order needs is done for all orders of a batch at once; what is rare, for one.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, ClassVar

from sqlalchemy import Column, Connection, bindparam, func, insert, select, update
from trypact import Call, Participant, Refuse, many
from trypact.fence import Fence

from trypact_shop.inventory.requests import (
    Held,
    OrderStockRequest,
    ReserveRequest,
    ReserveResult,
)
from trypact_shop.inventory.shelves import Shelves
from trypact_shop.inventory.tables import goods_log, stock, stock_work_detail, stock_work_order
from trypact_shop.sets import accepted, change_all, each, execute_all

# An order and what is held for it.
Reserved = tuple[int, list[Held]]

NAME = "inventory"


def participant(fence: Fence) -> Participant:
    """Return the participant with all its actions."""
    inventory = Participant(NAME, fence=fence)
    inventory.tcc("reserve", request=ReserveRequest)(Reserve)
    inventory.tcc("deduct", request=OrderStockRequest)(Deduct)
    inventory.tcc("release", request=OrderStockRequest)(Release)
    inventory.tcc("return", request=OrderStockRequest)(Return)
    return inventory


class Reserve:
    """Try moves sellable to frozen; Confirm locks it for the order; Cancel gives it back."""

    @many
    def try_(
        self, calls: Sequence[Call[ReserveRequest]], connection: Connection
    ) -> list[ReserveResult | Refuse]:
        """Freeze every line of an order or refuse it with the first that cannot be."""
        orders = [call.request.order_id for call in calls]
        order_id = stock_work_order.c.order_id
        known = set(connection.scalars(select(order_id).where(order_id.in_(orders))))
        shelves = Shelves(
            connection, {line.sku_id for call in calls for line in call.request.lines}
        )

        def reserve(request: ReserveRequest) -> ReserveResult:
            if request.order_id in known:
                raise Refuse(f"already_reserved: order {request.order_id} has a stock work order")
            held = shelves.take(request.lines)
            known.add(request.order_id)
            return ReserveResult(held)

        said = each(calls, reserve)
        reserved = [(request.order_id, result.held) for request, result in accepted(calls, said)]
        work_orders = ({"order_id": order_id} for order_id, _ in reserved)
        execute_all(connection, insert(stock_work_order), work_orders)
        execute_all(
            connection,
            insert(stock_work_detail),
            (
                {"order_id": order_id, "state": "reserved", **asdict(part)}
                for order_id, held in reserved
                for part in held
            ),
        )
        _move_all(connection, reserved, stock.c.available, stock.c.reserved)
        _log_all(connection, reserved, "reserve")
        return said

    @many
    def confirm(
        self, calls: Sequence[Call[ReserveRequest]], connection: Connection
    ) -> list[Refuse | None]:
        """Keep what was frozen for the orders until they are paid or cancelled."""
        said, held = _held_of_each(connection, calls, "reserved")
        _log_all(connection, held, "lock")
        _set_states(connection, [order_id for order_id, _ in held], "reserved", "locked")
        return said

    @many
    def cancel(
        self, calls: Sequence[Call[ReserveRequest]], connection: Connection
    ) -> list[Refuse | None]:
        """Make what was frozen sellable again."""
        said, held = _held_of_each(connection, calls, "reserved")
        _move_all(connection, held, stock.c.reserved, stock.c.available)
        _log_all(connection, held, "give_back")
        _set_states(connection, [order_id for order_id, _ in held], "reserved", "released")
        return said


class _MoveHeld:
    """Moves all that is held for an order: Try marks it, Confirm moves it, Cancel unmarks it."""

    before: ClassVar[str]
    during: ClassVar[str]
    after: ClassVar[str]
    movement: ClassVar[str]
    source: ClassVar[Column[int]]
    target: ClassVar[Column[int]]

    def try_(self, call: Call[OrderStockRequest], connection: Connection) -> None:
        """Mark the order's stock, or refuse if not all of it is as it must be."""
        order_id = call.request.order_id
        query = select(stock_work_detail.c.state).where(stock_work_detail.c.order_id == order_id)
        states = set(connection.scalars(query.with_for_update()))
        if not states:
            raise Refuse(f"nothing_held: no stock is held for order {order_id}")
        if states != {self.before}:
            raise Refuse(
                f"not_{self.before}: the stock of order {order_id} is {', '.join(sorted(states))}"
            )
        _set_states(connection, [order_id], self.before, self.during)

    def confirm(self, call: Call[OrderStockRequest], connection: Connection) -> None:
        """Move the pieces."""
        order_id = call.request.order_id
        held = [(order_id, _held(connection, order_id, self.during))]
        _move_all(connection, held, self.source, self.target)
        _log_all(connection, held, self.movement)
        _set_states(connection, [order_id], self.during, self.after)

    def cancel(self, call: Call[OrderStockRequest], connection: Connection) -> None:
        """Leave the pieces where they are."""
        order_id = call.request.order_id
        _held(connection, order_id, self.during)
        _set_states(connection, [order_id], self.during, self.before)


class Deduct(_MoveHeld):
    """On payment: frozen to sold."""

    before, during, after, movement = "locked", "deducting", "deducted", "deduct"
    source, target = stock.c.reserved, stock.c.sold


class Release(_MoveHeld):
    """An order cancelled before payment: frozen to sellable."""

    before, during, after, movement = "locked", "releasing", "released", "release"
    source, target = stock.c.reserved, stock.c.available


class Return(_MoveHeld):
    """A paid order that was sent back or never shipped: sold to sellable."""

    before, during, after, movement = "deducted", "returning", "returned", "return"
    source, target = stock.c.sold, stock.c.available


def _held(connection: Connection, order_id: int, state: str) -> list[Held]:
    held = _held_of(connection, [order_id], state).get(order_id)
    if held is None:
        raise _lost(order_id, state)
    return held


def _held_of(connection: Connection, orders: list[int], state: str) -> dict[int, list[Held]]:
    """Return what is held for those of the orders whose pieces are in that state."""
    detail = stock_work_detail.c
    rows = connection.execute(
        select(detail.order_id, detail.sku_id, detail.warehouse_id, detail.quantity)
        .where(detail.order_id.in_(orders), detail.state == state)
        .order_by(detail.order_id, detail.sku_id, detail.warehouse_id)
    )
    held: dict[int, list[Held]] = {}
    for row in rows:
        held.setdefault(row.order_id, []).append(Held(row.sku_id, row.warehouse_id, row.quantity))
    return held


def _held_of_each(
    connection: Connection, calls: Sequence[Call[ReserveRequest]], state: str
) -> tuple[list[Refuse | None], list[Reserved]]:
    """Return an answer for each call, and what is held for those that are not refused."""
    found = _held_of(connection, [call.request.order_id for call in calls], state)

    def settle(request: ReserveRequest) -> None:
        if request.order_id not in found:
            raise _lost(request.order_id, state)

    return each(calls, settle), list(found.items())


def _lost(order_id: int, state: str) -> Refuse:
    return Refuse(f"reservation_lost: no stock of order {order_id} is {state}")


def _move_all(
    connection: Connection, held: list[Reserved], source: Column[int], target: Column[int]
) -> None:
    """Move everybody's pieces, place by place in one order."""
    pieces: Counter[tuple[int, int]] = Counter()
    for _, parts in held:
        for part in parts:
            pieces[part.sku_id, part.warehouse_id] += part.quantity
    moved: Any = bindparam("moved", type_=source.type)
    move = (
        update(stock)
        .where(stock.c.sku_id == bindparam("sku"), stock.c.warehouse_id == bindparam("warehouse"))
        .where(source >= moved)
        .values({source: source - moved, target: target + moved})
    )
    places = (
        {"sku": sku_id, "warehouse": warehouse_id, "moved": quantity}
        for (sku_id, warehouse_id), quantity in sorted(pieces.items())
    )
    change_all(
        connection, move, places, lambda place: "sku {sku} in warehouse {warehouse}".format(**place)
    )


def _set_states(connection: Connection, orders: list[int], before: str, after: str) -> None:
    connection.execute(
        update(stock_work_detail)
        .where(stock_work_detail.c.order_id.in_(orders), stock_work_detail.c.state == before)
        .values(state=after, update_time=func.now())
    )


def _log_all(connection: Connection, held: list[Reserved], movement: str) -> None:
    rows = (
        {
            "sku_id": part.sku_id,
            "warehouse_id": part.warehouse_id,
            "order_id": order_id,
            "goods_number": part.quantity,
            "movement": movement,
        }
        for order_id, parts in held
        for part in parts
    )
    execute_all(connection, insert(goods_log), rows)
