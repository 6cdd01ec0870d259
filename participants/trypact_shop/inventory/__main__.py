"""`python -m trypact_shop.inventory`: the inventory participant as a process."""

from trypact_shop.inventory import actions, queries, tables
from trypact_shop.service import Service, plain, run
from trypact_shop.v1 import inventory_pb2_grpc


def service() -> Service:
    """Return the process."""
    add = inventory_pb2_grpc.add_InventoryServiceServicer_to_server
    return Service(
        actions.NAME,
        tables.metadata,
        actions.participant,
        plain(lambda engine, server: add(queries.InventoryService(engine), server)),
    )


if __name__ == "__main__":
    run(service())
