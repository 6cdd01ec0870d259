"""What the balance participant does for a transaction, the same for money and for coins."""

from typing import Any, ClassVar

from sqlalchemy import Column, Connection, CursorResult, func, insert, select, update
from trypact import Call, Participant, Refuse
from trypact.fence import Fence

from trypact_shop.balance.requests import FreezeRequest, RefundRequest
from trypact_shop.balance.tables import COINS, MONEY, LogType, Purse, account, charge
from trypact_shop.database import must_change

NAME = "balance"


def participant(fence: Fence) -> Participant:
    """Return the participant with all its actions."""
    balance = Participant(NAME, fence=fence)
    balance.tcc("freeze", request=FreezeRequest)(Freeze)
    balance.tcc("freeze_coins", request=FreezeRequest)(FreezeCoins)
    balance.tcc("refund", request=RefundRequest)(Refund)
    balance.tcc("refund_coins", request=RefundRequest)(RefundCoins)
    return balance


class Freeze:
    """Try freezes the amount; Confirm spends it (log type 1); Cancel unfreezes it."""

    purse: ClassVar[Purse] = MONEY

    def try_(self, call: Call[FreezeRequest], connection: Connection) -> None:
        """Freeze the amount, or refuse when there is no account or too little in it."""
        request, purse = call.request, self.purse
        frozen = _move(connection, request.user_id, purse.available, purse.frozen, request.amount)
        if frozen.rowcount != 1:
            raise Refuse(_why_not(connection, purse, request))
        order = (charge.c.order_id == request.order_id) & (charge.c.asset == purse.asset)
        if connection.execute(select(charge.c.state).where(order)).first() is not None:
            raise Refuse(f"already_charged: order {request.order_id} was charged in {purse.asset}")
        connection.execute(
            insert(charge).values(
                order_id=request.order_id,
                asset=purse.asset,
                user_id=request.user_id,
                amount=request.amount,
                state="frozen",
            )
        )

    def confirm(self, call: Call[FreezeRequest], connection: Connection) -> None:
        """Spend what was frozen."""
        request, purse = call.request, self.purse
        spent = _move(connection, request.user_id, purse.frozen, purse.spent, request.amount)
        must_change(spent, 1, f"account {request.user_id}")
        _set_charge(connection, purse, request.order_id, state="spent")
        _log(connection, purse, request.user_id, request.order_id, LogType.ORDER_PAID, request)

    def cancel(self, call: Call[FreezeRequest], connection: Connection) -> None:
        """Make what was frozen available again."""
        request, purse = call.request, self.purse
        freed = _move(connection, request.user_id, purse.frozen, purse.available, request.amount)
        must_change(freed, 1, f"account {request.user_id}")
        _set_charge(connection, purse, request.order_id, state="unfrozen")


class FreezeCoins(Freeze):
    """The same for coins."""

    purse = COINS


class Refund:
    """Try sets the refund aside in the order's charge; Confirm pays it out (log type 2)."""

    purse: ClassVar[Purse] = MONEY

    def try_(self, call: Call[RefundRequest], connection: Connection) -> None:
        """Set the amount aside, or refuse more than what was spent and not yet refunded."""
        request, purse = call.request, self.purse
        order = (charge.c.order_id == request.order_id) & (charge.c.asset == purse.asset)
        left = charge.c.amount - charge.c.refunding - charge.c.refunded
        set_aside = connection.execute(
            update(charge)
            .where(order, charge.c.state == "spent", left >= request.amount)
            .values(refunding=charge.c.refunding + request.amount)
        )
        if set_aside.rowcount == 1:
            return
        row = connection.execute(select(charge.c.state, left.label("left")).where(order)).first()
        if row is None or row.state != "spent":
            raise Refuse(f"not_charged: order {request.order_id} spent no {purse.asset}")
        raise Refuse(
            f"refund_too_large: order {request.order_id} has {row.left} left to refund,"
            f" {request.amount} were asked for"
        )

    def confirm(self, call: Call[RefundRequest], connection: Connection) -> None:
        """Pay it out."""
        request, purse = call.request, self.purse
        user_id = connection.scalar(
            select(charge.c.user_id).where(
                charge.c.order_id == request.order_id, charge.c.asset == purse.asset
            )
        )
        if user_id is None:
            raise Refuse(f"not_charged: order {request.order_id} spent no {purse.asset}")
        paid = _move(connection, user_id, purse.spent, purse.available, request.amount)
        must_change(paid, 1, f"account {user_id}")
        _set_charge(
            connection,
            purse,
            request.order_id,
            refunding=charge.c.refunding - request.amount,
            refunded=charge.c.refunded + request.amount,
        )
        _log(connection, purse, user_id, request.order_id, LogType.ORDER_REFUNDED, request)

    def cancel(self, call: Call[RefundRequest], connection: Connection) -> None:
        """Keep it spent."""
        refunding = charge.c.refunding - call.request.amount
        _set_charge(connection, self.purse, call.request.order_id, refunding=refunding)


class RefundCoins(Refund):
    """The same for coins."""

    purse = COINS


def _why_not(connection: Connection, purse: Purse, request: FreezeRequest) -> str:
    available = connection.scalar(
        select(purse.available).where(account.c.user_id == request.user_id)
    )
    if available is None:
        return f"no_account: user {request.user_id} has no account"
    return (
        f"balance_short: user {request.user_id} has {available} {purse.asset} available,"
        f" {request.amount} were asked for"
    )


def _move(
    connection: Connection, user_id: int, source: Column[int], target: Column[int], amount: int
) -> CursorResult[Any]:
    """Move an amount if the source has it; the row count tells whether it had."""
    return connection.execute(
        update(account)
        .where(account.c.user_id == user_id, source >= amount)
        .values({source: source - amount, target: target + amount})
    )


def _set_charge(connection: Connection, purse: Purse, order_id: int, **values: Any) -> None:
    changed = connection.execute(
        update(charge)
        .where(charge.c.order_id == order_id, charge.c.asset == purse.asset)
        .values(values | {"update_time": func.now()})
    )
    must_change(changed, 1, f"the charge of order {order_id}")


def _log(
    connection: Connection,
    purse: Purse,
    user_id: int,
    order_id: int,
    log_type: LogType,
    request: FreezeRequest | RefundRequest,
) -> None:
    connection.execute(
        insert(purse.log).values(
            {
                "user_id": user_id,
                "order_id": order_id,
                "money_log_type": int(log_type),
                purse.used.name: request.amount,
            }
        )
    )
