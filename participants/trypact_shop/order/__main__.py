"""`python -m trypact_shop.order`: the order participant and OrderService as a process.

It looks goods and coupons up where TRYPACT_SHOP_INVENTORY and TRYPACT_SHOP_COUPON say.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc.aio
import trypact
from sqlalchemy import Engine
from trypact.serving import AddServices

from trypact_shop.endpoints import endpoint_of
from trypact_shop.order import actions, submission, tables
from trypact_shop.order.lookup import GrpcPrices
from trypact_shop.order.service import OrderService
from trypact_shop.service import Service, run
from trypact_shop.v1 import order_pb2_grpc

# How long a buyer waits before he is told to ask again, in seconds; longer than a transaction may
# stay undecided.
PATIENCE = submission.TIMEOUT + 5.0


@asynccontextmanager
async def services(engine: Engine, coordinator: str) -> AsyncIterator[AddServices]:
    """Open the client of the coordinator and the channels for look-ups."""
    async with (
        trypact.Client(coordinator, patience=PATIENCE) as client,
        grpc.aio.insecure_channel(endpoint_of("inventory")) as inventory,
        grpc.aio.insecure_channel(endpoint_of("coupon")) as coupon,
    ):
        servicer = OrderService(engine, client, GrpcPrices(inventory, coupon))
        catching_up = asyncio.create_task(servicer.catch_up())
        yield lambda server: order_pb2_grpc.add_OrderServiceServicer_to_server(servicer, server)
        catching_up.cancel()


def service() -> Service:
    """Return the process."""
    return Service(actions.NAME, tables.metadata, actions.participant, services)


if __name__ == "__main__":
    run(service())
