"""What the member participant does for a transaction."""

from sqlalchemy import Connection, insert, select, update
from trypact import Call, Participant, Refuse
from trypact.fence import Fence

from trypact_shop.member.requests import AddPointsRequest
from trypact_shop.member.tables import member, points_log

NAME = "member"


def participant(fence: Fence) -> Participant:
    """Return the participant with all its actions."""
    members = Participant(NAME, fence=fence)
    members.message("add_points", request=AddPointsRequest)(add_points)
    return members


def add_points(call: Call[AddPointsRequest], connection: Connection) -> None:
    """Add the points of an order; whoever earns the first ones becomes a member."""
    request = call.request
    earned = select(points_log.c.id).where(points_log.c.order_id == request.order_id)
    if connection.execute(earned).first() is not None:
        raise Refuse(f"already_earned: order {request.order_id} has earned its points")
    added = connection.execute(
        update(member)
        .where(member.c.user_id == request.user_id)
        .values(
            points=member.c.points + request.points,
            growth=member.c.growth + request.growth,
        )
    )
    if added.rowcount == 0:
        # Two first deliveries at once: the second fails on the key, and is asked again.
        connection.execute(
            insert(member).values(
                user_id=request.user_id, points=request.points, growth=request.growth
            )
        )
    connection.execute(
        insert(points_log).values(
            user_id=request.user_id,
            order_id=request.order_id,
            points=request.points,
            growth=request.growth,
        )
    )
