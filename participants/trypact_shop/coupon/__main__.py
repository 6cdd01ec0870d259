"""`python -m trypact_shop.coupon`: the coupon participant as a process."""

from trypact_shop.coupon import actions, queries, tables
from trypact_shop.service import Service, plain, run
from trypact_shop.v1 import coupon_pb2_grpc


def service() -> Service:
    """Return the process."""
    add = coupon_pb2_grpc.add_CouponServiceServicer_to_server
    return Service(
        actions.NAME,
        tables.metadata,
        actions.participant,
        plain(lambda engine, server: add(queries.CouponService(engine), server)),
    )


if __name__ == "__main__":
    run(service())
