"""What the inventory participant keeps: goods, stock by warehouse, work orders, a log.

A piece is in exactly one of three places: available (sellable), reserved (frozen for an order) or
sold. The database itself refuses a row in which they do not add up to the total.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    func,
)

from trypact_shop.database import COUNTED

metadata = MetaData()

goods = Table(
    "goods",
    metadata,
    Column("sku_id", BigInteger, primary_key=True, autoincrement=False),
    Column("goods_name", String(255), nullable=False),
    Column("list_price_cents", BigInteger, nullable=False),
    Column("price_cents", BigInteger, nullable=False),
    Column("goods_desc", String(255), nullable=False, server_default=""),
    Column("image", String(255), nullable=False, server_default=""),
    Column("add_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("price_cents >= 0 AND list_price_cents >= price_cents", name="goods_prices"),
)

stock = Table(
    "stock",
    metadata,
    Column("sku_id", ForeignKey("goods.sku_id"), primary_key=True, autoincrement=False),
    Column("warehouse_id", BigInteger, primary_key=True, autoincrement=False),
    Column("available", Integer, nullable=False),
    Column("reserved", Integer, nullable=False, server_default="0"),
    Column("sold", Integer, nullable=False, server_default="0"),
    Column("total", Integer, nullable=False),
    CheckConstraint("available >= 0", name="stock_available"),
    CheckConstraint("reserved >= 0", name="stock_reserved"),
    CheckConstraint("sold >= 0", name="stock_sold"),
    CheckConstraint("available + reserved + sold = total", name="stock_conserved"),
)

# Stock work order: one for each order that holds stock.
stock_work_order = Table(
    "stock_work_order",
    metadata,
    Column("order_id", BigInteger, primary_key=True, autoincrement=False),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

# Which sku, from which warehouse, how many, for which order, and how that stands.
# "reserved" is a Try that is not decided; "locked" keeps the pieces for the order. The -ing
# states are Tries of a later transaction.
stock_work_detail = Table(
    "stock_work_detail",
    metadata,
    Column("order_id", ForeignKey("stock_work_order.order_id"), primary_key=True),
    Column("sku_id", BigInteger, primary_key=True, autoincrement=False),
    Column("warehouse_id", BigInteger, primary_key=True, autoincrement=False),
    Column("quantity", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("update_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("quantity > 0", name="stock_work_detail_quantity"),
    CheckConstraint(
        "state IN ('reserved', 'locked', 'released', 'deducted', 'returned',"
        " 'releasing', 'deducting', 'returning')",
        name="stock_work_detail_state",
    ),
)

goods_log = Table(
    "goods_log",
    metadata,
    Column("id", COUNTED, primary_key=True),
    Column("sku_id", BigInteger, nullable=False),
    Column("warehouse_id", BigInteger, nullable=False),
    Column("order_id", BigInteger, nullable=False, index=True),
    Column("goods_number", Integer, nullable=False),
    # reserve, lock, give_back, deduct, release, return
    Column("movement", String(16), nullable=False),
    Column("log_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
