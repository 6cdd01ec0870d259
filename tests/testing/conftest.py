"""A warehouse in SQLite, with handlers as a user would write them."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import trypact
from sqlalchemy import Connection, Engine, text
from trypact.fence import SqlAlchemyFence, sqlite_engine
from trypact.testing import Environment


class Warehouse:
    """A participant with one shelf: free, held and sold pieces."""

    def __init__(self, engine: Engine, pieces: int = 10) -> None:
        self.engine = engine
        self.pieces = pieces
        fence = SqlAlchemyFence(engine)
        fence.create_tables()
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE shelf (free INT, held INT, sold INT)"))
            connection.execute(text("INSERT INTO shelf VALUES (:p, 0, 0)"), {"p": pieces})
            connection.execute(text("CREATE TABLE mail (xid TEXT)"))
        self.participant = trypact.Participant("warehouse", fence=fence)
        self.participant.tcc("reserve")(Reserve())
        self.participant.saga("move")(Move())
        self.participant.message("tell")(tell)
        self.participant.notice("hint")(tell)
        self.participant.subscribe("shelf.moved", verb="note")(tell)

    @property
    def shelf(self) -> tuple[int, int, int]:
        """How many pieces are free, held and sold."""
        with self.engine.begin() as connection:
            free, held, sold = connection.execute(text("SELECT * FROM shelf")).one()
        return free, held, sold

    @property
    def mail(self) -> list[str]:
        """Whose messages have come."""
        with self.engine.begin() as connection:
            return list(connection.execute(text("SELECT xid FROM mail ORDER BY rowid")).scalars())

    def conserved(self) -> bool:
        """Whether no piece was lost or made."""
        return sum(self.shelf) == self.pieces and min(self.shelf) >= 0


class Reserve:
    """Takes pieces aside."""

    def try_(self, call: trypact.Call[Any], connection: Connection) -> dict[str, int]:
        pieces = (call.request or {}).get("pieces", 1)
        left = connection.execute(text("SELECT free FROM shelf")).scalar_one()
        if left < pieces:
            raise trypact.Refuse(f"sold_out: {left} left")
        move(connection, "free", "held", pieces)
        return {"left": left - pieces}

    def confirm(self, call: trypact.Call[Any], connection: Connection) -> None:
        move(connection, "held", "sold", (call.request or {}).get("pieces", 1))

    def cancel(self, call: trypact.Call[Any], connection: Connection) -> None:
        move(connection, "held", "free", (call.request or {}).get("pieces", 1))


class Move:
    """Sells at once, and takes back."""

    def try_(self, call: trypact.Call[Any], connection: Connection) -> None:
        if not connection.execute(text("SELECT free FROM shelf")).scalar_one():
            raise trypact.Refuse("sold_out")
        move(connection, "free", "sold", 1)

    def cancel(self, call: trypact.Call[Any], connection: Connection) -> None:
        move(connection, "sold", "free", 1)


def move(connection: Connection, source: str, target: str, pieces: int) -> None:
    change = f"UPDATE shelf SET {source} = {source} - :p, {target} = {target} + :p"
    connection.execute(text(change), {"p": pieces})


def tell(call: trypact.Call[Any], connection: Connection) -> None:
    connection.execute(text("INSERT INTO mail VALUES (:xid)"), {"xid": call.xid})


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    engine = sqlite_engine(tmp_path / "warehouse.db")
    yield Warehouse(engine)
    engine.dispose()


@pytest.fixture
async def env(warehouse: Warehouse) -> AsyncIterator[Environment]:
    async with Environment([warehouse.participant]) as env:
        yield env
