"""What the inventory participant does for a transaction.

Each handler runs inside the fence's local transaction, so it runs once for each branch and
operation however often it is asked. Rows are always locked in the order (sku, warehouse).
"""

from typing import ClassVar

from sqlalchemy import Column, Connection, func, insert, select, update
from trypact import Call, Participant, Refuse
from trypact.fence import Fence

from trypact_shop.database import must_change
from trypact_shop.inventory.requests import (
    Held,
    Line,
    OrderStockRequest,
    ReserveRequest,
    ReserveResult,
)
from trypact_shop.inventory.tables import goods_log, stock, stock_work_detail, stock_work_order

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

    def try_(self, call: Call[ReserveRequest], connection: Connection) -> ReserveResult:
        """Freeze every line or refuse with the first that cannot be."""
        request = call.request
        taken = select(stock_work_order).where(stock_work_order.c.order_id == request.order_id)
        if connection.execute(taken).first() is not None:
            raise Refuse(f"already_reserved: order {request.order_id} has a stock work order")
        held = [
            part
            for line in sorted(request.lines, key=lambda line: line.sku_id)
            for part in _take(connection, line)
        ]
        connection.execute(insert(stock_work_order).values(order_id=request.order_id))
        for part in held:
            connection.execute(
                insert(stock_work_detail).values(
                    order_id=request.order_id,
                    sku_id=part.sku_id,
                    warehouse_id=part.warehouse_id,
                    quantity=part.quantity,
                    state="reserved",
                )
            )
            _log(connection, request.order_id, part, "reserve")
        return ReserveResult(held)

    def confirm(self, call: Call[ReserveRequest], connection: Connection) -> None:
        """Keep what was frozen for the order until it is paid or cancelled."""
        for part in _held(connection, call.request.order_id, "reserved"):
            _log(connection, call.request.order_id, part, "lock")
        _set_state(connection, call.request.order_id, "reserved", "locked")

    def cancel(self, call: Call[ReserveRequest], connection: Connection) -> None:
        """Make what was frozen sellable again."""
        for part in _held(connection, call.request.order_id, "reserved"):
            _move(connection, part, stock.c.reserved, stock.c.available)
            _log(connection, call.request.order_id, part, "give_back")
        _set_state(connection, call.request.order_id, "reserved", "released")


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
        _set_state(connection, order_id, self.before, self.during)

    def confirm(self, call: Call[OrderStockRequest], connection: Connection) -> None:
        """Move the pieces."""
        for part in _held(connection, call.request.order_id, self.during):
            _move(connection, part, self.source, self.target)
            _log(connection, call.request.order_id, part, self.movement)
        _set_state(connection, call.request.order_id, self.during, self.after)

    def cancel(self, call: Call[OrderStockRequest], connection: Connection) -> None:
        """Leave the pieces where they are."""
        _held(connection, call.request.order_id, self.during)
        _set_state(connection, call.request.order_id, self.during, self.before)


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


def _take(connection: Connection, line: Line) -> list[Held]:
    """Freeze a line: from one warehouse if one has enough, else from as many as it takes."""
    rows = connection.execute(
        select(stock.c.warehouse_id, stock.c.available)
        .where(stock.c.sku_id == line.sku_id)
        .order_by(stock.c.warehouse_id)
        .with_for_update()
    ).all()
    if not rows:
        raise Refuse(f"unknown_goods: sku {line.sku_id} is not stocked")
    sellable = sum(row.available for row in rows)
    if sellable < line.quantity:
        raise Refuse(
            f"out_of_stock: sku {line.sku_id} has {sellable} left, {line.quantity} were asked for"
        )
    whole = [row for row in rows if row.available >= line.quantity]
    held, missing = [], line.quantity
    for row in whole[:1] or rows:
        pieces = min(missing, row.available)
        if pieces > 0:
            part = Held(line.sku_id, row.warehouse_id, pieces)
            _move(connection, part, stock.c.available, stock.c.reserved)
            held.append(part)
            missing -= pieces
    return held


def _move(connection: Connection, part: Held, source: Column[int], target: Column[int]) -> None:
    moved = connection.execute(
        update(stock)
        .where(stock.c.sku_id == part.sku_id, stock.c.warehouse_id == part.warehouse_id)
        .where(source >= part.quantity)
        .values({source: source - part.quantity, target: target + part.quantity})
    )
    must_change(moved, 1, f"sku {part.sku_id} in warehouse {part.warehouse_id}")


def _held(connection: Connection, order_id: int, state: str) -> list[Held]:
    detail = stock_work_detail
    rows = connection.execute(
        select(detail.c.sku_id, detail.c.warehouse_id, detail.c.quantity)
        .where(detail.c.order_id == order_id, detail.c.state == state)
        .order_by(detail.c.sku_id, detail.c.warehouse_id)
    ).all()
    if not rows:
        raise Refuse(f"reservation_lost: no stock of order {order_id} is {state}")
    return [Held(row.sku_id, row.warehouse_id, row.quantity) for row in rows]


def _set_state(connection: Connection, order_id: int, before: str, after: str) -> None:
    connection.execute(
        update(stock_work_detail)
        .where(stock_work_detail.c.order_id == order_id, stock_work_detail.c.state == before)
        .values(state=after, update_time=func.now())
    )


def _log(connection: Connection, order_id: int, part: Held, movement: str) -> None:
    connection.execute(
        insert(goods_log).values(
            sku_id=part.sku_id,
            warehouse_id=part.warehouse_id,
            order_id=order_id,
            goods_number=part.quantity,
            movement=movement,
        )
    )
