"""What the coupon participant does for a transaction; see `Use` for the states of a coupon."""

from typing import Any

from sqlalchemy import Connection, func, select, update
from trypact import Call, Participant, Refuse
from trypact.fence import Fence

from trypact_shop.coupon.requests import GiveBackRequest, UseRequest, UseResult
from trypact_shop.coupon.tables import Use, coupon
from trypact_shop.database import must_change

NAME = "coupon"


def participant(fence: Fence) -> Participant:
    """Return the participant with all its actions."""
    coupons = Participant(NAME, fence=fence)
    coupons.tcc("use", request=UseRequest)(UseCoupon)
    coupons.tcc("give_back", request=GiveBackRequest)(GiveBack)
    return coupons


class UseCoupon:
    """Try locks the coupon for the order; Confirm uses it; Cancel frees it."""

    def try_(self, call: Call[UseRequest], connection: Connection) -> UseResult:
        """Lock the coupon, or refuse one that is unknown, foreign, held or used."""
        request = call.request
        the_coupon = coupon.c.coupon_id == request.coupon_id
        row = connection.execute(select(coupon).where(the_coupon).with_for_update()).first()
        if row is None:
            raise Refuse(f"unknown_coupon: there is no coupon {request.coupon_id}")
        if row.user_id != request.user_id:
            raise Refuse(
                f"foreign_coupon: coupon {request.coupon_id} is not user {request.user_id}'s"
            )
        if row.is_used != Use.FREE:
            verb = "was used for" if row.is_used == Use.USED else "is held for"
            raise Refuse(f"coupon_used: coupon {request.coupon_id} {verb} order {row.order_id}")
        locked = connection.execute(
            update(coupon)
            .where(the_coupon, coupon.c.is_used == Use.FREE)
            .values(is_used=Use.LOCKED, order_id=request.order_id)
        )
        must_change(locked, 1, f"coupon {request.coupon_id}")
        return UseResult(row.coupon_price_cents)

    def confirm(self, call: Call[UseRequest], connection: Connection) -> None:
        """Use it up."""
        _settle(connection, call, Use.LOCKED, {"is_used": Use.USED, "used_time": func.now()})

    def cancel(self, call: Call[UseRequest], connection: Connection) -> None:
        """Free it for another order."""
        _settle(connection, call, Use.LOCKED, {"is_used": Use.FREE, "order_id": None})


class GiveBack:
    """Try marks the used coupon; Confirm gives it back to its owner; Cancel leaves it used."""

    def try_(self, call: Call[GiveBackRequest], connection: Connection) -> None:
        """Mark the coupon, or refuse if this order did not use it."""
        request = call.request
        marked = connection.execute(
            update(coupon)
            .where(coupon.c.coupon_id == request.coupon_id, coupon.c.is_used == Use.USED)
            .where(coupon.c.order_id == request.order_id)
            .values(is_used=Use.RETURNING)
        )
        if marked.rowcount != 1:
            raise Refuse(
                f"coupon_not_used: order {request.order_id} did not use coupon {request.coupon_id}"
            )

    def confirm(self, call: Call[GiveBackRequest], connection: Connection) -> None:
        """Free it."""
        freed = {"is_used": Use.FREE, "order_id": None, "used_time": None}
        _settle(connection, call, Use.RETURNING, freed)

    def cancel(self, call: Call[GiveBackRequest], connection: Connection) -> None:
        """Leave it used."""
        _settle(connection, call, Use.RETURNING, {"is_used": Use.USED})


def _settle(
    connection: Connection,
    call: Call[UseRequest] | Call[GiveBackRequest],
    held: Use,
    changes: dict[str, Any],
) -> None:
    """End what the Try of the same order left in the state `held`."""
    request = call.request
    settled = connection.execute(
        update(coupon)
        .where(coupon.c.coupon_id == request.coupon_id, coupon.c.is_used == held)
        .where(coupon.c.order_id == request.order_id)
        .values(changes)
    )
    must_change(settled, 1, f"coupon {request.coupon_id}")
