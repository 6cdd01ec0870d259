"""What the coupon participant does for a transaction; see `Use` for the states of a coupon."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, func, select, update
from trypact import Call, Participant, Refuse, many
from trypact.fence import Fence

from trypact_shop.coupon.requests import GiveBackRequest, UseRequest, UseResult
from trypact_shop.coupon.tables import Use, coupon
from trypact_shop.sets import change_all, each

# A coupon and the order that holds it.
Held = tuple[int, int]
_ORDER: Any = bindparam("for_order", type_=coupon.c.order_id.type)

NAME = "coupon"


def participant(fence: Fence) -> Participant:
    """Return the participant with all its actions."""
    coupons = Participant(NAME, fence=fence)
    coupons.tcc("use", request=UseRequest)(UseCoupon)
    coupons.tcc("give_back", request=GiveBackRequest)(GiveBack)
    return coupons


class UseCoupon:
    """Try locks the coupon for the order; Confirm uses it; Cancel frees it."""

    @many
    def try_(
        self, calls: Sequence[Call[UseRequest]], connection: Connection
    ) -> list[UseResult | Refuse]:
        """Lock each coupon, or refuse one that is unknown, foreign, held or used."""
        wanted = sorted({call.request.coupon_id for call in calls})
        rows = connection.execute(
            select(coupon)
            .where(coupon.c.coupon_id.in_(wanted))
            .order_by(coupon.c.coupon_id)
            .with_for_update()
        )
        found = {row.coupon_id: row for row in rows}
        locked: dict[int, int] = {}

        def lock(request: UseRequest) -> UseResult:
            row = found.get(request.coupon_id)
            if row is None:
                raise Refuse(f"unknown_coupon: there is no coupon {request.coupon_id}")
            if row.user_id != request.user_id:
                raise Refuse(
                    f"foreign_coupon: coupon {request.coupon_id} is not user {request.user_id}'s"
                )
            order_id = locked.get(request.coupon_id, row.order_id)
            if order_id is not None:
                verb = "was used for" if row.is_used == Use.USED else "is held for"
                raise Refuse(f"coupon_used: coupon {request.coupon_id} {verb} order {order_id}")
            locked[request.coupon_id] = request.order_id
            return UseResult(row.coupon_price_cents)

        said = each(calls, lock)
        _change(connection, Use.FREE, locked.items(), {"is_used": Use.LOCKED, "order_id": _ORDER})
        return said

    @many
    def confirm(self, calls: Sequence[Call[UseRequest]], connection: Connection) -> None:
        """Use them up."""
        used = {"is_used": Use.USED, "used_time": func.now()}
        _change(connection, Use.LOCKED, _held(calls), used)

    @many
    def cancel(self, calls: Sequence[Call[UseRequest]], connection: Connection) -> None:
        """Free them for other orders."""
        _change(connection, Use.LOCKED, _held(calls), {"is_used": Use.FREE, "order_id": None})


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
    connection: Connection, call: Call[GiveBackRequest], held: Use, changes: dict[str, Any]
) -> None:
    """End what the Try of the same order left in the state `held`."""
    _change(connection, held, _held([call]), changes)


def _held(calls: Sequence[Call[UseRequest]] | Sequence[Call[GiveBackRequest]]) -> list[Held]:
    return [(call.request.coupon_id, call.request.order_id) for call in calls]


def _change(
    connection: Connection, before: Use, held: Iterable[Held], changes: dict[str, Any]
) -> None:
    """Change coupons that are in the state `before`, each for its order unless it is free."""
    this = coupon.c.order_id.is_(None) if before == Use.FREE else coupon.c.order_id == _ORDER
    change = (
        update(coupon)
        .where(coupon.c.coupon_id == bindparam("coupon"), coupon.c.is_used == before, this)
        .values(changes)
    )
    rows = ({"coupon": coupon_id, "for_order": order_id} for coupon_id, order_id in sorted(held))
    change_all(connection, change, rows, lambda row: f"coupon {row['coupon']}")
