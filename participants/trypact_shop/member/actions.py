"""What the member participant does for a transaction."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import Connection, bindparam, insert, select, update
from trypact import Call, Participant, Refuse, many
from trypact.fence import Fence

from trypact_shop.member.requests import AddPointsRequest
from trypact_shop.member.tables import member, points_log
from trypact_shop.sets import accepted, each, execute_all

NAME = "member"


def participant(fence: Fence) -> Participant:
    """Return the participant with all its actions."""
    members = Participant(NAME, fence=fence)
    members.message("add_points", request=AddPointsRequest)(add_points)
    return members


@many
def add_points(
    calls: Sequence[Call[AddPointsRequest]], connection: Connection
) -> list[Refuse | None]:
    """Add the points of orders; whoever earns the first ones becomes a member."""
    orders = [call.request.order_id for call in calls]
    earned = set(
        connection.scalars(select(points_log.c.order_id).where(points_log.c.order_id.in_(orders)))
    )

    def earn(request: AddPointsRequest) -> None:
        if request.order_id in earned:
            raise Refuse(f"already_earned: order {request.order_id} has earned its points")
        earned.add(request.order_id)

    said = each(calls, earn)
    added = [request for request, _ in accepted(calls, said)]
    _credit(connection, added)
    execute_all(connection, insert(points_log), map(asdict, added))
    return said


def _credit(connection: Connection, added: list[AddPointsRequest]) -> None:
    """Add everybody's points, member by member in one order."""
    points: Counter[int] = Counter()
    growth: Counter[int] = Counter()
    for request in added:
        points[request.user_id] += request.points
        growth[request.user_id] += request.growth
    users = sorted(points)
    here = select(member.c.user_id).where(member.c.user_id.in_(users)).order_by(member.c.user_id)
    known = set(connection.scalars(here.with_for_update()))
    more = {name: member.c[name] + bindparam(f"more_{name}") for name in ("points", "growth")}
    credit = update(member).where(member.c.user_id == bindparam("user")).values(more)
    execute_all(
        connection,
        credit,
        (
            {"user": user, "more_points": points[user], "more_growth": growth[user]}
            for user in users
            if user in known
        ),
    )
    # Two first deliveries at once: the second fails on the key, and is asked again.
    execute_all(
        connection,
        insert(member),
        (
            {"user_id": user, "points": points[user], "growth": growth[user]}
            for user in users
            if user not in known
        ),
    )
