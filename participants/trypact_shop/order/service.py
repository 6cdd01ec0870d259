"""OrderService: how the shop is used over gRPC."""

import asyncio
import logging
from typing import Any

import trypact
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from trypact_shop.database import reading
from trypact_shop.errors import NotAnswering, ShopError
from trypact_shop.inventory.requests import Line
from trypact_shop.order import queries, submission
from trypact_shop.order.submission import Asked, Prices, Refused, Submission
from trypact_shop.rpc import abort, answering
from trypact_shop.v1 import order_pb2, order_pb2_grpc

logger = logging.getLogger(__name__)


class OrderService(order_pb2_grpc.OrderServiceServicer):
    """Serves proto/trypact_shop/v1/order.proto."""

    def __init__(self, engine: Engine, client: trypact.Client, prices: Prices) -> None:
        self._engine = engine
        self._reading = reading(engine)
        self._client = client
        self._prices = prices

    async def SubmitOrder(  # noqa: N802 (the wire's name)
        self, request: order_pb2.SubmitOrderRequest, context: Any
    ) -> order_pb2.SubmitOrderResponse:
        """Submit an order, or say how the one of this request id stands."""
        try:
            return order_pb2.SubmitOrderResponse(order=await self._submit(_asked(request)))
        except (ShopError, SQLAlchemyError) as error:
            await abort(context, error)

    async def catch_up(self) -> None:
        """Learn how the orders ended that were under way when this service died.

        Their participants need nothing of it; it is for the people who look at the orders. What
        cannot be learnt now stays pending, until its buyer asks again.
        """
        for order_id in await asyncio.to_thread(self._unsettled):
            try:
                refused = await submission.outcome_of(self._client, order_id)
            except trypact.TrypactError as error:
                logger.warning("order %d stays pending: %s", order_id, error)
                continue
            await self._settle(order_id, refused)

    async def _settle(self, order_id: int, refused: Refused | None) -> None:
        if refused is not None:
            await asyncio.to_thread(submission.record_refusal, self._engine, order_id, refused)

    def _unsettled(self) -> list[int]:
        with self._reading.connect() as connection:
            return queries.unsettled(connection)

    async def _submit(self, asked: Asked) -> order_pb2.Order:
        known = await asyncio.to_thread(self._find, asked)
        if known is None:
            priced = await submission.price(asked, self._prices)
            known = await asyncio.to_thread(submission.record, self._engine, asked, priced)
        else:
            order = await asyncio.to_thread(self._get, known.order_id)
            if queries.is_settled(order):
                return order
        try:
            refused = await submission.transact(self._client, known)
        except trypact.TrypactError as error:
            raise NotAnswering(
                f"order {known.order_id}: {error}; repeat the request with its request_id"
            ) from error
        await self._settle(known.order_id, refused)
        return await asyncio.to_thread(self._get, known.order_id)

    def _find(self, asked: Asked) -> Submission | None:
        with self._reading.connect() as connection:
            return submission.find(connection, asked)

    def _get(self, order_id: int) -> order_pb2.Order:
        with self._reading.connect() as connection:
            return queries.get_order(connection, order_id)

    @answering
    def GetOrder(  # noqa: N802
        self, request: order_pb2.GetOrderRequest
    ) -> order_pb2.GetOrderResponse:
        """Return one order."""
        return order_pb2.GetOrderResponse(order=self._get(request.order_id))

    @answering
    def ListOrders(  # noqa: N802
        self, request: order_pb2.ListOrdersRequest
    ) -> order_pb2.ListOrdersResponse:
        """Return a page of orders, newest first."""
        with self._reading.connect() as connection:
            return queries.list_orders(connection, request)

    @answering
    def BlockBuyer(  # noqa: N802
        self, request: order_pb2.BlockBuyerRequest
    ) -> order_pb2.BlockBuyerResponse:
        """Refuse a buyer's orders from now on."""
        with self._engine.begin() as connection:
            queries.block_buyer(connection, request.user_id, request.reason)
        return order_pb2.BlockBuyerResponse()

    @answering
    def GetOrderTotals(  # noqa: N802
        self, request: order_pb2.GetOrderTotalsRequest
    ) -> order_pb2.GetOrderTotalsResponse:
        """Return counts and sums over all orders."""
        with self._reading.connect() as connection:
            return queries.totals(connection)


def _asked(request: order_pb2.SubmitOrderRequest) -> Asked:
    return Asked(
        request_id=request.request_id,
        buyer_user_id=request.buyer_user_id,
        lines=[Line(line.sku_id, line.quantity) for line in request.lines],
        coupon_id=request.coupon_id or None,
        money_paid_cents=(
            request.money_paid_cents if request.HasField("money_paid_cents") else None
        ),
        interactive=request.form == order_pb2.SUBMIT_FORM_INTERACTIVE,
    )
