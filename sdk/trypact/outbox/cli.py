"""`trypact outbox`: what an outbox holds, and resending or skipping by hand."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
from sqlalchemy import Connection, MetaData, create_engine
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from trypact.outbox.message import WAITING, State
from trypact.outbox.outbox import PAGE_MAX, Outbox
from trypact.outbox.tables import outbox_table

ResultT = TypeVar("ResultT")


@click.group()
def outbox() -> None:
    """See what an outbox holds, and have messages sent again or given up."""


def _of_an_outbox(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say which outbox is meant."""
    table = click.option("--table", default="trypact_outbox", show_default=True, help="Its table.")
    database = click.option(
        "--database",
        required=True,
        envvar="TRYPACT_OUTBOX_DATABASE",
        show_envvar=True,
        metavar="URL",
        help="The service's database, as SQLAlchemy writes it: postgresql+psycopg://...",
    )
    return database(table(command))


@outbox.command("list")
@_of_an_outbox
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([str(state) for state in State], case_sensitive=False),
    help="Only these; repeatable.  [default: those that have not ended]",
)
@click.option(
    "--limit",
    default=20,
    show_default=True,
    type=click.IntRange(1, PAGE_MAX),
    help="At most so many.",
)
def list_(database: str, table: str, states: tuple[str, ...], limit: int) -> None:
    """Count the messages in each state, and show those that have not ended, oldest first."""
    wanted = [State(state) for state in states] or list(WAITING)

    def read(box: Outbox, connection: Connection) -> Any:
        now = box.now(connection)
        return box.counts(connection), box.entries(connection, wanted, limit), now

    counts, entries, now = _inside(database, table, read)
    lines = [("STATE", "MESSAGES", "OLDEST")]
    for count in sorted(counts):
        state = f"{count.state} (parked)" if count.parked else str(count.state)
        lines.append((state, str(count.messages), _ago(now - count.oldest_at)))
    _show(lines)
    if not entries:
        return
    click.echo()
    head = ("ID", "TOPIC", "KEY", "STATE", "ATTEMPTS", "AGE", "NEXT", "WHY")
    _show([head, *(_line(entry, now) for entry in entries)])


@outbox.command()
@_of_an_outbox
@click.argument("ids", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All that have failed, parked ones too.")
def resend(database: str, table: str, ids: tuple[str, ...], everything: bool) -> None:
    """Have the failed or skipped messages IDS sent again at once."""
    if bool(ids) == everything:
        raise click.UsageError("give the ids of failed messages, or --all")
    chosen = None if everything else ids
    many = _inside(database, table, lambda box, connection: box.resend(connection, chosen))
    click.echo(f"{many} messages will be sent again", err=True)
    if ids and many < len(ids):
        raise click.ClickException(
            f"{len(ids) - many} of {len(ids)} are not there, or have not failed; what is NEW or "
            "SENT is looked after by a relay"
        )


@outbox.command()
@_of_an_outbox
@click.argument("ids", nargs=-1, required=True)
def skip(database: str, table: str, ids: tuple[str, ...]) -> None:
    """Give the messages IDS up: they are not sent any more, and hold back nobody of their keys."""
    many = _inside(database, table, lambda box, connection: box.skip(connection, ids))
    click.echo(f"{many} messages are skipped", err=True)
    if many < len(ids):
        raise click.ClickException(
            f"{len(ids) - many} of {len(ids)} are not there, or have arrived"
        )


def _inside(database: str, table: str, work: Callable[[Outbox, Connection], ResultT]) -> ResultT:
    """Do it in one transaction of the database; what goes wrong gets a sentence."""
    try:
        engine = create_engine(database, hide_parameters=True)
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise click.UsageError(f"--database: {error}") from error
    try:
        with engine.begin() as connection:
            return work(Outbox(table=outbox_table(MetaData(), table)), connection)
    except SQLAlchemyError as error:
        said = error.orig if isinstance(error, DBAPIError) and error.orig else error
        raise click.ClickException(f"outbox {table} cannot be read or written: {said}") from None
    finally:
        engine.dispose()


def _line(entry: Any, now: int) -> tuple[str, ...]:
    if entry.due_at is None:
        due = "parked" if entry.state is State.FAILED else ""
    else:
        due = "now" if entry.due_at <= now else f"in {_ago(entry.due_at - now)}"
    why = entry.remark.replace("\n", " ")
    numbers = (str(entry.attempts), _ago(now - entry.created_at))
    return (entry.id, entry.topic, entry.key, str(entry.state), *numbers, due, why)


def _ago(microseconds: int) -> str:
    seconds = max(0, microseconds) // 1_000_000
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _show(lines: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
