"""Proves that everything adds up: nothing lost, nothing twice, nothing half.

Every number comes from the participants' own databases and from what buyers were told.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from trypact_shop.demo.orders import Answers
from trypact_shop.demo.world import World
from trypact_shop.v1 import (
    balance_pb2,
    coupon_pb2,
    inventory_pb2,
    member_pb2,
    order_pb2,
)

_TIMEOUT = 10.0


@dataclass(frozen=True)
class Claim:
    """One equation that must hold."""

    what: str
    left: str
    right: str
    holds: bool


@dataclass(frozen=True)
class Section:
    """Claims about one thing."""

    subject: str
    claims: tuple[Claim, ...]


def _equal(what: str, left: object, right: object) -> Claim:
    return Claim(what, str(left), str(right), left == right)


def _adds_up(what: str, parts: Sequence[int], total: int) -> Claim:
    return Claim(what, " + ".join(map(str, parts)), str(total), sum(parts) == total)


def sections(world: World, answers: Answers) -> list[Section]:
    """Return every claim, with whether it holds."""
    totals = world.order.GetOrderTotals(order_pb2.GetOrderTotalsRequest(), timeout=_TIMEOUT)
    return [
        Section("Orders", _of_orders(world, answers, totals)),
        Section("Stock: available + reserved + sold", _of_stock(world, totals)),
        Section("Coupons", _of_coupons(world, totals)),
        Section("Money, in cents", _of_money(world, totals)),
        Section("Points", _of_points(world, totals)),
    ]


def _of_orders(
    world: World, answers: Answers, totals: order_pb2.GetOrderTotalsResponse
) -> tuple[Claim, ...]:
    told = {order.order_id: order.status for order in answers.orders.values()}
    kept = {
        order_id: world.order.GetOrder(
            order_pb2.GetOrderRequest(order_id=order_id), timeout=_TIMEOUT
        ).order.status
        for order_id in told
    }
    agreeing = sum(kept[order_id] == told[order_id] for order_id in told)
    return (
        _adds_up(
            "confirmed + cancelled = submitted",
            (totals.confirmed, totals.cancelled),
            len(answers.orders),
        ),
        _equal("half-way", totals.pending, 0),
        _equal("as the buyers were told", agreeing, len(answers.orders)),
    )


def _of_stock(world: World, totals: order_pb2.GetOrderTotalsResponse) -> tuple[Claim, ...]:
    stocks = world.inventory.GetStock(inventory_pb2.GetStockRequest(), timeout=_TIMEOUT).stocks
    found: list[Claim] = []
    for sku_id in sorted({stock.sku_id for stock in stocks}):
        rows = [stock for stock in stocks if stock.sku_id == sku_id]
        parts = (
            sum(row.available for row in rows),
            sum(row.reserved for row in rows),
            sum(row.sold for row in rows),
        )
        found.append(_adds_up(rows[0].goods_name, parts, sum(row.total for row in rows)))
    reserved = sum(stock.reserved for stock in stocks)
    undecided = sum(stock.undecided for stock in stocks)
    return (
        *found,
        _equal("reserved = in confirmed orders", reserved, totals.pieces),
        _equal("reserved, and undecided", undecided, 0),
    )


def _of_coupons(world: World, totals: order_pb2.GetOrderTotalsResponse) -> tuple[Claim, ...]:
    coupons = world.coupon.ListCoupons(coupon_pb2.ListCouponsRequest(), timeout=_TIMEOUT).coupons
    states = [coupon.state for coupon in coupons]
    locked = states.count(coupon_pb2.COUPON_STATE_LOCKED)
    used = states.count(coupon_pb2.COUPON_STATE_USED)
    parts = (states.count(coupon_pb2.COUPON_STATE_FREE), locked, used)
    return (
        _adds_up("free + locked + used = issued", parts, len(coupons)),
        _equal("used = confirmed orders with one", used, totals.coupons),
        _equal("locked, and undecided", locked, 0),
    )


def _of_money(world: World, totals: order_pb2.GetOrderTotalsResponse) -> tuple[Claim, ...]:
    accounts = world.balance.ListAccounts(
        balance_pb2.ListAccountsRequest(), timeout=_TIMEOUT
    ).accounts
    log = world.balance.GetBalanceTotals(balance_pb2.GetBalanceTotalsRequest(), timeout=_TIMEOUT)
    frozen = sum(account.money_frozen_cents for account in accounts)
    spent = sum(account.money_spent_cents for account in accounts)
    parts = (sum(account.money_available_cents for account in accounts), frozen, spent)
    opening = sum(account.money_deposited_cents for account in accounts)
    return (
        _adds_up("available + frozen + spent", parts, opening),
        _equal("spent = paid for confirmed orders", spent, totals.money_paid_cents),
        _equal("debits in the log = spent", log.money_paid_cents, spent),
        _equal("frozen, and undecided", frozen, 0),
    )


def _of_points(world: World, totals: order_pb2.GetOrderTotalsResponse) -> tuple[Claim, ...]:
    points = world.member.GetPointsTotals(member_pb2.GetPointsTotalsRequest(), timeout=_TIMEOUT)
    return (
        _equal("deliveries = confirmed orders", points.deliveries, totals.confirmed),
        _equal("different orders among them", points.orders, points.deliveries),
        _equal("the members' points = the log's", points.points, points.points_logged),
    )
