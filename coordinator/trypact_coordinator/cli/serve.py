"""`trypact serve` and `trypact dev`: run a coordinator in this process."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trypact_coordinator.cli.failures import of_reason
from trypact_coordinator.cli.poller import use_classic_poller
from trypact_coordinator.core.errors import CoordinatorError
from trypact_coordinator.settings import (
    DEV_HTTP_LISTEN,
    DEV_JOURNAL,
    FIELDS,
    Settings,
    key_of,
    load_settings,
    variable_of,
    written_default,
)

if TYPE_CHECKING:
    from trypact_coordinator.bootstrap import Running

# What `dev` has by default in place of what `serve` has.
_OF_DEV = {"journal": DEV_JOURNAL, "http_listen": DEV_HTTP_LISTEN}


def _options(
    defaults: Mapping[str, str],
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command `--config` and one option for each setting."""

    def give(command: Callable[..., Any]) -> Callable[..., Any]:
        for name, one in reversed(FIELDS.items()):
            command = _option(name, one, defaults.get(name, written_default(name)))(command)
        kind = click.Path(path_type=Path)
        return click.option("--config", type=kind, help="TOML file with these settings.")(command)

    return give


def _option(name: str, one: Any, default: str) -> Callable[..., Any]:
    key, about = key_of(name), one.metadata["about"]
    shown = f"{about} [{variable_of(name)}" + (f"; default {default}]" if default else "]")
    if one.default is False:
        return click.option(f"--{key}", name, is_flag=True, default=None, help=shown)
    return click.option(f"--{key}", name, metavar="VALUE", help=shown)


@click.command()
@_options({})
def serve(config: Path | None, **flags: object) -> None:
    """Run a coordinator.

    A flag wins over its environment variable, that over the file given with --config. Says
    "listening on HOST:PORT" on stderr once it is ready; SIGTERM stops it gracefully, a second one
    at once.
    """
    settings = load_settings(flags, os.environ, config)

    def ready(running: "Running") -> None:
        if running.http_url:
            click.echo(f"metrics at {running.http_url}/metrics", err=True)
        click.echo(f"listening on {running.address}", err=True)

    _run(settings, ready)


@click.command()
@_options(_OF_DEV)
def dev(config: Path | None, **flags: object) -> None:
    """Run a coordinator for development, with its journal in ./trypact-dev.db, and metrics.

    Takes the settings of `trypact serve`.
    """
    settings = load_settings(flags, os.environ, config, _OF_DEV)

    def ready(running: "Running") -> None:
        address = running.address
        click.echo(f"coordinator   {address}", err=True)
        click.echo(f"journal       {settings.journal}", err=True)
        if running.http_url:
            click.echo(f"metrics       {running.http_url}/metrics", err=True)
        click.echo(f"in Python     trypact.Client({address!r})", err=True)
        click.echo(f"by hand       trypact tx list --server {address}", err=True)
        click.echo(f"listening on {address}", err=True)

    _run(settings, ready)


def _run(settings: Settings, ready: Callable[["Running"], None]) -> None:
    use_classic_poller()
    from trypact_coordinator.bootstrap import configure_logging, run
    from trypact_coordinator.bootstrap import serve as serve_until_stopped

    configure_logging(settings.log_level)
    started = False

    def is_ready(running: "Running") -> None:
        nonlocal started
        started = True
        ready(running)

    try:
        run(serve_until_stopped(settings, is_ready))
    except CoordinatorError as error:
        what = "the coordinator had to stop" if started else "the coordinator cannot start"
        raise of_reason(what, str(error), error.status, error.reason) from error
