"""OrderService where nobody answers, and after a crash."""

from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import trypact
from trypact_shop.database import open_database
from trypact_shop.demo.world import World, until
from trypact_shop.inventory.requests import Line
from trypact_shop.order.lookup import GrpcPrices
from trypact_shop.order.requests import Item
from trypact_shop.order.service import OrderService
from trypact_shop.order.tables import metadata
from trypact_shop.v1 import order_pb2, order_pb2_grpc

from tests.integration.shop.buying import TIMEOUT, Buyer

# Nobody listens there.
NOWHERE = "127.0.0.1:1"


class FixedPrices:
    """Everything costs 8.00, every coupon is worth 5.00."""

    async def items(self, lines: Sequence[Line]) -> list[Item]:
        return [Item(line.sku_id, "tea", line.quantity, 900, 800) for line in lines]

    async def coupon_price_cents(self, coupon_id: int) -> int:
        return 500


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Any]:
    """Serves OrderService over given prices, with no coordinator; returns its stub."""
    engine = open_database(f"sqlite:///{tmp_path / 'order.db'}", metadata)
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    async with (
        trypact.Client(NOWHERE, patience=0.2) as client,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):

        async def start(prices: Any) -> order_pb2_grpc.OrderServiceStub:
            service = OrderService(engine, client, prices)
            order_pb2_grpc.add_OrderServiceServicer_to_server(service, server)
            await server.start()
            return order_pb2_grpc.OrderServiceStub(channel)

        yield start
        await server.stop(None)
    engine.dispose()


def _request(request_id: str = "r1") -> order_pb2.SubmitOrderRequest:
    request = order_pb2.SubmitOrderRequest(request_id=request_id, buyer_user_id=1)
    request.lines.add(sku_id=1, quantity=1)
    return request


async def test_without_a_coordinator_the_order_keeps_its_number_and_stays_pending(
    serve: Any,
) -> None:
    orders = await serve(FixedPrices())
    said = []
    for _ in range(2):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await orders.SubmitOrder(_request(), timeout=TIMEOUT)
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        said.append(raised.value.details())
    assert "repeat the request with its request_id" in said[0]
    (order,) = (await orders.ListOrders(order_pb2.ListOrdersRequest(), timeout=TIMEOUT)).orders
    assert order.status == order_pb2.ORDER_STATUS_PENDING
    assert all(f"order {order.order_id}: " in details for details in said)
    totals = await orders.GetOrderTotals(order_pb2.GetOrderTotalsRequest(), timeout=TIMEOUT)
    assert (totals.pending, totals.confirmed, totals.cancelled) == (1, 0, 0)


async def test_without_prices_no_order_gets_a_number(serve: Any) -> None:
    async with grpc.aio.insecure_channel(NOWHERE) as nowhere:
        orders = await serve(GrpcPrices(nowhere, nowhere))
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await orders.SubmitOrder(_request(), timeout=TIMEOUT)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "inventory does not answer" in raised.value.details()
    listed = await orders.ListOrders(order_pb2.ListOrdersRequest(), timeout=TIMEOUT)
    assert list(listed.orders) == []


@pytest.mark.parametrize(
    "request_",
    [
        order_pb2.ListOrdersRequest(page_size=-1),
        order_pb2.ListOrdersRequest(page_size=201),
        order_pb2.ListOrdersRequest(page_token="x"),
        order_pb2.ListOrdersRequest(page_token="²"),
    ],
)
async def test_a_page_that_cannot_be_is_invalid(serve: Any, request_: Any) -> None:
    orders = await serve(FixedPrices())
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await orders.ListOrders(request_, timeout=TIMEOUT)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert raised.value.details().startswith("page_")


def test_after_a_crash_the_order_service_learns_why_an_order_was_refused(world: World) -> None:
    buyer, order = Buyer(world), world.participants["order"]
    request = buyer.request(quantity=11)
    order.stop()
    order.start(world.environment() | {"TRYPACT_SHOP_FAILPOINT": "order.create:try"})
    with ThreadPoolExecutor(1) as pool:
        lost = pool.submit(buyer.submit, request)
        order.wait_killed(TIMEOUT)
        assert isinstance(lost.exception(TIMEOUT), grpc.RpcError)
    order.start(world.environment())

    def refusal() -> order_pb2.Refusal | None:
        query = order_pb2.ListOrdersRequest(buyer_user_id=buyer.user_id)
        (found,) = world.order.ListOrders(query, timeout=TIMEOUT).orders
        return found.refusal if found.HasField("refusal") else None

    learnt = until("it learns how the order ended", refusal, TIMEOUT)
    assert learnt is not None
    assert (learnt.participant, learnt.code) == ("inventory", "out_of_stock")
    assert buyer.holds_nothing()
    assert buyer.submit(request).refusal == learnt
