"""What the order participant does for a transaction: legal moves of one order, each logged.

A Try marks the order (`status_ex`, `reverse_status`) so that no other transaction can move it
meanwhile; Confirm makes the move; Cancel takes the mark off.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, ClassVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    case,
    func,
    insert,
    select,
    update,
)
from trypact import Call, Participant, Refuse, many
from trypact.fence import Fence

from trypact_shop.order.requests import CreateRequest, EndRequest, PayRequest, RefundRequest
from trypact_shop.order.tables import (
    Reverse,
    Status,
    StatusEx,
    Visible,
    blocked_buyer,
    item_order_ex,
    order_operate_log,
    orders,
)
from trypact_shop.sets import accepted, change_all, each, execute_all

NAME = "order"

# How many pieces one order may have.
ORDER_PIECES_MAX = 100

_INIT = {"visible": Visible.INITIAL, "status": Status.CREATED, "status_ex": StatusEx.INIT}
_RESTING = {"visible": Visible.NORMAL, "status_ex": StatusEx.NONE}


def participant(fence: Fence) -> Participant:
    """Return the participant with all its actions."""
    order = Participant(NAME, fence=fence)
    order.tcc("create", request=CreateRequest)(Create)
    order.tcc("pay", request=PayRequest)(Pay)
    order.tcc("cancel", request=EndRequest)(CancelOrder)
    order.tcc("close", request=EndRequest)(Close)
    order.tcc("refund", request=RefundRequest)(Refund)
    return order


class Create:
    """Try makes an order nobody sees; Confirm makes it CREATED; Cancel makes it CANCELLED."""

    @many
    def try_(
        self, calls: Sequence[Call[CreateRequest]], connection: Connection
    ) -> list[Refuse | None]:
        """Write each order, or refuse a blocked buyer, too many pieces or a number taken."""
        blocked = _blocked(connection, {call.request.buyer_user_id for call in calls})
        taken = set(_find(connection, [call.request.order_id for call in calls]))

        def create(request: CreateRequest) -> None:
            if request.quantity > ORDER_PIECES_MAX:
                raise Refuse(
                    f"order_limit: {request.quantity} pieces;"
                    f" one order may have {ORDER_PIECES_MAX} at most"
                )
            if (reason := blocked.get(request.buyer_user_id)) is not None:
                raise Refuse(f"buyer_blocked: user {request.buyer_user_id} ({reason})")
            if request.order_id in taken:
                raise Refuse(f"order_exists: there is an order {request.order_id}")
            taken.add(request.order_id)

        said = each(calls, create)
        created = [request for request, _ in accepted(calls, said)]
        execute_all(connection, insert(orders), (_row(request) | _INIT for request in created))
        items = (
            {"order_id": request.order_id, **asdict(item)}
            for request in created
            for item in request.items
        )
        execute_all(connection, insert(item_order_ex), items)
        return said

    @many
    def confirm(self, calls: Sequence[Call[CreateRequest]], connection: Connection) -> None:
        """Show them to their buyers, ready to be paid."""
        after = _RESTING | {"confirm_time": func.now()}
        _settle(connection, "create", [call.request.order_id for call in calls], _INIT, after)

    @many
    def cancel(self, calls: Sequence[Call[CreateRequest]], connection: Connection) -> None:
        """End them, never seen."""
        after = {
            "status": Status.CANCELLED,
            "status_ex": StatusEx.NONE,
            "cancel_time": func.now(),
        }
        _settle(connection, "create", [call.request.order_id for call in calls], _INIT, after)


def _blocked(connection: Connection, users: Iterable[int]) -> dict[int, str]:
    blocked = select(blocked_buyer.c.user_id, blocked_buyer.c.reason)
    rows = connection.execute(blocked.where(blocked_buyer.c.user_id.in_(list(users))))
    return {row.user_id: row.reason for row in rows}


def _row(request: CreateRequest) -> dict[str, Any]:
    return {
        "order_id": request.order_id,
        "quantity": request.quantity,
        "buyer_user_id": request.buyer_user_id,
        "price_cents": request.price_cents,
        "promotion_amount_cents": request.promotion_amount_cents,
        "money_paid_cents": request.money_paid_cents,
        "pay_amount_cents": request.pay_amount_cents,
        "coupon_id": request.coupon_id,
    }


class _Move(ABC):
    """Moves an order that nothing else is moving from one status to the next."""

    operation: ClassVar[str]
    source: ClassVar[Status]
    during: ClassVar[StatusEx]
    target: ClassVar[Status]

    @abstractmethod
    def also(self, request: Any) -> dict[str, Any]:
        """Return the further columns that the move sets."""

    def try_(self, call: Call[Any], connection: Connection) -> None:
        """Mark the order, or refuse if this is not a legal move now."""
        order_id = call.request.order_id
        before = _RESTING | {"status": self.source}
        marked = connection.execute(
            update(orders)
            .where(_is(order_id, before), orders.c.reverse_status != Reverse.RUNNING)
            .values(_changed({"status_ex": self.during}))
        )
        if marked.rowcount != 1:
            raise Refuse(_why_not(connection, order_id, self.operation))

    def confirm(self, call: Call[Any], connection: Connection) -> None:
        """Make the move."""
        after = {"status": self.target, "status_ex": StatusEx.NONE} | self.also(call.request)
        _settle(connection, self.operation, [call.request.order_id], self._marked(), after)

    def cancel(self, call: Call[Any], connection: Connection) -> None:
        """Leave the order as it was."""
        after = {"status_ex": StatusEx.NONE}
        _settle(connection, self.operation, [call.request.order_id], self._marked(), after)

    def _marked(self) -> dict[str, Any]:
        return {"status": self.source, "status_ex": self.during}


class Pay(_Move):
    """CREATED to PAID."""

    operation, during = "pay", StatusEx.PAYING
    source, target = Status.CREATED, Status.PAID

    def also(self, request: PayRequest) -> dict[str, Any]:
        """Return by which payment, and when."""
        return {"pay_id": request.pay_id, "pay_time": func.now()}


class CancelOrder(_Move):
    """CREATED to CANCELLED: nothing was ever paid through a gateway."""

    operation, during = "cancel", StatusEx.CANCELLING
    source, target = Status.CREATED, Status.CANCELLED

    def also(self, request: EndRequest) -> dict[str, Any]:
        """Return why, and when."""
        return {"cancel_reason": json.dumps({"reason": request.reason}), "cancel_time": func.now()}


class Close(_Move):
    """PAID to CLOSED: everything that was paid went back."""

    operation, during = "close", StatusEx.CLOSING
    source, target = Status.PAID, Status.CLOSED

    def also(self, request: EndRequest) -> dict[str, Any]:
        """Return why, and when."""
        return {"cancel_reason": json.dumps({"reason": request.reason}), "cancel_time": func.now()}


class Refund:
    """Try sets a refund aside; Confirm notes it as paid out; Cancel drops it."""

    def try_(self, call: Call[RefundRequest], connection: Connection) -> None:
        """Set it aside, or refuse before payment, beside another refund, or beyond what is left."""
        request = call.request
        left = (
            orders.c.money_paid_cents
            + orders.c.pay_amount_cents
            - orders.c.refunding_cents
            - orders.c.refunded_cents
        )
        refundable = (Status.PAID, Status.SHIPPED, Status.RECEIVED)
        set_aside = connection.execute(
            update(orders)
            .where(_is(request.order_id, _RESTING), orders.c.status.in_(refundable))
            .where(orders.c.reverse_status != Reverse.RUNNING, left >= request.amount_cents)
            .values(
                _changed(
                    {"reverse_status": Reverse.RUNNING, "refunding_cents": request.amount_cents}
                )
            )
        )
        if set_aside.rowcount != 1:
            raise Refuse(_why_not(connection, request.order_id, "refund"))

    def confirm(self, call: Call[RefundRequest], connection: Connection) -> None:
        """Note it as paid out."""
        after = {
            "reverse_status": Reverse.ENDED_REFUNDED,
            "refunding_cents": 0,
            "refunded_cents": orders.c.refunded_cents + call.request.amount_cents,
        }
        before = {"reverse_status": Reverse.RUNNING}
        _settle(connection, "refund", [call.request.order_id], before, after)

    def cancel(self, call: Call[RefundRequest], connection: Connection) -> None:
        """Drop it."""
        ended = case((orders.c.refunded_cents > 0, Reverse.ENDED_REFUNDED), else_=Reverse.NONE)
        after = {"reverse_status": ended, "refunding_cents": 0}
        before = {"reverse_status": Reverse.RUNNING}
        _settle(connection, "refund", [call.request.order_id], before, after)


def _find(connection: Connection, order_ids: list[int]) -> dict[int, Any]:
    rows = connection.execute(select(orders).where(orders.c.order_id.in_(order_ids)))
    return {row.order_id: row for row in rows}


def _is(order_id: Any, state: dict[str, Any]) -> ColumnElement[bool]:
    return and_(orders.c.order_id == order_id, *(orders.c[key] == state[key] for key in state))


def _changed(values: dict[str, Any]) -> dict[str, Any]:
    return values | {"version": orders.c.version + 1, "update_time": func.now()}


def _settle(
    connection: Connection,
    operation: str,
    order_ids: list[int],
    before: dict[str, Any],
    after: dict[str, Any],
) -> None:
    """End what Tries have begun, and log the orders' states before and after."""
    old = _find(connection, order_ids)
    settle = update(orders).where(_is(bindparam("this"), before)).values(_changed(after))
    rows = ({"this": order_id} for order_id in sorted(order_ids))
    change_all(connection, settle, rows, lambda row: f"order {row['this']}")
    new = _find(connection, order_ids)
    logs = (
        {
            "order_id": order_id,
            "operate_type": operation,
            "before": _snapshot(old[order_id]),
            "after": _snapshot(new[order_id]),
        }
        for order_id in order_ids
    )
    execute_all(connection, insert(order_operate_log), logs)


def _snapshot(row: Any) -> str:
    return json.dumps(
        {
            "status": Status(row.status).name,
            "status_ex": StatusEx(row.status_ex).name,
            "visible": row.visible,
            "reverse_status": row.reverse_status,
            "refunded_cents": row.refunded_cents,
            "version": row.version,
        }
    )


def _why_not(connection: Connection, order_id: int, operation: str) -> str:
    row = _find(connection, [order_id]).get(order_id)
    if row is None or row.visible == Visible.INITIAL:
        return f"unknown_order: there is no order {order_id}"
    if row.status_ex != StatusEx.NONE or row.reverse_status == Reverse.RUNNING:
        doing = "REFUNDING" if row.reverse_status == Reverse.RUNNING else None
        return f"order_busy: order {order_id} is {doing or StatusEx(row.status_ex).name}"
    paid = row.money_paid_cents + row.pay_amount_cents - row.refunded_cents
    return (
        f"illegal_{operation}: order {order_id} is {Status(row.status).name}"
        f" with {paid} cents not refunded"
    )
