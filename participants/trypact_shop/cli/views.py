"""Shows answers: as a table for people, or as JSON for programs; data to stdout."""

import json
from collections.abc import Sequence
from typing import Any

import click

# Wider than any row, so that none is cut or folded.
_NEVER_CUT = 10_000


def money(cents: int) -> str:
    """Return an amount as people write it: 1234 cents are 12.34."""
    sign = "-" if cents < 0 else ""
    return f"{sign}{abs(cents) // 100}.{abs(cents) % 100:02d}"


def word(enum: Any, value: int) -> str:
    """Return an enum's value without its prefix: COUPON_STATE_FREE is "free"."""
    prefix = enum.Name(0).removesuffix("UNSPECIFIED")
    return str(enum.Name(value)).removeprefix(prefix).lower()


def show_json(message: Any) -> None:
    """Print a message as JSON: snake_case names, numbers as numbers."""
    click.echo(json.dumps(plain(message), indent=2, ensure_ascii=False))


def plain(message: Any) -> dict[str, Any]:
    """Return a message as JSON's own values.

    Protobuf's own JSON makes strings of 64-bit integers, and programs then add them as strings.
    """
    return {
        field.name: _value(field, getattr(message, field.name))
        for field in message.DESCRIPTOR.fields
        if not field.has_presence or message.HasField(field.name)
    }


def _value(field: Any, value: Any) -> Any:
    if field.is_repeated:
        return [_single(field, item) for item in value]
    return _single(field, value)


def _single(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return plain(value)
    if field.enum_type is not None:
        number = field.enum_type.values_by_number[value]
        prefix = field.enum_type.values_by_number[0].name.removesuffix("UNSPECIFIED")
        return number.name.removeprefix(prefix).lower()
    return value


def show_table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[str] = ()
) -> None:
    """Print rows under their columns, those in `right` flush right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        table.add_column(name.upper(), justify="right" if name in right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    # A row that is wider than the terminal runs over its edge: an id that is cut is no id.
    console = Console(width=_NEVER_CUT, highlight=False)
    with console.capture() as capture:
        console.print(table)
    for line in capture.get().splitlines():
        click.echo(line.rstrip(), color=True)
