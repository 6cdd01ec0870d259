"""What the coupon participant keeps."""

from enum import IntEnum

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    MetaData,
    SmallInteger,
    Table,
    func,
)

metadata = MetaData()


class Use(IntEnum):
    """The column `is_used`: 0 and 1 as ever, and what is not decided yet."""

    FREE = 0
    USED = 1
    # The Try of an order whose transaction is not decided.
    LOCKED = 2
    # The Try of a give-back that is not decided.
    RETURNING = 3


coupon = Table(
    "coupon",
    metadata,
    Column("coupon_id", BigInteger, primary_key=True, autoincrement=False),
    Column("coupon_price_cents", BigInteger, nullable=False),
    Column("user_id", BigInteger, nullable=False, index=True),
    Column("order_id", BigInteger, index=True),
    Column("is_used", SmallInteger, nullable=False, server_default="0"),
    Column("used_time", DateTime(timezone=True)),
    Column("add_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("coupon_price_cents > 0", name="coupon_price"),
    CheckConstraint("is_used BETWEEN 0 AND 3", name="coupon_is_used"),
    CheckConstraint("(is_used = 0) = (order_id IS NULL)", name="coupon_held_for_an_order"),
    CheckConstraint("(is_used IN (1, 3)) = (used_time IS NOT NULL)", name="coupon_used_time"),
)
