"""`trypact shop ...`: the shop by hand. What a command needs is imported when it runs."""

import importlib

import click

from trypact_shop.cli.failures import GuardedGroup

# Name -> (module, attribute, one line for the listing).
_COMMANDS = {
    "up": ("processes", "up", "Run all participants of the shop until interrupted."),
    "seed": ("processes", "seed", "Fill the shop with goods, buyers and coupons."),
    "place": ("orders", "place", "Place an order."),
    "show": ("orders", "show", "Show one order."),
    "list": ("orders", "list_orders", "List orders, newest first."),
    "stock": ("goods", "stock", "Show where the pieces are."),
    "accounts": ("goods", "accounts", "Show what users have to spend."),
    "coupons": ("goods", "coupons", "Show coupons and who holds them."),
    "add-stock": ("goods", "add_stock", "Add pieces of a sku to a warehouse."),
    "deposit": ("goods", "deposit", "Pay into a user's account."),
    "issue-coupon": ("goods", "issue_coupon", "Issue a coupon to a user."),
    "block": ("orders", "block", "Refuse a buyer's orders."),
}

_EPILOG = (
    "Each service is looked for at its usual address, or where TRYPACT_SHOP_ORDER, _INVENTORY, "
    "_COUPON, _BALANCE, _MEMBER and _NOTIFICATION say. Exit codes: 0 ok, 1 failed or refused, "
    "2 usage, 4 not found, 5 conflict."
)


class _LazyGroup(GuardedGroup):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, attribute, _ = _COMMANDS[cmd_name]
        found = getattr(importlib.import_module(f"trypact_shop.cli.{module}"), attribute)
        return found if isinstance(found, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, _, about) in _COMMANDS.items()])


@click.group(cls=_LazyGroup, epilog=_EPILOG)
def shop() -> None:
    """Use a small e-commerce back end on trypact; break it, and learn from it."""
