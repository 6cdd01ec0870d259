"""How commands print: one option, five formats, and tables that scripts can cut too."""

import json
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, TypeVar

import click

from trypact_coordinator.durations import briefly
from trypact_coordinator.text import one_line

_CommandT = TypeVar("_CommandT", bound=Callable[..., Any])

PROSE_WIDTH_MAX = 88
# Wide enough that a table is never folded where nobody looks at it.
_PIPE_WIDTH = 10_000
# Stands for a blank at which a line may not end; in no text of ours.
_UNBROKEN = "\x1f"


class Format(Enum):
    """What `-o` takes."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    JSONL = "jsonl"
    IDS = "ids"


def _format(text: str) -> Format:
    try:
        return Format(text.lower())
    except ValueError:
        raise click.BadParameter(f"{text!r} is not one of {_names()}") from None


def _names() -> str:
    return ", ".join(one.value for one in Format)


def output_option(command: _CommandT) -> _CommandT:
    """Give a command `-o`."""
    return click.option(
        "-o",
        "--output",
        type=_format,
        default=Format.TABLE.value,
        metavar="FORMAT",
        help=f"{_names()}. [default table]",
    )(command)


# A column: its title, and how a cell is read from a row.
Column = tuple[str, Callable[[Any], str]]


def print_rows(
    output: Format,
    rows: Sequence[Any],
    view: Callable[[Any], dict[str, Any]],
    columns: Sequence[Column],
    wide: Sequence[Column] = (),
    id_of: Callable[[Any], str] = lambda row: str(row.xid),
    empty: str = "Nothing found.",
    under: Callable[[Any], str] | None = None,
) -> None:
    """Print rows in the wanted format; an empty table says so on stderr.

    Args:
        output: what `-o` said.
        rows: messages of the coordinator.
        view: makes the JSON of one.
        columns: of a table.
        wide: further columns of a wide table.
        id_of: names one.
        empty: what to say when there are none.
        under: a further line below each row of a table, too long for a column.
    """
    if output is Format.JSON:
        print_json([view(row) for row in rows])
    elif output is Format.JSONL:
        for row in rows:
            click.echo(json.dumps(view(row), ensure_ascii=False))
    elif output is Format.IDS:
        for row in rows:
            click.echo(id_of(row))
    elif not rows:
        click.echo(empty, err=True)
    else:
        shown = [*columns, *wide] if output is Format.WIDE else columns
        titles = [title for title, _ in shown]
        cells = [[read(row) for _, read in shown] for row in rows]
        if under is None:
            print_table(titles, cells)
        else:
            _print_table_with_lines_under(titles, cells, [under(row) for row in rows])


def print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table without lines; in a terminal its last column is folded to the width."""
    print_rich(_table(titles, rows))


def _print_table_with_lines_under(
    titles: Sequence[str], rows: Sequence[Sequence[str]], under: Sequence[str]
) -> None:
    """Print a table one line for each row, never folded, and a line below each."""
    head, *lines = rich_lines(_table(titles, rows), width=_PIPE_WIDTH)
    click.echo(head, color=True)
    for line, below in zip(lines, under, strict=True):
        click.echo(line, color=True)
        click.echo(f"    {one_line(below)}")


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    last = len(titles) - 1
    for place, title in enumerate(titles):
        table.add_column(title, no_wrap=place != last, overflow="fold")
    for row in rows:
        table.add_row(*(Text(one_line(cell), style_of(cell)) for cell in row))
    return table


def print_rich(renderable: Any) -> None:
    """Print rich text: folded to a terminal's width, and never where it is piped."""
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    click.echo("\n".join(rich_lines(renderable, width)), color=True)


def rich_lines(renderable: Any, width: int | None = None) -> list[str]:
    """Return rich text as lines, without the blanks that pad them."""
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False, width=width)
    with console.capture() as capture:
        console.print(renderable)
    return [line.rstrip() for line in capture.get().splitlines()]


def print_json(value: Any) -> None:
    """Print indented JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_prose(text: str) -> None:
    """Print paragraphs, folded to a width that reads well."""
    width = min(shutil.get_terminal_size().columns, PROSE_WIDTH_MAX)
    paragraphs = text.split("\n\n")
    click.echo("\n\n".join(fold(paragraph, width) for paragraph in paragraphs))


def fold(paragraph: str, width: int) -> str:
    """Fold a paragraph, but no word and no `command`, so that they can be copied."""
    unbroken = re.sub(r"`[^`]*`", lambda match: match[0].replace(" ", _UNBROKEN), paragraph)
    folded = textwrap.fill(unbroken, width, break_long_words=False, break_on_hyphens=False)
    return folded.replace(_UNBROKEN, " ")


_STYLES = {
    "TRYING": "cyan", "CONFIRMING": "cyan", "CANCELLING": "yellow", "DELIVERING": "cyan",
    "CONFIRMED": "green", "DELIVERED": "green", "TRIED": "green", "CANCELLED": "yellow",
    "REFUSED": "yellow", "SKIPPED": "magenta", "UNDELIVERED": "yellow", "STUCK": "bold red",
    "FROZEN": "bold red", "PAUSED": "magenta", "LIVE": "green", "LAPSED": "red", "OPEN": "red",
    "SERVING": "green", "NOT_SERVING": "red", "human": "bold red", "resume": "magenta",
    "✓": "green", "✗": "bold red", "–": "dim",
}  # fmt: skip


def style_of(cell: str) -> str:
    """Return the colour of a cell that names a state."""
    return _STYLES.get(cell.partition(" ")[0], "")


def ago(at: int, now: int) -> str:
    """Say how long ago an instant was: "5m ago"."""
    return f"{briefly(now - at)} ago" if at else "-"


def ahead(at: int, now: int) -> str:
    """Say how far ahead an instant is: "in 5s", or "now"."""
    if not at:
        return "-"
    return f"in {briefly(at - now)}" if at > now else "now"
