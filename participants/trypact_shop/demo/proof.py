"""Proves that everything adds up: nothing lost, nothing twice, nothing half.

Every number comes from the participants' own databases and from what buyers were told.
"""

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

    subject: str
    what: str
    left: str
    right: str
    holds: bool


def _equal(subject: str, what: str, left: object, right: object) -> Claim:
    return Claim(subject, what, str(left), str(right), left == right)


def claims(world: World, answers: Answers) -> list[Claim]:
    """Return every claim, with whether it holds."""
    totals = world.order.GetOrderTotals(order_pb2.GetOrderTotalsRequest(), timeout=_TIMEOUT)
    return [
        *_of_orders(world, answers, totals),
        *_of_stock(world, totals),
        *_of_coupons(world, totals),
        *_of_money(world, totals),
        *_of_points(world, totals),
    ]


def _of_orders(
    world: World, answers: Answers, totals: order_pb2.GetOrderTotalsResponse
) -> list[Claim]:
    told = {order.order_id: order.status for order in answers.orders.values()}
    kept = {
        order_id: world.order.GetOrder(
            order_pb2.GetOrderRequest(order_id=order_id), timeout=_TIMEOUT
        ).order.status
        for order_id in told
    }
    return [
        _equal("orders", "confirmed + cancelled = submitted", _sum(totals), len(answers.orders)),
        _equal("", "still pending", totals.pending, 0),
        _equal("", "confirmed = buyers who were told so", totals.confirmed, len(answers.confirmed)),
        _equal(
            "",
            "answers that the order still agrees with",
            sum(kept[order_id] == told[order_id] for order_id in told),
            len(answers.orders),
        ),
    ]


def _sum(totals: order_pb2.GetOrderTotalsResponse) -> int:
    return totals.confirmed + totals.cancelled


def _of_stock(world: World, totals: order_pb2.GetOrderTotalsResponse) -> list[Claim]:
    stocks = world.inventory.GetStock(inventory_pb2.GetStockRequest(), timeout=_TIMEOUT).stocks
    skus = sorted({stock.sku_id for stock in stocks})
    found: list[Claim] = []
    for sku_id in skus:
        rows = [stock for stock in stocks if stock.sku_id == sku_id]
        placed = sum(row.available + row.reserved + row.sold for row in rows)
        total = sum(row.total for row in rows)
        what = f"{rows[0].goods_name}: available + reserved + sold = stocked"
        found.append(_equal("" if found else "stock", what, placed, total))
    reserved = sum(stock.reserved for stock in stocks)
    undecided = sum(stock.undecided for stock in stocks)
    return [
        *found,
        _equal("", "reserved = pieces in confirmed orders", reserved, totals.pieces),
        _equal("", "reserved for nobody knows whom", undecided, 0),
    ]


def _of_coupons(world: World, totals: order_pb2.GetOrderTotalsResponse) -> list[Claim]:
    coupons = world.coupon.ListCoupons(coupon_pb2.ListCouponsRequest(), timeout=_TIMEOUT).coupons
    states = [coupon.state for coupon in coupons]
    free = states.count(coupon_pb2.COUPON_STATE_FREE)
    locked = states.count(coupon_pb2.COUPON_STATE_LOCKED)
    used = states.count(coupon_pb2.COUPON_STATE_USED)
    return [
        _equal("coupons", "free + locked + used = issued", free + locked + used, len(coupons)),
        _equal("", "used = confirmed orders with one", used, totals.coupons),
        _equal("", "still locked", locked, 0),
    ]


def _of_money(world: World, totals: order_pb2.GetOrderTotalsResponse) -> list[Claim]:
    accounts = world.balance.ListAccounts(
        balance_pb2.ListAccountsRequest(), timeout=_TIMEOUT
    ).accounts
    log = world.balance.GetBalanceTotals(balance_pb2.GetBalanceTotalsRequest(), timeout=_TIMEOUT)
    available = sum(account.money_available_cents for account in accounts)
    frozen = sum(account.money_frozen_cents for account in accounts)
    spent = sum(account.money_spent_cents for account in accounts)
    opening = sum(account.money_deposited_cents for account in accounts)
    return [
        _equal(
            "money", "available + frozen + spent = opening", available + frozen + spent, opening
        ),
        _equal("", "spent = paid amounts of confirmed orders", spent, totals.money_paid_cents),
        _equal("", "debits in the log = spent", log.money_paid_cents, spent),
        _equal("", "still frozen", frozen, 0),
    ]


def _of_points(world: World, totals: order_pb2.GetOrderTotalsResponse) -> list[Claim]:
    points = world.member.GetPointsTotals(member_pb2.GetPointsTotalsRequest(), timeout=_TIMEOUT)
    return [
        _equal("points", "deliveries = confirmed orders", points.deliveries, totals.confirmed),
        _equal("", "orders that earned any = deliveries", points.orders, points.deliveries),
        _equal("", "points of members = points in the log", points.points, points.points_logged),
    ]
