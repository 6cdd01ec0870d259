"""Commands that run the shop and fill it: up, seed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from trypact_shop.cli.failures import Failure, of_rpc
from trypact_shop.endpoints import COORDINATOR, COORDINATOR_VARIABLE, endpoint_of, variable_of

if TYPE_CHECKING:
    import grpc

    from trypact_shop.launcher import Child

# How long `up` looks for the coordinator, in seconds.
_COORDINATOR_PATIENCE = 2.0


@click.command()
@click.option(
    "--coordinator",
    envvar=COORDINATOR_VARIABLE,
    default=COORDINATOR,
    show_default=True,
    help="Address of the coordinator.",
)
@click.option(
    "--data",
    type=click.Path(file_okay=False),
    default="shop-data",
    show_default=True,
    help="Folder for SQLite databases and logs.",
)
def up(coordinator: str, data: str) -> None:
    """Run all participants, each a process with its own database, until interrupted.

    When one of them ends, the others go on; the command that starts it again is told.
    """
    import signal
    from pathlib import Path

    from trypact_shop.endpoints import ENDPOINTS
    from trypact_shop.launcher import ChildFailed, Children

    _require_coordinator(coordinator)

    def interrupted(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupted)
    with Children(Path(data)) as children:
        try:
            environment = {variable_of(name): endpoint_of(name) for name in ENDPOINTS}
            for name in ENDPOINTS:
                child = children.add_participant(name, coordinator, endpoint_of(name))
                child.launch(environment)
            for child in children.all.values():
                child.wait_ready()
        except ChildFailed as error:
            raise Failure(
                "the shop did not start",
                str(error).splitlines()[0],
                "See the log; its address may be in use by another process.",
            ) from None
        for name, child in children.all.items():
            click.echo(f"{name:<13} {child.endpoint}  log {child.log}", err=True)
        click.echo("The shop is open. `trypact shop seed` fills it; Ctrl-C closes it.", err=True)
        try:
            while True:
                name = children.wait_any()
                click.echo(_ended(children.all[name], name), err=True)
        except KeyboardInterrupt:
            click.echo("closing", err=True)


def _ended(child: "Child", name: str) -> str:
    """Say that a participant ended by itself, and what starts it again."""
    from trypact_shop.endpoints import ENDPOINTS

    # Only what differs from what every participant knows by itself.
    elsewhere = {
        variable_of(other): endpoint_of(other)
        for other, usual in ENDPOINTS.items()
        if endpoint_of(other) != usual
    }
    how = f"ended with {child.returncode}, see {child.log}; the others go on"
    return f"{name} {how}; again: {child.command_again(elsewhere)}"


def _require_coordinator(coordinator: str) -> None:
    import trypact

    with trypact.SyncClient(coordinator, patience=_COORDINATOR_PATIENCE) as client:
        try:
            client.ping()
        except trypact.TrypactError as error:
            raise Failure(
                "the shop did not start",
                str(error),
                "Start a coordinator with `trypact dev`, or name its address with --coordinator.",
            ) from None


@click.command()
@click.option(
    "--buyers",
    type=click.IntRange(1, 10_000),
    default=8,
    show_default=True,
    help="So many of them.",
)
def seed(buyers: int) -> None:
    """Fill the shop with goods in two warehouses, and buyers with money and coupons."""
    from trypact_shop import seed as seeds

    everyone = seeds.buyers(buyers)
    with _channel("inventory") as inventory:
        seeds.stock_goods(inventory)
    with _channel("balance") as balance:
        for buyer in everyone:
            seeds.open_account(balance, buyer)
    with _channel("coupon") as coupon:
        for buyer in everyone:
            seeds.issue_coupons(coupon, buyer)
    click.echo(
        f"{len(seeds.GOODS)} goods stocked; {buyers} buyers with money and coupons", err=True
    )


@contextmanager
def _channel(participant: str) -> "Iterator[grpc.Channel]":
    import grpc

    endpoint = endpoint_of(participant)
    with grpc.insecure_channel(endpoint) as channel:
        try:
            yield channel
        except grpc.RpcError as error:
            raise of_rpc(error, "the shop was not filled", participant, endpoint) from None
