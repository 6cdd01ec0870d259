"""Commands about what the participants keep: stock, accounts, coupons, and filling them."""

import click

from trypact_shop.cli.calls import call
from trypact_shop.cli.options import ID, output
from trypact_shop.cli.views import money, show_json, show_table, word


@click.command()
@click.argument("sku_ids", nargs=-1, type=ID)
@output
def stock(sku_ids: tuple[int, ...], as_json: bool) -> None:
    """Show where the pieces are, of all goods or of SKU_IDS."""
    from trypact_shop.v1 import inventory_pb2

    request = inventory_pb2.GetStockRequest(sku_ids=sku_ids)
    answer = call("inventory", "GetStock", request, "the stock cannot be shown")
    if as_json:
        show_json(answer)
        return
    rows = [
        (
            s.sku_id,
            s.goods_name,
            s.warehouse_id,
            money(s.price_cents),
            s.available,
            s.reserved,
            s.sold,
            s.total,
        )
        for s in answer.stocks
    ]
    numbers = ("price", "available", "reserved", "sold", "total")
    show_table(("sku", "goods", "warehouse", *numbers), rows, right=numbers)


@click.command()
@click.argument("user_ids", nargs=-1, type=ID)
@output
def accounts(user_ids: tuple[int, ...], as_json: bool) -> None:
    """Show the accounts of all users, or of USER_IDS."""
    from trypact_shop.v1 import balance_pb2

    request = balance_pb2.ListAccountsRequest(user_ids=user_ids)
    answer = call("balance", "ListAccounts", request, "the accounts cannot be shown")
    if as_json:
        show_json(answer)
        return
    rows = [
        (
            a.user_id,
            money(a.money_available_cents),
            money(a.money_frozen_cents),
            money(a.money_spent_cents),
            money(a.money_deposited_cents),
            a.coins_available,
        )
        for a in answer.accounts
    ]
    numbers = ("available", "frozen", "spent", "paid in", "coins")
    show_table(("user", *numbers), rows, right=numbers)


@click.command()
@click.option("--owner", type=ID, default=None, help="Only this user's.")
@output
def coupons(owner: int | None, as_json: bool) -> None:
    """Show coupons: whose they are, and which order holds or used them."""
    from trypact_shop.v1 import coupon_pb2

    request = coupon_pb2.ListCouponsRequest(user_id=owner or 0)
    answer = call("coupon", "ListCoupons", request, "the coupons cannot be shown")
    if as_json:
        show_json(answer)
        return
    rows = [
        (
            c.coupon_id,
            c.user_id,
            money(c.coupon_price_cents),
            word(coupon_pb2.CouponState, c.state),
            c.order_id or "",
        )
        for c in answer.coupons
    ]
    show_table(("coupon", "owner", "worth", "state", "order"), rows, right=("worth",))


@click.command("add-stock")
@click.argument("sku_id", type=ID)
@click.argument("quantity", type=click.IntRange(0, 10**7))
@click.option("--name", required=True, help="Name of the goods.")
@click.option("--price", type=click.IntRange(0, 10**12), required=True, help="Price in cents.")
@click.option("--warehouse", type=ID, default=1, show_default=True, help="Where they go.")
def add_stock(sku_id: int, quantity: int, name: str, price: int, warehouse: int) -> None:
    """Add pieces of a sku to a warehouse."""
    from trypact_shop.v1 import inventory_pb2

    request = inventory_pb2.AddStockRequest(
        goods=inventory_pb2.Goods(
            sku_id=sku_id, goods_name=name, list_price_cents=price, price_cents=price
        ),
        warehouse_id=warehouse,
        quantity=quantity,
    )
    call("inventory", "AddStock", request, f"sku {sku_id} was not stocked")
    click.echo(f"{quantity} pieces of sku {sku_id} added to warehouse {warehouse}", err=True)


@click.command()
@click.argument("user_id", type=ID)
@click.argument("cents", type=click.IntRange(0, 10**12))
@click.option("--coins", type=click.IntRange(0, 10**12), default=0, help="Coins to add as well.")
def deposit(user_id: int, cents: int, coins: int) -> None:
    """Pay CENTS into a user's account; the first time it opens the account."""
    from trypact_shop.v1 import balance_pb2

    request = balance_pb2.DepositRequest(user_id=user_id, money_cents=cents, coins=coins)
    call("balance", "Deposit", request, f"nothing was paid in for user {user_id}")
    click.echo(f"{money(cents)} paid in for user {user_id}", err=True)


@click.command("issue-coupon")
@click.argument("coupon_id", type=ID)
@click.option("--owner", type=ID, required=True, help="User id.")
@click.option("--worth", type=click.IntRange(1, 10**12), required=True, help="Cents it takes off.")
def issue_coupon(coupon_id: int, owner: int, worth: int) -> None:
    """Issue a coupon to a user."""
    from trypact_shop.v1 import coupon_pb2

    request = coupon_pb2.IssueCouponRequest(
        coupon_id=coupon_id, user_id=owner, coupon_price_cents=worth
    )
    call("coupon", "IssueCoupon", request, f"coupon {coupon_id} was not issued")
    click.echo(f"coupon {coupon_id} worth {money(worth)} issued to user {owner}", err=True)
