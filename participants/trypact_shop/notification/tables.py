"""What the notification participant keeps: a log of what was sent."""

from sqlalchemy import BigInteger, Column, DateTime, MetaData, String, Table, func

from trypact_shop.database import COUNTED

metadata = MetaData()

sent_log = Table(
    "sent_log",
    metadata,
    Column("id", COUNTED, primary_key=True),
    Column("user_id", BigInteger, nullable=False, index=True),
    Column("order_id", BigInteger, nullable=False, index=True),
    Column("text", String(255), nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
