"""What the set-based handlers of the shop share: deciding call by call, writing all at once.

They read every row that the calls are about, locked and in one order, decide in memory, where each
call sees what those before it have taken, and write what came of it. So two orders that want the
last piece get one answer each, whether they arrive together or not.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, CursorResult, Executable
from trypact import Call, Refuse

from trypact_shop.database import must_change

RequestT = TypeVar("RequestT")
ResultT = TypeVar("ResultT")


def each(
    calls: Sequence[Call[RequestT]], decide: Callable[[RequestT], ResultT]
) -> list[ResultT | Refuse]:
    """Return what is decided for each request, or the Refuse that is raised for it."""
    said: list[ResultT | Refuse] = []
    for call in calls:
        try:
            said.append(decide(call.request))
        except Refuse as refusal:
            said.append(refusal)
    return said


def accepted(
    calls: Sequence[Call[RequestT]], said: Sequence[ResultT | Refuse]
) -> list[tuple[RequestT, ResultT]]:
    """Return the requests that were not refused, with their results."""
    return [
        (call.request, result)
        for call, result in zip(calls, said, strict=True)
        if not isinstance(result, Refuse)
    ]


def execute_all(
    connection: Connection, statement: Executable, rows: Iterable[dict[str, Any]]
) -> CursorResult[Any] | None:
    """Run a statement for each of the rows, in one round trip; nothing for none."""
    parameters = list(rows)
    return connection.execute(statement, parameters) if parameters else None


def change_all(
    connection: Connection,
    statement: Executable,
    rows: Iterable[dict[str, Any]],
    what: Callable[[dict[str, Any]], str],
) -> None:
    """Run an update that must change one row for each set of parameters.

    `what` names such a row. Raises Refuse if one is not there: what the set has done is undone
    then, and each of its calls is asked for alone.
    """
    parameters = list(rows)
    if parameters:
        changed = connection.execute(statement, parameters)
        must_change(changed, len(parameters), ", ".join(map(what, parameters)))
