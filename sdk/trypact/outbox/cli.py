"""`trypact outbox`: what an outbox holds, and resending or skipping by hand."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from trypact._lazy import from_extra

with from_extra("trypact outbox"):
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
    from trypact.outbox.message import WAITING, State
    from trypact.outbox.outbox import PAGE_MAX, Count, Entry, Outbox
    from trypact.outbox.tables import outbox_table

ResultT = TypeVar("ResultT")

_HEAD = ("ID", "TOPIC", "KEY", "STATE", "ATTEMPTS", "AGE", "NEXT", "WHY")


@click.group()
def outbox() -> None:
    """See an outbox, and have its messages sent again or given up."""


@outbox.command("list")
@of_table("outbox")
@some_of(State, PAGE_MAX)
def list_(database: str, table: str, states: tuple[str, ...], limit: int) -> None:
    """Count the messages in each state, and show those that have not ended, oldest first."""
    wanted = [State(state) for state in states] or list(WAITING)

    def read(box: Outbox, connection: Connection) -> Any:
        now = box.now(connection)
        return box.counts(connection), box.entries(connection, wanted, limit), now

    counts, entries, now = _inside(database, table, read)
    ages = [(_state(count), count.messages, now - count.oldest_at) for count in sorted(counts)]
    show(ages, _HEAD, [_line(entry, now) for entry in entries])


@outbox.command()
@of_table("outbox")
@ids_or_all("All that have failed, parked ones too.")
def resend(database: str, table: str, ids: tuple[str, ...], everything: bool) -> None:
    """Have the failed or skipped messages IDS sent again at once."""
    which = chosen(ids, everything, "failed")
    many = _inside(database, table, lambda box, connection: box.resend(connection, which))
    wrong = "are not there, or have not failed; what is NEW or SENT is looked after by a relay"
    tell(many, ids, "will be sent again", wrong)


@outbox.command()
@of_table("outbox")
@click.argument("ids", nargs=-1, required=True)
def skip(database: str, table: str, ids: tuple[str, ...]) -> None:
    """Give the messages IDS up: they are not sent any more, and hold back nobody of their keys."""
    many = _inside(database, table, lambda box, connection: box.skip(connection, ids))
    tell(many, ids, "are skipped", "are not there, or have arrived")


def _inside(database: str, table: str, work: Callable[[Outbox, Connection], ResultT]) -> ResultT:
    box = Outbox(table=outbox_table(MetaData(), table))
    return inside(database, f"outbox {table}", lambda connection: work(box, connection))


def _state(count: Count) -> str:
    return f"{count.state} (parked)" if count.parked else str(count.state)


def _line(entry: Entry, now: int) -> tuple[str, ...]:
    if entry.due_at is None:
        due = "parked" if entry.state is State.FAILED else ""
    else:
        due = "now" if entry.due_at <= now else f"in {ago(entry.due_at - now)}"
    numbers = (str(entry.attempts), ago(now - entry.created_at))
    why = one_line(entry.remark)
    return (entry.id, entry.topic, entry.key, str(entry.state), *numbers, due, why)
