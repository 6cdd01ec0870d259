"""What the notification participant does for a transaction."""

from collections.abc import Sequence

from sqlalchemy import Connection, insert
from trypact import Call, Participant, many
from trypact.fence import Fence

from trypact_shop.notification.requests import SendRequest
from trypact_shop.notification.tables import sent_log
from trypact_shop.sets import execute_all

NAME = "notification"

_TEXTS = {
    "confirm": "Your order {order_id} has been placed.",
    "cancel": "Your order {order_id} could not be placed; nothing was charged.",
}


def participant(fence: Fence) -> Participant:
    """Return the participant with all its actions."""
    notification = Participant(NAME, fence=fence)
    notification.notice("send", request=SendRequest)(send)
    return notification


@many
def send(calls: Sequence[Call[SendRequest]], connection: Connection) -> None:
    """Send everybody the message that fits their decision."""
    texts = (
        {
            "user_id": call.request.user_id,
            "order_id": call.request.order_id,
            "text": _TEXTS[str(call.decision)].format(order_id=call.request.order_id),
        }
        for call in calls
    )
    execute_all(connection, insert(sent_log), texts)
