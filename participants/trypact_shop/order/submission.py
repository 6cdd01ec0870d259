"""Submitting an order: one global transaction, however often it is asked for.

The number and the prices are written down first, in the order service's own database, under the
caller's request id; the xid follows from the number. Whoever repeats the request, in this process
or after a crash, therefore repeats the same transaction and learns its one outcome.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import trypact
from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.exc import IntegrityError
from trypact import message, notice, payload, tcc

from trypact_shop import checks
from trypact_shop.balance.requests import FreezeRequest
from trypact_shop.coupon.requests import UseRequest, UseResult
from trypact_shop.errors import Conflict, Invalid
from trypact_shop.inventory.requests import Line, ReserveRequest
from trypact_shop.member.requests import AddPointsRequest
from trypact_shop.notification.requests import SendRequest
from trypact_shop.order.requests import CreateRequest, Item
from trypact_shop.order.tables import order_submission

TRANSACTION = "order.submit"
# How long the transaction may stay undecided, in seconds.
TIMEOUT = 10.0
REQUEST_ID_CHARACTERS_MAX = 64
# An order earns one point for so many cents paid.
CENTS_A_POINT = 100

_NUMBERS_A_DAY = 10**8


def xid_of(order_id: int) -> str:
    """Return the id of the transaction that creates an order."""
    return f"order-{order_id}"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a buyer asks for."""

    request_id: str
    buyer_user_id: int
    lines: list[Line]
    coupon_id: int | None
    # None: the balance pays all of it.
    money_paid_cents: int | None
    interactive: bool

    def __post_init__(self) -> None:
        checks.text("request_id", self.request_id, most=REQUEST_ID_CHARACTERS_MAX)
        if not (self.request_id.isascii() and self.request_id.isprintable()):
            raise Invalid("request_id", repr(self.request_id), "visible ASCII characters")
        checks.identity("buyer_user_id", self.buyer_user_id)
        checks.whole("lines (how many)", len(self.lines), 1, checks.LINES_MAX)
        checks.distinct("lines.sku_id", [line.sku_id for line in self.lines])
        if self.coupon_id is not None:
            checks.identity("coupon_id", self.coupon_id)
        if self.money_paid_cents is not None:
            checks.cents("money_paid_cents", self.money_paid_cents, least=0)


@dataclass(frozen=True, slots=True)
class Priced:
    """What the asked-for goods and the coupon were worth when it was first asked."""

    items: list[Item]
    coupon_price_cents: int

    @property
    def price_cents(self) -> int:
        """What the goods cost."""
        return sum(item.quantity * item.now_price_cents for item in self.items)


@dataclass(frozen=True, slots=True)
class Submission:
    """A request that has its order number and its prices."""

    order_id: int
    asked: Asked
    priced: Priced

    def create(self, coupon_price_cents: int) -> CreateRequest:
        """Return the order; raises Invalid if the balance would pay more than it costs."""
        promotion = min(coupon_price_cents, self.priced.price_cents)
        paid = self.asked.money_paid_cents
        return CreateRequest(
            order_id=self.order_id,
            buyer_user_id=self.asked.buyer_user_id,
            items=self.priced.items,
            promotion_amount_cents=promotion,
            money_paid_cents=self.priced.price_cents - promotion if paid is None else paid,
            coupon_id=self.asked.coupon_id,
        )


class Prices(Protocol):
    """Where goods and coupons can be looked up."""

    async def items(self, lines: Sequence[Line]) -> list[Item]:
        """Return goods with their prices. Raises NotFound, or NotAnswering."""
        ...

    async def coupon_price_cents(self, coupon_id: int) -> int:
        """Return what a coupon takes off. Raises NotFound, or NotAnswering."""
        ...


async def price(asked: Asked, prices: Prices) -> Priced:
    """Look up what is asked for. Raises NotFound, NotAnswering, and Invalid as `create` does."""
    items = await prices.items(asked.lines)
    worth = 0
    if asked.coupon_id is not None:
        worth = await prices.coupon_price_cents(asked.coupon_id)
    priced = Priced(items, worth)
    # Checked before a number is given; 1 stands for the number.
    Submission(1, asked, priced).create(worth)
    return priced


# ---------------------------------------------------------------- the order service's own record


def find(connection: Connection, asked: Asked) -> Submission | None:
    """Return what this request id stands for, if it was used. Raises Conflict for another one."""
    table = order_submission
    query = select(table).where(table.c.request_id == asked.request_id)
    row = connection.execute(query).first()
    if row is None:
        return None
    if row.asked != payload.encode(asked).decode():
        raise Conflict(f"request {asked.request_id} was used for another order: {row.order_id}")
    return Submission(row.order_id, asked, payload.decode(row.priced.encode(), Priced))


def record(engine: Engine, asked: Asked, priced: Priced) -> Submission:
    """Give the request its order number; if somebody was faster, return what he recorded."""
    try:
        with engine.begin() as connection:
            return Submission(_insert(connection, asked, priced), asked, priced)
    except IntegrityError:
        with engine.begin() as connection:
            known = find(connection, asked)
        if known is None:
            raise
        return known


def _insert(connection: Connection, asked: Asked, priced: Priced) -> int:
    table = order_submission
    row = connection.execute(
        insert(table)
        .values(
            request_id=asked.request_id,
            buyer_user_id=asked.buyer_user_id,
            asked=payload.encode(asked).decode(),
            priced=payload.encode(priced).decode(),
        )
        .returning(table.c.id, table.c.create_time)
    ).one()
    order_id: int = int(f"{row.create_time:%Y%m%d}") * _NUMBERS_A_DAY + int(row.id) % _NUMBERS_A_DAY
    connection.execute(update(table).where(table.c.id == row.id).values(order_id=order_id))
    return order_id


@dataclass(frozen=True, slots=True)
class Refused:
    """Why there is no order."""

    participant: str
    reason: str


def record_refusal(engine: Engine, order_id: int, refused: Refused) -> None:
    """Remember why there is no order."""
    with engine.begin() as connection:
        connection.execute(
            update(order_submission)
            .where(order_submission.c.order_id == order_id)
            .values(refused_by=refused.participant, refused_reason=refused.reason)
        )


# ---------------------------------------------------------------- the global transaction


async def transact(client: trypact.Client, submission: Submission) -> Refused | None:
    """Open the transaction, or join it, and wait for its end.

    Raises trypact.OutcomeUnknown and the like when nobody can say how it ends; asking again is
    safe then.
    """
    try:
        if submission.asked.interactive:
            await _interactively(client, submission)
        else:
            await _in_one_shot(client, submission)
    except trypact.TransactionCancelled as cancelled:
        return _refused(cancelled.outcome)
    except trypact.BranchRefused as refused:
        # The block asked for Cancel; what was reserved should be free when the buyer hears of it.
        await client.wait(refused.xid)
        return Refused(refused.action.partition(".")[0], refused.reason)
    except (trypact.errors.XidInUse, trypact.errors.AlreadyConfirmed):
        # Another process has begun it, and may have died: wait for it, or for its deadline.
        return await outcome_of(client, submission.order_id)
    return None


async def outcome_of(client: trypact.Client, order_id: int) -> Refused | None:
    """Return how the transaction of an order ended, once it has.

    Raises trypact.errors.UnknownTransaction if it was never opened, and as `transact` does.
    """
    outcome = await client.wait(xid_of(order_id))
    return _refused(outcome) if outcome.cancelled else None


async def _in_one_shot(client: trypact.Client, submission: Submission) -> None:
    create = submission.create(submission.priced.coupon_price_cents)
    await client.execute(
        TRANSACTION,
        [
            tcc("order.create", create, id="order"),
            tcc("inventory.reserve", _reserve(submission), id="stock"),
            *([tcc("coupon.use", _use(submission), id="coupon")] if create.coupon_id else []),
            *([tcc("balance.freeze", _freeze(create), id="money")] if _freezes(create) else []),
            message("member.add_points", _earned(create), id="points"),
            notice("notification.send", _told(create), id="sms", on="any"),
        ],
        xid=xid_of(submission.order_id),
        timeout=TIMEOUT,
        labels=_labels(submission),
    )


async def _interactively(client: trypact.Client, submission: Submission) -> None:
    """Build each Try on the result of the one before: what is the coupon worth, what is left."""
    async with client.transaction(
        TRANSACTION,
        xid=xid_of(submission.order_id),
        timeout=TIMEOUT,
        labels=_labels(submission),
    ) as tx:
        await tx.try_("inventory.reserve", _reserve(submission), id="stock")
        worth = 0
        if submission.asked.coupon_id is not None:
            coupon = await tx.try_("coupon.use", _use(submission), id="coupon", returns=UseResult)
            worth = coupon.coupon_price_cents
        create = submission.create(worth)
        if _freezes(create):
            await tx.try_("balance.freeze", _freeze(create), id="money")
        await tx.try_("order.create", create, id="order")
        tx.message("member.add_points", _earned(create), id="points")
        tx.notice("notification.send", _told(create), id="sms", on="any")


def _reserve(submission: Submission) -> ReserveRequest:
    return ReserveRequest(submission.order_id, submission.asked.lines)


def _use(submission: Submission) -> UseRequest:
    asked = submission.asked
    return UseRequest(submission.order_id, asked.buyer_user_id, asked.coupon_id or 0)


def _freezes(create: CreateRequest) -> bool:
    return create.money_paid_cents > 0


def _freeze(create: CreateRequest) -> FreezeRequest:
    return FreezeRequest(create.order_id, create.buyer_user_id, create.money_paid_cents)


def _earned(create: CreateRequest) -> AddPointsRequest:
    points = (create.price_cents - create.promotion_amount_cents) // CENTS_A_POINT
    return AddPointsRequest(create.order_id, create.buyer_user_id, points, growth=points)


def _told(create: CreateRequest) -> SendRequest:
    return SendRequest(create.order_id, create.buyer_user_id)


def _labels(submission: Submission) -> dict[str, str]:
    return {"order": str(submission.order_id), "buyer": str(submission.asked.buyer_user_id)}


def _refused(outcome: trypact.Outcome) -> Refused:
    by = next(
        (b.action.partition(".")[0] for b in outcome.branches if b.id == outcome.refused_branch_id),
        "coordinator",
    )
    return Refused(by, outcome.reason)
