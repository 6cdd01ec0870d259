"""`python -m trypact_shop.balance`: the balance participant as a process."""

from trypact_shop.balance import actions, queries, tables
from trypact_shop.service import Service, plain, run
from trypact_shop.v1 import balance_pb2_grpc


def service() -> Service:
    """Return the process."""
    add = balance_pb2_grpc.add_BalanceServiceServicer_to_server
    return Service(
        actions.NAME,
        tables.metadata,
        actions.participant,
        plain(lambda engine, server: add(queries.BalanceService(engine), server)),
    )


if __name__ == "__main__":
    run(service())
