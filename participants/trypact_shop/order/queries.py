"""Reads orders back, in the form people are shown them."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, and_, case, func, insert, literal, select, update

from trypact_shop import checks
from trypact_shop.errors import Invalid, NotFound
from trypact_shop.order.submission import xid_of
from trypact_shop.order.tables import (
    Status,
    StatusEx,
    Visible,
    blocked_buyer,
    item_order_ex,
    order_submission,
    orders,
)
from trypact_shop.v1 import order_pb2

PAGE_SIZE_MAX = 200
_PAGE_SIZE_DEFAULT = 50

_STATUSES = {
    Status.CREATED: order_pb2.ORDER_STATUS_CREATED,
    Status.CANCELLED: order_pb2.ORDER_STATUS_CANCELLED,
    Status.PAID: order_pb2.ORDER_STATUS_PAID,
    Status.SHIPPED: order_pb2.ORDER_STATUS_SHIPPED,
    Status.RECEIVED: order_pb2.ORDER_STATUS_RECEIVED,
    Status.CLOSED: order_pb2.ORDER_STATUS_CLOSED,
    Status.COMPLETED: order_pb2.ORDER_STATUS_COMPLETED,
}

# An order that was never refused nor created is pending.
_submissions = select(
    order_submission.c.order_id.label("number"),
    order_submission.c.buyer_user_id.label("buyer"),
    order_submission.c.refused_by,
    order_submission.c.refused_reason,
    orders,
).outerjoin(orders, orders.c.order_id == order_submission.c.order_id)


def get_order(connection: Connection, order_id: int) -> order_pb2.Order:
    """Return one order. Raises NotFound for a number that was never given."""
    query = _submissions.where(order_submission.c.order_id == order_id)
    row = connection.execute(query).first()
    if row is None:
        raise NotFound(f"there is no order {order_id}")
    return _orders(connection, [row])[0]


def list_orders(
    connection: Connection, request: order_pb2.ListOrdersRequest
) -> order_pb2.ListOrdersResponse:
    """Return a page of orders, newest first. Raises Invalid."""
    checks.whole("page_size", request.page_size, 0, PAGE_SIZE_MAX)
    size = request.page_size or _PAGE_SIZE_DEFAULT
    query = _submissions.order_by(order_submission.c.order_id.desc()).limit(size + 1)
    if request.buyer_user_id:
        query = query.where(order_submission.c.buyer_user_id == request.buyer_user_id)
    if request.page_token:
        if not (request.page_token.isascii() and request.page_token.isdigit()):
            raise Invalid("page_token", repr(request.page_token), "a next_page_token, unchanged")
        query = query.where(order_submission.c.order_id < int(request.page_token))
    rows = connection.execute(query).all()
    more = len(rows) > size
    return order_pb2.ListOrdersResponse(
        orders=_orders(connection, rows[:size]),
        next_page_token=str(rows[size - 1].number) if more else "",
    )


def is_settled(order: order_pb2.Order) -> bool:
    """Whether the order's transaction is known to be over, so that it need not be asked."""
    if order.status == order_pb2.ORDER_STATUS_CANCELLED:
        return order.HasField("refusal")
    return order.status != order_pb2.ORDER_STATUS_PENDING


def unsettled(connection: Connection) -> list[int]:
    """Return the orders whose transaction is not known to be over, oldest first."""
    unknown = orders.c.order_id.is_(None) | (orders.c.status_ex == StatusEx.INIT)
    given_up = (orders.c.status == Status.CANCELLED) & (orders.c.visible == Visible.INITIAL)
    query = (
        select(order_submission.c.order_id)
        .outerjoin(orders, orders.c.order_id == order_submission.c.order_id)
        .where(order_submission.c.refused_by == literal(""), unknown | given_up)
        .order_by(order_submission.c.order_id)
    )
    return list(connection.scalars(query))


def totals(connection: Connection) -> order_pb2.GetOrderTotalsResponse:
    """Return counts and sums over all orders."""
    created = and_(
        orders.c.visible != Visible.INITIAL,
        orders.c.status_ex != StatusEx.INIT,
        orders.c.status != Status.CANCELLED,
    )
    refused = (orders.c.status == Status.CANCELLED) | (
        orders.c.order_id.is_(None) & (order_submission.c.refused_by != literal(""))
    )

    def count(condition: Any, what: Any = 1) -> Any:
        return func.coalesce(func.sum(case((condition, what), else_=0)), 0)

    row = connection.execute(
        select(
            func.count().label("all"),
            count(created).label("confirmed"),
            count(refused).label("cancelled"),
            count(created, orders.c.money_paid_cents).label("money_paid_cents"),
            count(created & orders.c.coupon_id.is_not(None)).label("coupons"),
            count(created, orders.c.quantity).label("pieces"),
        ).select_from(
            order_submission.outerjoin(orders, orders.c.order_id == order_submission.c.order_id)
        )
    ).one()
    return order_pb2.GetOrderTotalsResponse(
        pending=row.all - int(row.confirmed) - int(row.cancelled),
        confirmed=int(row.confirmed),
        cancelled=int(row.cancelled),
        money_paid_cents=int(row.money_paid_cents),
        coupons=int(row.coupons),
        pieces=int(row.pieces),
    )


def block_buyer(connection: Connection, user_id: int, reason: str) -> None:
    """Refuse a buyer's orders from now on. Raises Invalid."""
    checks.identity("user_id", user_id)
    checks.text("reason", reason)
    changed = connection.execute(
        update(blocked_buyer).where(blocked_buyer.c.user_id == user_id).values(reason=reason)
    )
    if changed.rowcount == 0:
        connection.execute(insert(blocked_buyer).values(user_id=user_id, reason=reason))


def _orders(connection: Connection, rows: Sequence[Row[Any]]) -> list[order_pb2.Order]:
    numbers = [row.number for row in rows]
    items: dict[int, list[order_pb2.OrderItem]] = {number: [] for number in numbers}
    query = select(item_order_ex).where(item_order_ex.c.order_id.in_(numbers))
    for item in connection.execute(query.order_by(item_order_ex.c.sku_id)):
        items[item.order_id].append(
            order_pb2.OrderItem(
                sku_id=item.sku_id,
                title=item.title,
                quantity=item.quantity,
                price_cents=item.price_cents,
                now_price_cents=item.now_price_cents,
            )
        )
    return [_order(row, items[row.number]) for row in rows]


def _order(row: Row[Any], items: list[order_pb2.OrderItem]) -> order_pb2.Order:
    order = order_pb2.Order(
        order_id=row.number,
        buyer_user_id=row.buyer,
        status=_status(row),
        items=items,
        xid=xid_of(row.number),
    )
    if row.order_id is not None:
        order.price_cents = row.price_cents
        order.promotion_amount_cents = row.promotion_amount_cents
        order.money_paid_cents = row.money_paid_cents
        order.pay_amount_cents = row.pay_amount_cents
        order.coupon_id = row.coupon_id or 0
    if row.refused_by:
        code, _, _ = row.refused_reason.partition(":")
        order.refusal.participant = row.refused_by
        order.refusal.code = code
        order.refusal.reason = row.refused_reason
    return order


def _status(row: Row[Any]) -> order_pb2.OrderStatus.ValueType:
    if row.order_id is None:
        if row.refused_by:
            return order_pb2.ORDER_STATUS_CANCELLED
        return order_pb2.ORDER_STATUS_PENDING
    if row.status_ex == StatusEx.INIT:
        return order_pb2.ORDER_STATUS_PENDING
    return _STATUSES[Status(row.status)]
