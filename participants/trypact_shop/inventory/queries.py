"""Stocking goods, and looking at them: the inventory's own service beside its actions."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Engine, Row, Select, func, insert, select, update

from trypact_shop import checks
from trypact_shop.database import reading
from trypact_shop.errors import NotFound
from trypact_shop.inventory.tables import goods, stock, stock_work_detail
from trypact_shop.rpc import answering
from trypact_shop.v1 import inventory_pb2, inventory_pb2_grpc

_UNDECIDED = ("reserved", "deducting", "releasing")


class InventoryService(inventory_pb2_grpc.InventoryServiceServicer):
    """Serves proto/trypact_shop/v1/inventory.proto."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reading = reading(engine)

    @answering
    def AddStock(  # noqa: N802 (the wire's name)
        self, request: inventory_pb2.AddStockRequest
    ) -> inventory_pb2.AddStockResponse:
        """Add pieces to a warehouse; the goods become known, or take the given prices."""
        new = request.goods
        checks.identity("goods.sku_id", new.sku_id)
        checks.text("goods.goods_name", new.goods_name)
        checks.cents("goods.price_cents", new.price_cents, least=0)
        checks.whole(
            "goods.list_price_cents", new.list_price_cents, new.price_cents, checks.CENTS_MAX
        )
        checks.identity("warehouse_id", request.warehouse_id)
        checks.whole("quantity", request.quantity, 0, checks.STOCK_MAX)
        with self._engine.begin() as connection:
            _save_goods(connection, new)
            _add(connection, new.sku_id, request.warehouse_id, request.quantity)
        return inventory_pb2.AddStockResponse()

    @answering
    def GetGoods(  # noqa: N802
        self, request: inventory_pb2.GetGoodsRequest
    ) -> inventory_pb2.GetGoodsResponse:
        """Return goods and prices in the order asked for."""
        with self._reading.connect() as connection:
            rows = connection.execute(select(goods).where(goods.c.sku_id.in_(request.sku_ids)))
            found = {row.sku_id: row for row in rows}
        missing = [str(sku_id) for sku_id in request.sku_ids if sku_id not in found]
        if missing:
            raise NotFound(f"there are no goods with sku {', '.join(missing)}")
        return inventory_pb2.GetGoodsResponse(
            goods=[
                inventory_pb2.Goods(
                    sku_id=sku_id,
                    goods_name=found[sku_id].goods_name,
                    list_price_cents=found[sku_id].list_price_cents,
                    price_cents=found[sku_id].price_cents,
                )
                for sku_id in request.sku_ids
            ]
        )

    @answering
    def GetStock(  # noqa: N802
        self, request: inventory_pb2.GetStockRequest
    ) -> inventory_pb2.GetStockResponse:
        """Return where the pieces are, by sku and warehouse."""
        with self._reading.connect() as connection:
            rows = connection.execute(_stock_query(request.sku_ids)).all()
        return inventory_pb2.GetStockResponse(stocks=[_stock(row) for row in rows])


def _save_goods(connection: Connection, new: inventory_pb2.Goods) -> None:
    values = {
        "goods_name": new.goods_name,
        "list_price_cents": new.list_price_cents,
        "price_cents": new.price_cents,
    }
    changed = connection.execute(update(goods).where(goods.c.sku_id == new.sku_id).values(values))
    if changed.rowcount == 0:
        connection.execute(insert(goods).values(sku_id=new.sku_id, **values))


def _add(connection: Connection, sku_id: int, warehouse_id: int, quantity: int) -> None:
    added = connection.execute(
        update(stock)
        .where(stock.c.sku_id == sku_id, stock.c.warehouse_id == warehouse_id)
        .values(available=stock.c.available + quantity, total=stock.c.total + quantity)
    )
    if added.rowcount == 0:
        connection.execute(
            insert(stock).values(
                sku_id=sku_id, warehouse_id=warehouse_id, available=quantity, total=quantity
            )
        )


def _stock_query(sku_ids: Iterable[int]) -> Select[Any]:
    undecided = (
        select(func.coalesce(func.sum(stock_work_detail.c.quantity), 0))
        .where(stock_work_detail.c.sku_id == stock.c.sku_id)
        .where(stock_work_detail.c.warehouse_id == stock.c.warehouse_id)
        .where(stock_work_detail.c.state.in_(_UNDECIDED))
        .scalar_subquery()
    )
    query = (
        select(stock, goods.c.goods_name, goods.c.price_cents, undecided.label("undecided"))
        .join(goods, goods.c.sku_id == stock.c.sku_id)
        .order_by(stock.c.sku_id, stock.c.warehouse_id)
    )
    wanted = list(sku_ids)
    return query.where(stock.c.sku_id.in_(wanted)) if wanted else query


def _stock(row: Row[Any]) -> inventory_pb2.Stock:
    return inventory_pb2.Stock(
        sku_id=row.sku_id,
        goods_name=row.goods_name,
        warehouse_id=row.warehouse_id,
        available=row.available,
        reserved=row.reserved,
        sold=row.sold,
        total=row.total,
        price_cents=row.price_cents,
        undecided=row.undecided,
    )
