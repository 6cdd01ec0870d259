"""What the order participant keeps: orders and their items, submissions, a log of operations.

`orders` holds payment orders (level 1), with the seed's columns that have a meaning today.
"""

from enum import IntEnum

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    func,
)

from trypact_shop.database import COUNTED

metadata = MetaData()


class Status(IntEnum):
    """The column `status`."""

    CREATED = 0
    CANCELLED = 1
    PAID = 2
    SHIPPED = 3
    RECEIVED = 4
    CLOSED = 5
    COMPLETED = 6


class StatusEx(IntEnum):
    """The column `status_ex`: what a Try has begun and nobody has decided yet."""

    NONE = 0
    INIT = 1
    PAYING = 2
    CANCELLING = 3
    CLOSING = 4


class Visible(IntEnum):
    """The column `visible`."""

    NORMAL = 0
    DELETED = 1
    DELETED_FOR_EVER = 2
    INITIAL = 99


class Reverse(IntEnum):
    """The column `reverse_status`: how far a refund is."""

    NONE = 0
    RUNNING = 1
    ENDED_REFUNDED = 4


orders = Table(
    "orders",
    metadata,
    Column("order_id", BigInteger, primary_key=True, autoincrement=False),
    Column("parent_order_id", BigInteger, nullable=False, server_default="0"),
    Column("level", SmallInteger, nullable=False, server_default="1"),
    Column("type", Integer, nullable=False, server_default="1"),
    Column("visible", SmallInteger, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("status_ex", SmallInteger, nullable=False),
    Column("reverse_status", SmallInteger, nullable=False, server_default="0"),
    Column("quantity", Integer, nullable=False),
    Column("buyer_user_id", BigInteger, nullable=False, index=True),
    # What the goods cost; what the coupon took off; what the balance paid; what is left to pay.
    Column("price_cents", BigInteger, nullable=False),
    Column("promotion_amount_cents", BigInteger, nullable=False),
    Column("money_paid_cents", BigInteger, nullable=False),
    Column("pay_amount_cents", BigInteger, nullable=False),
    Column("refunding_cents", BigInteger, nullable=False, server_default="0"),
    Column("refunded_cents", BigInteger, nullable=False, server_default="0"),
    Column("coupon_id", BigInteger),
    Column("pay_id", BigInteger, nullable=False, server_default="0"),
    Column("pay_time", DateTime(timezone=True)),
    Column("confirm_time", DateTime(timezone=True)),
    Column("cancel_time", DateTime(timezone=True)),
    Column("cancel_reason", String(1024), nullable=False, server_default=""),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("update_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("version", Integer, nullable=False, server_default="0"),
    CheckConstraint("level BETWEEN 1 AND 3", name="orders_level"),
    CheckConstraint("visible IN (0, 1, 2, 99)", name="orders_visible"),
    CheckConstraint("status BETWEEN 0 AND 6", name="orders_status"),
    CheckConstraint("status_ex BETWEEN 0 AND 4", name="orders_status_ex"),
    CheckConstraint("reverse_status BETWEEN 0 AND 4", name="orders_reverse_status"),
    CheckConstraint("quantity > 0", name="orders_quantity"),
    CheckConstraint(
        "price_cents - promotion_amount_cents - money_paid_cents = pay_amount_cents",
        name="orders_sum",
    ),
    CheckConstraint(
        "promotion_amount_cents >= 0 AND money_paid_cents >= 0 AND pay_amount_cents >= 0",
        name="orders_amounts",
    ),
    CheckConstraint(
        "refunding_cents >= 0 AND refunded_cents >= 0"
        " AND refunding_cents + refunded_cents <= money_paid_cents + pay_amount_cents",
        name="orders_refunds",
    ),
)

item_order_ex = Table(
    "item_order_ex",
    metadata,
    Column("order_id", ForeignKey("orders.order_id"), primary_key=True),
    Column("sku_id", BigInteger, primary_key=True, autoincrement=False),
    Column("title", String(255), nullable=False),
    Column("quantity", Integer, nullable=False),
    # List price and the price it was bought for, of one piece.
    Column("price_cents", BigInteger, nullable=False),
    Column("now_price_cents", BigInteger, nullable=False),
    CheckConstraint("quantity > 0 AND now_price_cents >= 0", name="item_order_ex_amounts"),
)

order_operate_log = Table(
    "order_operate_log",
    metadata,
    Column("id", COUNTED, primary_key=True),
    Column("order_id", BigInteger, nullable=False, index=True),
    Column("operate_type", String(128), nullable=False),
    Column("before", String(2048), nullable=False),
    Column("after", String(2048), nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

# One row for each request to submit an order, written before its transaction is opened: it gives
# the order its number and pins what was priced, so that asking again is the same transaction.
order_submission = Table(
    "order_submission",
    metadata,
    Column("id", COUNTED, primary_key=True),
    Column("request_id", String(128), nullable=False, unique=True),
    Column("order_id", BigInteger, unique=True),
    Column("buyer_user_id", BigInteger, nullable=False, index=True),
    # What was asked for, and the priced order that came of it (JSON).
    Column("asked", Text, nullable=False),
    Column("priced", Text, nullable=False),
    # Why there is no order, once that is known.
    Column("refused_by", String(128), nullable=False, server_default=""),
    Column("refused_reason", String(1024), nullable=False, server_default=""),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

blocked_buyer = Table(
    "blocked_buyer",
    metadata,
    Column("user_id", BigInteger, primary_key=True, autoincrement=False),
    Column("reason", String(255), nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
