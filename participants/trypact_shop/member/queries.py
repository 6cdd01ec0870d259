"""Looking at points: the member participant's own service."""

from sqlalchemy import Engine, func, select

from trypact_shop.database import reading
from trypact_shop.member.tables import member, points_log
from trypact_shop.rpc import answering
from trypact_shop.v1 import member_pb2, member_pb2_grpc


class MemberService(member_pb2_grpc.MemberServiceServicer):
    """Serves proto/trypact_shop/v1/member.proto."""

    def __init__(self, engine: Engine) -> None:
        self._reading = reading(engine)

    @answering
    def GetPointsTotals(  # noqa: N802 (the wire's name)
        self, request: member_pb2.GetPointsTotalsRequest
    ) -> member_pb2.GetPointsTotalsResponse:
        """Return what was earned, by the log and by the members' rows."""
        logged = select(
            func.count().label("deliveries"),
            func.count(points_log.c.order_id.distinct()).label("orders"),
            func.coalesce(func.sum(points_log.c.points), 0).label("points"),
        ).select_from(points_log)
        held = select(func.coalesce(func.sum(member.c.points), 0))
        if request.user_id:
            logged = logged.where(points_log.c.user_id == request.user_id)
            held = held.where(member.c.user_id == request.user_id)
        with self._reading.connect() as connection:
            log = connection.execute(logged).one()
            points = connection.scalar(held)
        return member_pb2.GetPointsTotalsResponse(
            deliveries=log.deliveries,
            orders=log.orders,
            points_logged=int(log.points),
            points=int(points or 0),
        )
