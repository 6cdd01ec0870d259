"""What the notification participant does for a transaction."""

from sqlalchemy import Connection, insert
from trypact import Call, Participant
from trypact.fence import Fence

from trypact_shop.notification.requests import SendRequest
from trypact_shop.notification.tables import sent_log

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


def send(call: Call[SendRequest], connection: Connection) -> None:
    """Send the message that fits the decision."""
    request = call.request
    text = _TEXTS[str(call.decision)].format(order_id=request.order_id)
    connection.execute(
        insert(sent_log).values(user_id=request.user_id, order_id=request.order_id, text=text)
    )
