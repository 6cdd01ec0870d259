"""What `trypact outbox` and `trypact inbox` share: messages in a table, seen and mended by hand."""

from collections.abc import Callable, Collection, Iterable, Sequence
from enum import StrEnum
from typing import Any, TypeVar

import click
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

ResultT = TypeVar("ResultT")
_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


# With the exit codes that all commands of `trypact` share.
class _NotFound(click.ClickException):
    exit_code = 4


class _PartlyDone(click.ClickException):
    exit_code = 6


def of_table(box: str) -> _Decorator:
    """Give a command the options that say which table is meant, of an "outbox" or an "inbox"."""
    table = click.option("--table", default=f"trypact_{box}", show_default=True, help="Its table.")
    database = click.option(
        "--database",
        required=True,
        envvar=f"TRYPACT_{box.upper()}_DATABASE",
        show_envvar=True,
        metavar="URL",
        help="The service's database, as SQLAlchemy writes it: postgresql+psycopg://...",
    )
    return lambda command: database(table(command))


def some_of(states: type[StrEnum], limit_max: int) -> _Decorator:
    """Give a command the options that say which messages are shown."""
    wanted = click.option(
        "--state",
        "states",
        multiple=True,
        type=click.Choice([str(state) for state in states], case_sensitive=False),
        help="Only these; repeatable.  [default: those that have not ended]",
    )
    limit = click.option(
        "--limit",
        default=20,
        show_default=True,
        type=click.IntRange(1, limit_max),
        help="At most so many.",
    )
    return lambda command: wanted(limit(command))


def ids_or_all(meaning: str) -> _Decorator:
    """Give a command the ids that it takes, and what stands for all of them."""
    ids = click.argument("ids", nargs=-1)
    everything = click.option("--all", "everything", is_flag=True, help=meaning)
    return lambda command: ids(everything(command))


def chosen(ids: Sequence[str], everything: bool, which: str) -> Sequence[str] | None:
    """Return the ids that are meant; None for all. Raises UsageError for both and for neither."""
    if bool(ids) == everything:
        raise click.UsageError(f"give the ids of {which} messages, or --all")
    return None if everything else ids


def inside(database: str, what: str, work: Callable[[Connection], ResultT]) -> ResultT:
    """Do it in one transaction of the database; what goes wrong gets a sentence."""
    try:
        engine = create_engine(database, hide_parameters=True)
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise click.UsageError(f"--database: {error}") from error
    try:
        with engine.begin() as connection:
            return work(connection)
    except SQLAlchemyError as error:
        said = error.orig if isinstance(error, DBAPIError) and error.orig else error
        raise click.ClickException(f"{what} cannot be read or written: {said}") from None
    finally:
        engine.dispose()


def show(
    counts: Iterable[tuple[str, int, int]],
    head: tuple[str, ...],
    entries: Sequence[tuple[str, ...]],
) -> None:
    """Print how many messages are in each state, with the age of the oldest in us, and some."""
    lines = [(state, str(messages), ago(age)) for state, messages, age in counts]
    if not lines:
        click.echo("There are no messages.", err=True)
        return
    _print([("STATE", "MESSAGES", "OLDEST"), *lines])
    if entries:
        click.echo()
        _print([head, *entries])


def tell(many: int, ids: Collection[str], done: str, not_done: str) -> None:
    """Say how many messages it was done to. Raises ClickException unless it was all that are named.

    Args:
        many: how many there were.
        ids: those that were named; none if all were meant.
        done: what happened to them: "are skipped".
        not_done: what may be the matter with the others.
    """
    click.echo(f"{many} messages {done}", err=True)
    named = len(set(ids))
    if many < named:
        others = _PartlyDone if many else _NotFound
        raise others(f"{named - many} of {named} {not_done}")


def ago(microseconds: int) -> str:
    """Return how long that is, in the largest unit of which there are two."""
    seconds = max(0, microseconds) // 1_000_000
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def one_line(text: str) -> str:
    """Return a remark as a cell of a table."""
    return text.replace("\n", " ")


def _print(lines: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
