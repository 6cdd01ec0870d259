"""`python -m trypact_shop.notification`: the notification participant as a process."""

from trypact_shop.notification import actions, queries, tables
from trypact_shop.service import Service, plain, run
from trypact_shop.v1 import notification_pb2_grpc


def service() -> Service:
    """Return the process."""
    add = notification_pb2_grpc.add_NotificationServiceServicer_to_server
    return Service(
        actions.NAME,
        tables.metadata,
        actions.participant,
        plain(lambda engine, server: add(queries.NotificationService(engine), server)),
    )


if __name__ == "__main__":
    run(service())
