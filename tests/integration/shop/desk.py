"""A participant with its database and its fence, asked without a network."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, MetaData, delete, insert, select
from trypact import Decision, Kind, Operation, Participant
from trypact.call import Answer, Arrived, FencedCall, Ok, Refused
from trypact.fence import Fence, SqlAlchemyFence
from trypact.payload import encode
from trypact_shop.database import open_database

# Columns that say when, or how often, and not what.
_INCIDENTAL = {"update_time", "create_time", "version"}


class Desk:
    """One participant on one database."""

    def __init__(
        self, url: str, tables: MetaData, participant: Callable[[Fence], Participant]
    ) -> None:
        self.tables = tables
        self.engine: Engine = open_database(url, tables)
        fence = SqlAlchemyFence(self.engine)
        fence.create_tables()
        self._all = [fence.table, *reversed(tables.sorted_tables)]
        self.participant = participant(fence)

    def clear(self) -> None:
        """Forget everything."""
        with self.engine.begin() as connection:
            for table in self._all:
                connection.execute(delete(table))

    def close(self) -> None:
        self.engine.dispose()

    def put(self, table: str, **values: Any) -> None:
        """Write a row as the world before the test."""
        with self.engine.begin() as connection:
            connection.execute(insert(self.tables.tables[table]).values(values))

    def rows(self, *tables: str) -> dict[str, list[dict[str, Any]]]:
        """Everything that is kept, or what these tables keep."""
        with self.engine.begin() as connection:
            return {
                name: [
                    {key: row[key] for key in row if key not in _INCIDENTAL}
                    for row in connection.execute(
                        select(table).order_by(*table.primary_key.columns)
                    ).mappings()
                ]
                for name, table in sorted(self.tables.tables.items())
                if not tables or name in tables
            }

    def one(self, table: str) -> dict[str, Any]:
        """The only row of a table."""
        (row,) = self.rows(table)[table]
        return row

    def ask(
        self,
        operation: str,
        verb: str,
        request: Any,
        xid: str = "x1",
        kind: Kind = Kind.TCC,
        decision: Decision = Decision.UNDECIDED,
    ) -> Answer:
        """Ask for one operation of a branch, as the coordinator does."""
        return self.participant.answer(self._arrived(operation, verb, request, xid, kind, decision))

    def ask_together(
        self, operation: str, verb: str, requests: dict[str, Any], kind: Kind = Kind.TCC
    ) -> dict[str, Any]:
        """Ask for one operation of many branches in one batch; requests and answers by xid."""
        arrived = [self._arrived(operation, verb, requests[xid], xid, kind) for xid in requests]
        return dict(zip(requests, self.participant.answer_many(arrived), strict=True))

    def _arrived(
        self,
        operation: str,
        verb: str,
        request: Any,
        xid: str,
        kind: Kind = Kind.TCC,
        decision: Decision = Decision.UNDECIDED,
    ) -> Arrived:
        action = f"{self.participant.name}.{verb}"
        call = FencedCall(xid, "b1", action, kind, Operation(operation))
        return Arrived(call, encode(request), 1, decision, "")

    def done(self, operation: str, verb: str, request: Any, xid: str = "x1") -> bytes:
        """Ask, and return the result of what must be OK."""
        answer = self.ask(operation, verb, request, xid)
        assert isinstance(answer, Ok), answer
        return answer.result

    def refused(self, operation: str, verb: str, request: Any, xid: str = "x1") -> str:
        """Ask, and return the reason of what must be refused."""
        answer = self.ask(operation, verb, request, xid)
        assert isinstance(answer, Refused), answer
        return answer.reason

    def through(self, verb: str, request: Any, xid: str) -> None:
        """Try and Confirm."""
        self.done("try", verb, request, xid)
        self.done("confirm", verb, request, xid)
