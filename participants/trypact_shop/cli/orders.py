"""Commands about orders: place, show, list, block."""

from typing import Any

import click

from trypact_shop.cli.calls import call
from trypact_shop.cli.failures import of_refusal
from trypact_shop.cli.options import NUMBER, output
from trypact_shop.cli.views import money, show_json, show_table, word

# What surely fits the wire; whether it makes sense is for the shop to say.
_SKU_DIGITS_MAX = 18
_QUANTITY_DIGITS_MAX = 9


def item(text: str) -> tuple[int, int]:
    """Read SKU or SKU:QUANTITY. Raises click.BadParameter."""
    sku, colon, quantity = text.partition(":")
    numbers = (sku, quantity if colon else "1")
    if not all(number.isascii() and number.isdigit() for number in numbers):
        raise click.BadParameter(f"{text!r} is neither SKU nor SKU:QUANTITY, such as 1001:2")
    if len(sku) > _SKU_DIGITS_MAX or len(quantity) > _QUANTITY_DIGITS_MAX:
        raise click.BadParameter(f"{text!r} is too large a number")
    return int(numbers[0]), int(numbers[1])


@click.command()
@click.argument("items", nargs=-1, required=True, type=item)
@click.option("--buyer", type=NUMBER, required=True, help="User id of the buyer.")
@click.option("--coupon", type=NUMBER, default=0, help="Coupon to use.")
@click.option("--balance", type=NUMBER, help="Cents the balance pays; all of it if not given.")
@click.option("--request-id", help="Repeat an earlier request; a new one if not given.")
@click.option("--interactive", is_flag=True, help="One Try after the other.")
@output
def place(
    items: tuple[tuple[int, int], ...],
    buyer: int,
    coupon: int,
    balance: int | None,
    request_id: str | None,
    interactive: bool,
    as_json: bool,
) -> None:
    """Place an order for ITEMS, each SKU or SKU:QUANTITY."""
    from trypact.ids import new_xid

    from trypact_shop.v1 import order_pb2

    form = order_pb2.SUBMIT_FORM_INTERACTIVE if interactive else order_pb2.SUBMIT_FORM_ONE_SHOT
    request = order_pb2.SubmitOrderRequest(
        request_id=request_id or new_xid(),
        buyer_user_id=buyer,
        coupon_id=coupon,
        money_paid_cents=balance,
        form=form,
    )
    for sku_id, quantity in items:
        request.lines.add(sku_id=sku_id, quantity=quantity)
    what = f"the order was not placed (request {request.request_id})"
    order = call("order", "SubmitOrder", request, what).order
    _show(order, as_json)
    if order.HasField("refusal"):
        refusal = order.refusal
        raise of_refusal(order.order_id, refusal.participant, refusal.code, refusal.reason)


@click.command()
@click.argument("order_id", type=NUMBER)
@output
def show(order_id: int, as_json: bool) -> None:
    """Show one order."""
    from trypact_shop.v1 import order_pb2

    request = order_pb2.GetOrderRequest(order_id=order_id)
    answer = call("order", "GetOrder", request, f"order {order_id} cannot be shown")
    _show(answer.order, as_json)


@click.command("list")
@click.option("--buyer", type=NUMBER, default=0, help="Only this buyer's.")
@click.option("--limit", type=click.IntRange(1, 200), default=50, help="At most so many.")
@output
def list_orders(buyer: int, limit: int, as_json: bool) -> None:
    """List orders, newest first."""
    from trypact_shop.v1 import order_pb2

    request = order_pb2.ListOrdersRequest(buyer_user_id=buyer, page_size=limit)
    answer = call("order", "ListOrders", request, "the orders cannot be listed")
    if as_json:
        show_json(answer)
        return
    rows = [
        (
            order.order_id,
            order.buyer_user_id,
            word(order_pb2.OrderStatus, order.status),
            money(order.price_cents),
            money(order.promotion_amount_cents),
            money(order.money_paid_cents),
            money(order.pay_amount_cents),
            f"{order.refusal.participant}: {order.refusal.code}" if order.refusal.code else "",
        )
        for order in answer.orders
    ]
    amounts = ("price", "coupon", "balance", "to pay")
    columns = ("order", "buyer", "status", *amounts, "refused by")
    show_table(columns, rows, right=amounts)


@click.command()
@click.argument("user_id", type=NUMBER)
@click.option("--reason", required=True, help="Why; the buyer's refusals name it.")
def block(user_id: int, reason: str) -> None:
    """Refuse a buyer's orders from now on."""
    from trypact_shop.v1 import order_pb2

    request = order_pb2.BlockBuyerRequest(user_id=user_id, reason=reason)
    call("order", "BlockBuyer", request, f"user {user_id} was not blocked")
    click.echo(f"user {user_id} is blocked", err=True)


def _show(order: Any, as_json: bool) -> None:
    from trypact_shop.v1 import order_pb2

    if as_json:
        show_json(order)
        return
    status = word(order_pb2.OrderStatus, order.status)
    click.echo(f"order {order.order_id}  {status}  buyer {order.buyer_user_id}  xid {order.xid}")
    if order.items:
        rows = [
            (
                item.sku_id,
                item.title,
                item.quantity,
                money(item.now_price_cents),
                money(item.quantity * item.now_price_cents),
            )
            for item in order.items
        ]
        numbers = ("pieces", "price", "sum")
        show_table(("sku", "goods", *numbers), rows, right=numbers)
        click.echo(
            f"price {money(order.price_cents)} - coupon {money(order.promotion_amount_cents)}"
            f" - balance {money(order.money_paid_cents)} = to pay {money(order.pay_amount_cents)}"
        )
    if order.HasField("refusal"):
        click.echo(f"refused by {order.refusal.participant}: {order.refusal.reason}")
