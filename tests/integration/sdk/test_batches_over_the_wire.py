"""Hundreds of calls on one stream, of every fate: each is answered, and has its effect once."""

import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
import trypact
from sqlalchemy import Connection, Engine, create_engine, make_url, text
from trypact.fence import SqlAlchemyFence, sqlite_engine
from trypact.v1 import participant_pb2, participant_pb2_grpc, transaction_pb2

BRANCHES = 300
PIECES = 120
OPERATIONS = {
    "try": transaction_pb2.OPERATION_TRY,
    "confirm": transaction_pb2.OPERATION_CONFIRM,
    "cancel": transaction_pb2.OPERATION_CANCEL,
}


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    if request.param == "sqlite":
        return sqlite_engine(tmp_path / "stock.db")
    url = make_url(request.getfixturevalue("postgres_url"))
    return create_engine(url.set(drivername="postgresql+psycopg"))


class Stock:
    """Moves a piece for each call; some calls meet a bug the first time they are made."""

    def __init__(self) -> None:
        self.sets: list[int] = []
        self._met: Counter[str] = Counter()

    def try_(self, call: trypact.Call[Any], connection: Connection) -> Any:
        move = "UPDATE stock SET free = free - 1, held = held + 1 WHERE free > 0"
        if connection.execute(text(move)).rowcount == 0:
            raise trypact.Refuse("sold_out: none left")
        return self._result(call, connection)

    @trypact.many
    def confirm(self, calls: Sequence[trypact.Call[Any]], connection: Connection) -> None:
        move = "UPDATE stock SET held = held - :n, sold = sold + :n"
        connection.execute(text(move), {"n": len(calls)})
        self.sets.append(len(calls))
        for call in calls:
            self._result(call, connection)

    def cancel(self, call: trypact.Call[Any], connection: Connection) -> None:
        connection.execute(text("UPDATE stock SET held = held - 1, free = free + 1"))
        self._result(call, connection)

    def _result(self, call: trypact.Call[Any], connection: Connection) -> Any:
        key = f"{call.operation} {call.xid}"
        self._met[key] += 1
        if call.request.get("bug") == str(call.operation) and self._met[key] == 1:
            raise LookupError("a bug that goes away")
        if call.request.get("ends") == str(call.operation) and self._met[key] == 1:
            connection.rollback()
        return {"xid": call.xid}


Ask = Callable[[str, dict[str, bytes]], Any]


async def _drive(stub: Any, calls: list[tuple[str, bytes, str]]) -> list[tuple[str, Any]]:
    """Send calls in messages of every size; return (xid, reply) for each."""
    chance = random.Random(7)

    async def requests() -> AsyncIterator[participant_pb2.DriveRequest]:
        rest = list(calls)
        while rest:
            size = chance.choice((1, 5, 40))
            some, rest = rest[:size], rest[size:]
            yield participant_pb2.DriveRequest(items=[_item(*each) for each in some])

    return [
        (item.xid, item) async for response in stub.Drive(requests()) for item in response.items
    ]


def _item(xid: str, payload: bytes, operation: str) -> participant_pb2.DriveRequest.Item:
    call = participant_pb2.BranchCall(
        xid=xid,
        branch_id="b",
        kind=transaction_pb2.BRANCH_KIND_TCC,
        action="inventory.reserve",
        payload=payload,
        attempt=1,
    )
    return participant_pb2.DriveRequest.Item(operation=OPERATIONS[operation], call=call)


async def test_every_call_of_a_busy_stream_is_answered_and_takes_effect_once(
    engine: Engine,
) -> None:
    fence = SqlAlchemyFence(engine)
    fence.create_tables()
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE stock (free INTEGER, held INTEGER, sold INTEGER)"))
        connection.execute(text("INSERT INTO stock VALUES (:pieces, 0, 0)"), {"pieces": PIECES})
    stock = Stock()
    participant = trypact.Participant("inventory", fence=fence)
    participant.tcc("reserve")(stock)
    chance = random.Random(17)
    kinds = [b"{}"] * 20 + [b'{"bug":"%s"}' % each for each in (b"try", b"confirm", b"cancel")]
    kinds += [b'{"ends":"%s"}' % each for each in (b"try", b"confirm", b"cancel")]
    payloads = {f"x{number}": chance.choice(kinds) for number in range(BRANCHES)}

    async def settled(stub: Any, operation: str, xids: list[str]) -> dict[str, Any]:
        """Ask until each has an answer, as a coordinator does; twice in one stream, in fact."""
        answers: dict[str, Any] = {}
        for _ in range(5):
            open_ = [xid for xid in xids if xid not in answers] * 2
            chance.shuffle(open_)
            replies = await _drive(stub, [(xid, payloads[xid], operation) for xid in open_])
            assert Counter(xid for xid, _ in replies) == Counter(open_)
            answers |= {xid: item.answer for xid, item in replies if not item.error}
        assert set(answers) == set(xids)
        return answers

    async with (
        participant.serve(grace=0.1) as server,
        grpc.aio.insecure_channel(server.endpoint) as channel,
    ):
        stub: Any = participant_pb2_grpc.ParticipantServiceStub(channel)
        tried = await settled(stub, "try", list(payloads))
        held = [xid for xid in payloads if tried[xid].WhichOneof("kind") == "ok"]
        confirmed, cancelled = held[::2], [xid for xid in payloads if xid not in held[::2]]
        await settled(stub, "confirm", confirmed)
        await settled(stub, "cancel", cancelled)

    assert len(held) == PIECES
    assert all(tried[xid].ok.result == b'{"xid":"%s"}' % xid.encode() for xid in held)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT free, held, sold FROM stock")).one()
    assert tuple(rows) == (PIECES - len(confirmed), 0, len(confirmed))
    assert max(stock.sets) > 1
    engine.dispose()
