"""Options that several commands share."""

from collections.abc import Callable
from typing import Any

import click


def output(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `-o table|json`; it receives `as_json`."""
    return click.option(
        "-o",
        "as_json",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        callback=lambda ctx, param, value: value == "json",
        help="How to show the answer.",
    )(command)
