"""What the balance participant keeps: accounts, what orders were charged, a log of each asset.

Whatever was deposited is available, frozen for an order, or spent; the database itself refuses an
account in which that does not add up.
"""

from dataclasses import dataclass
from enum import IntEnum

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    MetaData,
    SmallInteger,
    String,
    Table,
    func,
)

from trypact_shop.database import COUNTED

metadata = MetaData()


class LogType(IntEnum):
    """The column `money_log_type`."""

    ORDER_PAID = 1
    ORDER_REFUNDED = 2


def _amount(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default="0")


def _adds_up(prefix: str, suffix: str = "") -> list[CheckConstraint]:
    names = {part: f"{prefix}_{part}{suffix}" for part in ("available", "frozen", "spent")}
    total = f"{prefix}_deposited{suffix}"
    return [
        *(
            CheckConstraint(f"{name} >= 0", name=f"account_{prefix}_{part}")
            for part, name in names.items()
        ),
        CheckConstraint(f"{' + '.join(names.values())} = {total}", name=f"account_{prefix}_sum"),
    ]


account = Table(
    "account",
    metadata,
    Column("user_id", BigInteger, primary_key=True, autoincrement=False),
    _amount("money_available_cents"),
    _amount("money_frozen_cents"),
    _amount("money_spent_cents"),
    _amount("money_deposited_cents"),
    _amount("coins_available"),
    _amount("coins_frozen"),
    _amount("coins_spent"),
    _amount("coins_deposited"),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    *_adds_up("money", "_cents"),
    *_adds_up("coins"),
)

# What an order was charged, one row for each asset, and what of that went back.
charge = Table(
    "charge",
    metadata,
    Column("order_id", BigInteger, primary_key=True, autoincrement=False),
    Column("asset", String(8), primary_key=True),
    Column("user_id", ForeignKey("account.user_id"), nullable=False, index=True),
    Column("amount", BigInteger, nullable=False),
    Column("refunding", BigInteger, nullable=False, server_default="0"),
    Column("refunded", BigInteger, nullable=False, server_default="0"),
    Column("state", String(16), nullable=False),
    Column("update_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("asset IN ('money', 'coins')", name="charge_asset"),
    CheckConstraint("amount > 0 AND refunding >= 0 AND refunded >= 0", name="charge_amounts"),
    CheckConstraint("refunding + refunded <= amount", name="charge_refunds"),
    CheckConstraint("state IN ('frozen', 'spent', 'unfrozen')", name="charge_state"),
    CheckConstraint("state = 'spent' OR refunding + refunded = 0", name="charge_refund_of_spent"),
)


def _log(name: str, used: str) -> Table:
    return Table(
        name,
        metadata,
        Column("id", COUNTED, primary_key=True),
        Column("user_id", BigInteger, nullable=False, index=True),
        Column("order_id", BigInteger, nullable=False, index=True),
        Column("money_log_type", SmallInteger, nullable=False),
        Column(used, BigInteger, nullable=False),
        Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
        CheckConstraint("money_log_type IN (1, 2)", name=f"{name}_type"),
        CheckConstraint(f"{used} > 0", name=f"{name}_amount"),
    )


money_log = _log("money_log", "use_money_cents")
coin_log = _log("coin_log", "use_coins")


@dataclass(frozen=True)
class Purse:
    """The columns and the log of one asset."""

    asset: str
    available: Column[int]
    frozen: Column[int]
    spent: Column[int]
    deposited: Column[int]
    log: Table
    used: Column[int]


MONEY = Purse(
    "money",
    account.c.money_available_cents,
    account.c.money_frozen_cents,
    account.c.money_spent_cents,
    account.c.money_deposited_cents,
    money_log,
    money_log.c.use_money_cents,
)
COINS = Purse(
    "coins",
    account.c.coins_available,
    account.c.coins_frozen,
    account.c.coins_spent,
    account.c.coins_deposited,
    coin_log,
    coin_log.c.use_coins,
)
