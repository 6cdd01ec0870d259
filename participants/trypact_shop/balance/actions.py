"""What the balance participant does for a transaction, the same for money and for coins."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from sqlalchemy import Column, Connection, bindparam, func, insert, select, update
from trypact import Call, Participant, Refuse, many
from trypact.fence import Fence

from trypact_shop.balance.requests import FreezeRequest, RefundRequest
from trypact_shop.balance.tables import COINS, MONEY, LogType, Purse, account, charge
from trypact_shop.database import must_change
from trypact_shop.sets import accepted, change_all, each, execute_all

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

    @many
    def try_(
        self, calls: Sequence[Call[FreezeRequest]], connection: Connection
    ) -> list[Refuse | None]:
        """Freeze each amount, or refuse when there is no account or too little in it."""
        purse = self.purse
        available = _available(connection, purse, {call.request.user_id for call in calls})
        charged = _charged(connection, purse, [call.request.order_id for call in calls])

        def freeze(request: FreezeRequest) -> None:
            left = available.get(request.user_id)
            if left is None:
                raise Refuse(f"no_account: user {request.user_id} has no account")
            if left < request.amount:
                raise Refuse(
                    f"balance_short: user {request.user_id} has {left} {purse.asset} available,"
                    f" {request.amount} were asked for"
                )
            if request.order_id in charged:
                raise Refuse(
                    f"already_charged: order {request.order_id} was charged in {purse.asset}"
                )
            available[request.user_id] = left - request.amount
            charged.add(request.order_id)

        said = each(calls, freeze)
        frozen = [request for request, _ in accepted(calls, said)]
        _move_all(connection, frozen, purse.available, purse.frozen)
        charges = (
            {
                "order_id": request.order_id,
                "asset": purse.asset,
                "user_id": request.user_id,
                "amount": request.amount,
                "state": "frozen",
            }
            for request in frozen
        )
        execute_all(connection, insert(charge), charges)
        return said

    @many
    def confirm(self, calls: Sequence[Call[FreezeRequest]], connection: Connection) -> None:
        """Spend what was frozen."""
        requests, purse = [call.request for call in calls], self.purse
        _move_all(connection, requests, purse.frozen, purse.spent)
        _end_charges(connection, purse, requests, "spent")
        _log_all(connection, purse, LogType.ORDER_PAID, requests)

    @many
    def cancel(self, calls: Sequence[Call[FreezeRequest]], connection: Connection) -> None:
        """Make what was frozen available again."""
        requests, purse = [call.request for call in calls], self.purse
        _move_all(connection, requests, purse.frozen, purse.available)
        _end_charges(connection, purse, requests, "unfrozen")


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
        paid = FreezeRequest(request.order_id, user_id, request.amount)
        _move_all(connection, [paid], purse.spent, purse.available)
        _set_charge(
            connection,
            purse,
            request.order_id,
            refunding=charge.c.refunding - request.amount,
            refunded=charge.c.refunded + request.amount,
        )
        _log_all(connection, purse, LogType.ORDER_REFUNDED, [paid])

    def cancel(self, call: Call[RefundRequest], connection: Connection) -> None:
        """Keep it spent."""
        refunding = charge.c.refunding - call.request.amount
        _set_charge(connection, self.purse, call.request.order_id, refunding=refunding)


class RefundCoins(Refund):
    """The same for coins."""

    purse = COINS


def _available(connection: Connection, purse: Purse, users: Iterable[int]) -> dict[int, int]:
    """Return what users have, and lock their accounts."""
    rows = connection.execute(
        select(account.c.user_id, purse.available.label("available"))
        .where(account.c.user_id.in_(sorted(users)))
        .order_by(account.c.user_id)
        .with_for_update()
    )
    return {row.user_id: row.available for row in rows}


def _charged(connection: Connection, purse: Purse, orders: Iterable[int]) -> set[int]:
    """Return those of the orders that were charged."""
    charged = select(charge.c.order_id).where(charge.c.asset == purse.asset)
    return set(connection.scalars(charged.where(charge.c.order_id.in_(list(orders)))))


def _move_all(
    connection: Connection,
    requests: Sequence[FreezeRequest],
    source: Column[int],
    target: Column[int],
) -> None:
    """Move everybody's amounts, account by account in one order."""
    amounts: Counter[int] = Counter()
    for request in requests:
        amounts[request.user_id] += request.amount
    moved: Any = bindparam("moved", type_=source.type)
    move = (
        update(account)
        .where(account.c.user_id == bindparam("user"), source >= moved)
        .values({source: source - moved, target: target + moved})
    )
    rows = ({"user": user_id, "moved": amount} for user_id, amount in sorted(amounts.items()))
    change_all(connection, move, rows, lambda row: f"account {row['user']}")


def _end_charges(
    connection: Connection, purse: Purse, requests: Sequence[FreezeRequest], state: str
) -> None:
    end = (
        update(charge)
        .where(charge.c.order_id == bindparam("order"), charge.c.asset == purse.asset)
        .values(state=state, update_time=func.now())
    )
    rows = ({"order": order_id} for order_id in sorted(request.order_id for request in requests))
    change_all(connection, end, rows, lambda row: f"the charge of order {row['order']}")


def _set_charge(connection: Connection, purse: Purse, order_id: int, **values: Any) -> None:
    changed = connection.execute(
        update(charge)
        .where(charge.c.order_id == order_id, charge.c.asset == purse.asset)
        .values(values | {"update_time": func.now()})
    )
    must_change(changed, 1, f"the charge of order {order_id}")


def _log_all(
    connection: Connection, purse: Purse, log_type: LogType, requests: Sequence[FreezeRequest]
) -> None:
    rows = (
        {
            "user_id": request.user_id,
            "order_id": request.order_id,
            "money_log_type": int(log_type),
            purse.used.name: request.amount,
        }
        for request in requests
    )
    execute_all(connection, insert(purse.log), rows)
