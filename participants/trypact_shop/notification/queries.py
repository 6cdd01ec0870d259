"""Looking at what was sent: the notification participant's own service."""

from sqlalchemy import Engine, func, select

from trypact_shop.database import reading
from trypact_shop.notification.tables import sent_log
from trypact_shop.rpc import answering
from trypact_shop.v1 import notification_pb2, notification_pb2_grpc


class NotificationService(notification_pb2_grpc.NotificationServiceServicer):
    """Serves proto/trypact_shop/v1/notification.proto."""

    def __init__(self, engine: Engine) -> None:
        self._reading = reading(engine)

    @answering
    def GetSentTotals(  # noqa: N802 (the wire's name)
        self, request: notification_pb2.GetSentTotalsRequest
    ) -> notification_pb2.GetSentTotalsResponse:
        """Return how many messages were sent."""
        with self._reading.connect() as connection:
            sent = connection.scalar(select(func.count()).select_from(sent_log))
        return notification_pb2.GetSentTotalsResponse(sent=sent or 0)
