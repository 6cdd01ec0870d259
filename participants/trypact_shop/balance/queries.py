"""Paying in, and looking at accounts: the balance participant's own service."""

from typing import Any

from sqlalchemy import Engine, Row, func, insert, select, update

from trypact_shop import checks
from trypact_shop.balance.tables import LogType, account, money_log
from trypact_shop.database import reading
from trypact_shop.rpc import answering
from trypact_shop.v1 import balance_pb2, balance_pb2_grpc


class BalanceService(balance_pb2_grpc.BalanceServiceServicer):
    """Serves proto/trypact_shop/v1/balance.proto."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reading = reading(engine)

    @answering
    def Deposit(  # noqa: N802 (the wire's name)
        self, request: balance_pb2.DepositRequest
    ) -> balance_pb2.DepositResponse:
        """Pay in; the first time it opens the account."""
        checks.identity("user_id", request.user_id)
        checks.cents("money_cents", request.money_cents, least=0)
        checks.cents("coins", request.coins, least=0)
        money, coins = request.money_cents, request.coins
        with self._engine.begin() as connection:
            paid_in = connection.execute(
                update(account)
                .where(account.c.user_id == request.user_id)
                .values(
                    money_available_cents=account.c.money_available_cents + money,
                    money_deposited_cents=account.c.money_deposited_cents + money,
                    coins_available=account.c.coins_available + coins,
                    coins_deposited=account.c.coins_deposited + coins,
                )
            )
            if paid_in.rowcount == 0:
                connection.execute(
                    insert(account).values(
                        user_id=request.user_id,
                        money_available_cents=money,
                        money_deposited_cents=money,
                        coins_available=coins,
                        coins_deposited=coins,
                    )
                )
        return balance_pb2.DepositResponse()

    @answering
    def ListAccounts(  # noqa: N802
        self, request: balance_pb2.ListAccountsRequest
    ) -> balance_pb2.ListAccountsResponse:
        """Return accounts by user."""
        query = select(account).order_by(account.c.user_id)
        if request.user_ids:
            query = query.where(account.c.user_id.in_(request.user_ids))
        with self._reading.connect() as connection:
            rows = connection.execute(query).all()
        return balance_pb2.ListAccountsResponse(accounts=[_account(row) for row in rows])

    @answering
    def GetBalanceTotals(  # noqa: N802
        self, request: balance_pb2.GetBalanceTotalsRequest
    ) -> balance_pb2.GetBalanceTotalsResponse:
        """Return the sums of the log."""
        query = select(money_log.c.money_log_type, func.sum(money_log.c.use_money_cents)).group_by(
            money_log.c.money_log_type
        )
        with self._reading.connect() as connection:
            sums = {int(kind): int(total) for kind, total in connection.execute(query)}
        return balance_pb2.GetBalanceTotalsResponse(
            money_paid_cents=sums.get(LogType.ORDER_PAID, 0),
            money_refunded_cents=sums.get(LogType.ORDER_REFUNDED, 0),
        )


def _account(row: Row[Any]) -> balance_pb2.Account:
    return balance_pb2.Account(
        user_id=row.user_id,
        money_available_cents=row.money_available_cents,
        money_frozen_cents=row.money_frozen_cents,
        money_spent_cents=row.money_spent_cents,
        money_deposited_cents=row.money_deposited_cents,
        coins_available=row.coins_available,
        coins_frozen=row.coins_frozen,
        coins_spent=row.coins_spent,
        coins_deposited=row.coins_deposited,
    )
