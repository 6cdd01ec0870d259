"""`trypact inbox`: what a group's inbox holds, and retrying or skipping by hand."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from trypact._lazy import from_extra

with from_extra("trypact inbox"):
    from sqlalchemy import Connection, MetaData

    from trypact._by_hand import (
        ago,
        chosen,
        ids_or_all,
        inside,
        of_table,
        one_line,
        show,
        some_of,
        tell,
    )
    from trypact.clock import now_us
    from trypact.errors import InvalidRequest
    from trypact.inbox.inbox import PAGE_MAX, Entry, Inbox
    from trypact.inbox.tables import WAITING, State, inbox_table

ResultT = TypeVar("ResultT")

_HEAD = ("ID", "TOPIC", "STATE", "TIMES", "AGE", "WHY")


@click.group()
def inbox() -> None:
    """See an inbox, and have its messages worked on again or given up."""


def _of_a_group(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say which inbox is meant."""
    group = click.option(
        "--group", required=True, metavar="NAME", help="Whose consumers it is, as in Inbox(NAME)."
    )
    return of_table("inbox")(group(command))


@inbox.command("list")
@_of_a_group
@some_of(State, PAGE_MAX)
def list_(database: str, table: str, group: str, states: tuple[str, ...], limit: int) -> None:
    """Count the messages in each state, and show those that have not ended, oldest first."""
    wanted = [State(state) for state in states] or list(WAITING)

    def read(box: Inbox, connection: Connection) -> Any:
        return box.counts(connection), box.entries(connection, wanted, limit)

    counts, entries = _inside(database, table, group, read)
    now = now_us()
    ages = [(str(one.state), one.messages, now - one.oldest_at) for one in sorted(counts)]
    show(ages, _HEAD, [_line(entry, now) for entry in entries])


@inbox.command()
@_of_a_group
@ids_or_all("All that are parked.")
def retry(database: str, table: str, group: str, ids: tuple[str, ...], everything: bool) -> None:
    """Have the parked messages IDS worked on when their broker delivers them next."""
    which = chosen(ids, everything, "parked")
    many = _inside(database, table, group, lambda box, one: box.retry(one, which))
    wrong = "are not there, or are not parked; what is FAILED is delivered again by its broker"
    tell(many, ids, "will be worked on when they are delivered next", wrong)


@inbox.command()
@_of_a_group
@click.argument("ids", nargs=-1, required=True)
def skip(database: str, table: str, group: str, ids: tuple[str, ...]) -> None:
    """Give the messages IDS up: they are acknowledged when their broker delivers them next."""
    many = _inside(database, table, group, lambda box, one: box.skip(one, ids))
    tell(many, ids, "are skipped", "are not there, or are done")


def _inside(
    database: str, table: str, group: str, work: Callable[[Inbox, Connection], ResultT]
) -> ResultT:
    try:
        box = Inbox(group, table=inbox_table(MetaData(), table))
    except InvalidRequest as error:
        raise click.UsageError(f"--{error}") from error
    return inside(database, f"inbox {table}", lambda connection: work(box, connection))


def _line(entry: Entry, now: int) -> tuple[str, ...]:
    numbers = (str(entry.times), ago(now - entry.created_at))
    return (entry.id, entry.topic, str(entry.state), *numbers, one_line(entry.remark))
