"""`trypact serve` and `trypact dev`: run a coordinator in this process."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from trypact_coordinator.cli.failures import of_reason
from trypact_coordinator.core.errors import CoordinatorError
from trypact_coordinator.settings import (
    FIELDS,
    Settings,
    key_of,
    load_settings,
    variable_of,
    written_default,
)

_DEV_JOURNAL = "sqlite:///trypact-dev.db"


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command one option for each setting."""
    for name, one in reversed(FIELDS.items()):
        key, about = key_of(name), one.metadata["about"]
        default = written_default(name)
        shown = f"{about} [{variable_of(name)}" + (f"; default {default}]" if default else "]")
        if one.type is bool or one.default is False:
            option = click.option(f"--{key}", name, is_flag=True, default=None, help=shown)
        else:
            option = click.option(f"--{key}", name, metavar="VALUE", help=shown)
        command = option(command)
    return command


@click.command()
@click.option("--config", type=click.Path(path_type=Path), help="TOML file with these settings.")
@_options
def serve(config: Path | None, **flags: object) -> None:
    """Run a coordinator.

    A flag wins over its environment variable, that over the file given with --config. Says
    "listening on HOST:PORT" on stderr once it is ready; SIGTERM stops it gracefully, a second one
    at once.
    """
    settings = load_settings(flags, os.environ, config)
    _run(settings, lambda address: click.echo(f"listening on {address}", err=True))


@click.command()
@_options
def dev(**flags: object) -> None:
    """Run a coordinator for development, with its journal in ./trypact-dev.db.

    Takes the settings of `trypact serve`.
    """
    flags["journal"] = flags["journal"] or os.environ.get("TRYPACT_JOURNAL") or _DEV_JOURNAL
    settings = load_settings(flags, os.environ)

    def ready(address: str) -> None:
        click.echo(f"coordinator   {address}", err=True)
        click.echo(f"journal       {settings.journal}", err=True)
        click.echo(f"in Python     trypact.Client({address!r})", err=True)
        click.echo(f"by hand       trypact tx list --server {address}", err=True)
        click.echo(f"listening on {address}", err=True)

    _run(settings, ready)


def _run(settings: Settings, ready: Callable[[str], None]) -> None:
    from trypact_coordinator.bootstrap import configure_logging, run
    from trypact_coordinator.bootstrap import serve as serve_until_stopped

    configure_logging(settings.log_level)
    started = False

    def is_ready(address: str) -> None:
        nonlocal started
        started = True
        ready(address)

    try:
        run(serve_until_stopped(settings, is_ready))
    except CoordinatorError as error:
        what = "the coordinator had to stop" if started else "the coordinator cannot start"
        raise of_reason(what, str(error), error.status, error.reason) from error
