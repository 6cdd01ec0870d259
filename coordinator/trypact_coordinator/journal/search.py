"""Searching, newest first: a Query as SQL conditions, and the cursors that page through it.

A cursor is the key of the last row shown, so a page costs the same wherever it is, and rows that
come or go meanwhile shift nothing.
"""

import re
from enum import Enum
from typing import Any

import msgspec

from trypact_coordinator.core.errors import InvalidArgument
from trypact_coordinator.core.transaction import State, Transaction
from trypact_coordinator.journal.row import label_of, labels_of, participants_of, searchable
from trypact_coordinator.ports import Query

_CURSOR = re.compile(r"(\d{1,18}):([!-~]{1,128})")


def write_cursor(created_at: int, xid: str) -> str:
    """Return the cursor of the page after this row."""
    return f"{created_at}:{xid}"


def read_cursor(cursor: str) -> tuple[int, str]:
    """Return the row before the page. Raises InvalidArgument for a cursor that is none."""
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise InvalidArgument("page_token", "is none of ours", "a next_page_token, or nothing")
    return int(found[1]), found[2]


class Narrow(Enum):
    """Which index leaves the fewest rows to look at."""

    NEWEST = "newest"
    UNFINISHED = "due"
    STUCK = "stuck"
    LABEL = "labels"


class Dialect(msgspec.Struct, frozen=True):
    """How one database says what the two say differently."""

    # Turns the name of a parameter into its place in the statement.
    parameter: str
    has_label: str
    has_participant: str


class Search(msgspec.Struct, frozen=True):
    """A Query as SQL."""

    conditions: str
    parameters: dict[str, Any]
    narrow: Narrow


_UNFINISHED_STATES = frozenset({State.TRYING, State.CONFIRMING, State.CANCELLING})


def search(query: Query, cursor: str, dialect: Dialect) -> Search:
    """Return the conditions of a page. Raises InvalidArgument for a cursor that is none."""
    conditions: list[str] = []
    parameters: dict[str, Any] = {}

    def need(condition: str, **values: Any) -> None:
        places = {name: dialect.parameter.format(name) for name in values}
        conditions.append(condition.format(**places))
        parameters.update(values)

    unfinished = query.unfinished or query.state in _UNFINISHED_STATES
    if query.state is not None:
        need("state = {state}", state=query.state.value)
    if query.name:
        need("name = {name}", name=searchable(query.name))
    if query.label is not None:
        need(dialect.has_label, label=label_of(*query.label))
    if query.participant:
        need(dialect.has_participant, participant=query.participant)
    if query.stuck is not None:
        need("stuck IS NOT NULL" if query.stuck else "stuck IS NULL")
    if query.paused is not None:
        need("paused" if query.paused else "NOT paused")
    if unfinished:
        need("due_at IS NOT NULL")
    if query.unfinished is False:
        need("due_at IS NULL")
    if query.created_before is not None:
        need("created_at < {created_before}", created_before=query.created_before)
    if query.created_after is not None:
        need("created_at > {created_after}", created_after=query.created_after)
    if cursor:
        created_at, xid = read_cursor(cursor)
        need(
            "(created_at, xid) < ({last_created_at}, {last_xid})",
            last_created_at=created_at,
            last_xid=xid,
        )
    narrow = Narrow.NEWEST
    if query.label is not None:
        narrow = Narrow.LABEL
    elif query.stuck:
        narrow = Narrow.STUCK
    elif unfinished:
        narrow = Narrow.UNFINISHED
    return Search(" AND ".join(conditions) or "true", parameters, narrow)


def matches(tx: Transaction, query: Query) -> bool:
    """Whether a transaction is what the query asks for: the same, for the memory journal."""
    return (
        (query.state is None or tx.state is query.state)
        and (not query.name or tx.spec.name == query.name)
        and (query.label is None or label_of(*query.label) in labels_of(tx))
        and (not query.participant or query.participant in participants_of(tx))
        and (query.stuck is None or bool(tx.stuck_reason) == query.stuck)
        and (query.paused is None or tx.paused == query.paused)
        and (query.unfinished is None or (tx.due_at is not None) == query.unfinished)
        and (query.created_before is None or tx.created_at < query.created_before)
        and (query.created_after is None or tx.created_at > query.created_after)
    )
