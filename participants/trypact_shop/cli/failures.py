"""What can go wrong at the command line: three lines (what, why, what to do) and an exit code.

0 ok · 1 failed or refused · 2 usage · 4 not found · 5 conflict, the same as everywhere in trypact.
"""

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import grpc

FAILED = 1
USAGE = 2
NOT_FOUND = 4
CONFLICT = 5


class Failure(Exception):
    """A command could not do what it was asked."""

    def __init__(self, what: str, why: str, todo: str, exit_code: int = FAILED) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.todo = todo
        self.exit_code = exit_code

    def lines(self) -> str:
        """Return the three lines."""
        return f"error: {self.what}\n  why: {self.why}\n   do: {self.todo}"


class GuardedGroup(click.Group):
    """A group whose commands end with three lines where others end with a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; a Failure becomes its lines and its exit code."""
        try:
            return super().invoke(ctx)
        except Failure as failure:
            click.echo(failure.lines(), err=True)
            ctx.exit(failure.exit_code)


_REFUSALS = {
    "out_of_stock": "Ask for fewer pieces; `trypact shop stock` shows what is left.",
    "unknown_goods": "`trypact shop stock` lists what is sold.",
    "coupon_used": "Use another coupon; `trypact shop coupons` lists them.",
    "foreign_coupon": "Use a coupon of the buyer's; `trypact shop coupons` lists them.",
    "unknown_coupon": "`trypact shop coupons` lists them.",
    "balance_short": "Let the balance pay less (--balance), or pay in more.",
    "no_account": "Open an account first: `trypact shop deposit`.",
    "order_limit": "Place more than one order.",
    "buyer_blocked": "Nothing can be sold to this buyer.",
}


def of_refusal(order_id: int, participant: str, code: str, reason: str) -> Failure:
    """Return the failure for an order that was refused."""
    return Failure(
        f"order {order_id} was not placed, and nothing is held for it",
        f"{participant} refused: {reason}",
        _REFUSALS.get(code, f"`trypact tx explain order-{order_id}` tells the whole story."),
    )


def of_rpc(error: "grpc.RpcError", what: str, participant: str, endpoint: str) -> Failure:
    """Return the failure for a call that failed."""
    call: Any = error
    status, details = call.code().name, call.details() or "no details were given"
    if status == "INVALID_ARGUMENT":
        return Failure(what, details, "Correct the value and try again.", USAGE)
    if status == "NOT_FOUND":
        return Failure(what, details, "Check the number; the lists show what there is.", NOT_FOUND)
    if status == "ALREADY_EXISTS":
        return Failure(what, details, "Use another id for other content.", CONFLICT)
    if status == "UNAVAILABLE" and _is_of_the_shop(call):
        return Failure(what, details, "Run the same command again with the same --request-id.")
    if status in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
        return Failure(
            what,
            f"{participant} does not answer at {endpoint}",
            "Start the shop with `trypact shop up`, or name its address in the environment.",
        )
    return Failure(what, f"{status}: {details}", f"See the log of {participant}.")


def _is_of_the_shop(call: Any) -> bool:
    keys = {key for key, _ in call.trailing_metadata() or ()}
    return "grpc-status-details-bin" in keys
