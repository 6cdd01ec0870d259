"""Options that several commands share."""

from collections.abc import Callable
from typing import Any

import click

# Any number that the wire can carry; whether it makes sense is for the shop to say.
NUMBER = click.IntRange(-(2**63), 2**63 - 1)
# An id of which there can be one.
ID = click.IntRange(1, 2**53 - 1)


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
