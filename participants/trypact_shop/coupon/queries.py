"""Issuing coupons, and looking at them: the coupon participant's own service."""

from typing import Any

from sqlalchemy import Engine, Row, insert, select

from trypact_shop import checks
from trypact_shop.coupon.tables import Use, coupon
from trypact_shop.database import reading
from trypact_shop.errors import Conflict, NotFound
from trypact_shop.rpc import answering
from trypact_shop.v1 import coupon_pb2, coupon_pb2_grpc

_STATES = {
    Use.FREE: coupon_pb2.COUPON_STATE_FREE,
    Use.USED: coupon_pb2.COUPON_STATE_USED,
    Use.LOCKED: coupon_pb2.COUPON_STATE_LOCKED,
    Use.RETURNING: coupon_pb2.COUPON_STATE_LOCKED,
}


class CouponService(coupon_pb2_grpc.CouponServiceServicer):
    """Serves proto/trypact_shop/v1/coupon.proto."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reading = reading(engine)

    @answering
    def IssueCoupon(  # noqa: N802 (the wire's name)
        self, request: coupon_pb2.IssueCouponRequest
    ) -> coupon_pb2.IssueCouponResponse:
        """Issue a coupon; the same one again changes nothing."""
        checks.identity("coupon_id", request.coupon_id)
        checks.identity("user_id", request.user_id)
        checks.cents("coupon_price_cents", request.coupon_price_cents)
        with self._engine.begin() as connection:
            query = select(coupon).where(coupon.c.coupon_id == request.coupon_id)
            row = connection.execute(query).first()
            if row is None:
                connection.execute(
                    insert(coupon).values(
                        coupon_id=request.coupon_id,
                        user_id=request.user_id,
                        coupon_price_cents=request.coupon_price_cents,
                    )
                )
            elif (row.user_id, row.coupon_price_cents) != (
                request.user_id,
                request.coupon_price_cents,
            ):
                raise Conflict(f"coupon {request.coupon_id} was issued with other content")
        return coupon_pb2.IssueCouponResponse()

    @answering
    def GetCoupon(  # noqa: N802
        self, request: coupon_pb2.GetCouponRequest
    ) -> coupon_pb2.GetCouponResponse:
        """Return one coupon."""
        with self._reading.connect() as connection:
            query = select(coupon).where(coupon.c.coupon_id == request.coupon_id)
            row = connection.execute(query).first()
        if row is None:
            raise NotFound(f"there is no coupon {request.coupon_id}")
        return coupon_pb2.GetCouponResponse(coupon=_coupon(row))

    @answering
    def ListCoupons(  # noqa: N802
        self, request: coupon_pb2.ListCouponsRequest
    ) -> coupon_pb2.ListCouponsResponse:
        """Return a user's coupons, or everyone's."""
        query = select(coupon).order_by(coupon.c.coupon_id)
        if request.user_id:
            query = query.where(coupon.c.user_id == request.user_id)
        with self._reading.connect() as connection:
            rows = connection.execute(query).all()
        return coupon_pb2.ListCouponsResponse(coupons=[_coupon(row) for row in rows])


def _coupon(row: Row[Any]) -> coupon_pb2.Coupon:
    return coupon_pb2.Coupon(
        coupon_id=row.coupon_id,
        user_id=row.user_id,
        coupon_price_cents=row.coupon_price_cents,
        state=_STATES[Use(row.is_used)],
        order_id=row.order_id or 0,
    )
