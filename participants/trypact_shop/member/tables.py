"""What the member participant keeps: points and growth of each member, and where they are from."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    MetaData,
    Table,
    UniqueConstraint,
    func,
)

from trypact_shop.database import COUNTED

metadata = MetaData()

member = Table(
    "member",
    metadata,
    Column("user_id", BigInteger, primary_key=True, autoincrement=False),
    Column("points", BigInteger, nullable=False, server_default="0"),
    Column("growth", BigInteger, nullable=False, server_default="0"),
    CheckConstraint("points >= 0 AND growth >= 0", name="member_points"),
)

points_log = Table(
    "points_log",
    metadata,
    Column("id", COUNTED, primary_key=True),
    Column("user_id", BigInteger, nullable=False, index=True),
    Column("order_id", BigInteger, nullable=False),
    Column("points", BigInteger, nullable=False),
    Column("growth", BigInteger, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # An order earns its points once, whatever asks for it.
    UniqueConstraint("order_id", name="points_log_once_an_order"),
)
