"""Reading a journal in SQL: the same for every database whose named queries have the same names.

A row that cannot be decoded is logged and stepped over when it is one of many, so that it cannot
hide its neighbours or stop the sweeper; asked for by its xid it is an error.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from trypact_coordinator.core.transaction import State, Transaction
from trypact_coordinator.journal.codec import decode
from trypact_coordinator.journal.row import readable
from trypact_coordinator.journal.search import Dialect, Narrow, search, write_cursor
from trypact_coordinator.ports import Backlog, Due, Instance, Page, Query, Unfinished

encode_instance = msgspec.msgpack.Encoder().encode
_decode_instance = msgspec.msgpack.Decoder(Instance).decode


class SqlReads(ABC):
    """The reading half of a Journal.

    Args:
        sql: the database's named queries.
        dialect: how it says what differs.
        forms: what `find` is filled in with for each kind of search.
    """

    def __init__(
        self,
        sql: Mapping[str, str],
        dialect: Dialect,
        forms: Mapping[Narrow, Mapping[str, str]],
    ) -> None:
        self._sql = sql
        self._dialect = dialect
        self._forms = forms

    @abstractmethod
    async def _read(self, sql: str, parameters: dict[str, Any]) -> Sequence[Any]:
        """Return the rows of a query. Raises JournalUnavailable."""

    async def load(self, xid: str) -> Transaction | None:
        """See Journal."""
        rows = await self._read(self._sql["load"], {"xid": xid})
        return decode(*rows[0]) if rows else None

    async def known(self, xids: Sequence[str]) -> frozenset[str]:
        """See Journal."""
        asked = msgspec.json.encode(xids).decode()
        return frozenset(row[0] for row in await self._read(self._sql["known"], {"xids": asked}))

    async def flushed(self, xid: str) -> bool:
        """See Journal. So it is where every commit waits for the disk."""
        return True

    async def in_flight(self, epoch: int, after: str, limit: int) -> Sequence[Transaction]:
        """See Journal."""
        found: list[Transaction] = []
        while len(found) < limit:
            wanted = limit - len(found)
            rows = await self._read(
                self._sql["in_flight"], {"epoch": epoch, "after": after, "limit": wanted}
            )
            found += [tx for row in rows if (tx := readable(*row)) is not None]
            if len(rows) < wanted:
                break
            after = rows[-1][0]
        return found

    async def due(self, now: int, after: tuple[int, str], limit: int) -> Sequence[Due]:
        """See Journal."""
        found: list[Due] = []
        while len(found) < limit:
            wanted = limit - len(found)
            due_at, xid = after
            rows = await self._read(
                self._sql["due"],
                {"now": now, "after_due_at": due_at, "after_xid": xid, "limit": wanted},
            )
            found += [Due(row[3], tx) for row in rows if (tx := readable(*row[:3])) is not None]
            if len(rows) < wanted:
                break
            after = (rows[-1][3], rows[-1][0])
        return found

    async def find(self, query: Query, cursor: str, limit: int) -> Page:
        """See Journal."""
        wanted = search(query, cursor, self._dialect)
        sql = self._sql["find"].format(conditions=wanted.conditions, **self._forms[wanted.narrow])
        rows = await self._read(sql, {**wanted.parameters, "limit": limit + 1})
        shown = rows[:limit]
        found = (readable(*row[:3]) for row in shown)
        last = shown[-1] if len(rows) > limit else None
        return Page(
            tuple(tx for tx in found if tx is not None),
            write_cursor(last[3], last[0]) if last else "",
        )

    async def backlog(self) -> Backlog:
        """See Journal."""
        rows = await self._read(self._sql["count_unfinished"], {})
        ((stuck,),) = await self._read(self._sql["count_stuck"], {})
        unfinished = tuple(Unfinished(State(state), *rest) for state, *rest in rows)
        return Backlog(unfinished, stuck)

    async def instances(self) -> Sequence[Instance]:
        """See Journal."""
        rows = await self._read(self._sql["instances"], {})
        return [_decode_instance(row[0]) for row in rows]
