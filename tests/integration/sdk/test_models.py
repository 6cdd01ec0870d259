"""Handlers take, and tries return, the models of every library that payloads may be made of."""

import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import pydantic
import pytest
import trypact
from sqlalchemy import Connection
from trypact.fence import SqlAlchemyFence, sqlite_engine
from trypact.v1 import transaction_pb2
from trypact_coordinator.bootstrap import running
from trypact_coordinator.settings import Settings


@dataclasses.dataclass(frozen=True)
class Parcel:
    id: str
    after: list[str]


class ParcelStruct(msgspec.Struct):
    id: str
    after: list[str]


class ParcelModel(pydantic.BaseModel):
    id: str
    after: list[str]


@pytest.mark.parametrize(
    "model", [Parcel, ParcelStruct, ParcelModel, transaction_pb2.Branch], ids=lambda m: m.__name__
)
async def test_a_model_reaches_its_handler_and_another_comes_back(
    model: Any, tmp_path: Path
) -> None:
    fence = SqlAlchemyFence(sqlite_engine(tmp_path / "depot.db"))
    fence.create_tables()
    depot, seen = trypact.Participant("depot", fence=fence), []
    send = trypact.Action("depot.send", request=model, result=model)

    @depot.tcc(send)
    class Send:
        def try_(self, call: trypact.Call[Any], connection: Connection) -> Any:
            seen.append(call.request)
            return model(id="returned", after=[call.request.id])

        def confirm(self, call: trypact.Call[Any], connection: Connection) -> None:
            seen.append(call.request)

        def cancel(self, call: trypact.Call[Any], connection: Connection) -> None: ...

    settings: dict[str, Any] = {"listen": "127.0.0.1:0", "journal": "memory:", "stop_grace_ms": 1}
    parcel = model(id="17", after=["a", "b"])
    async with (
        running(Settings(**settings)) as coordinator,
        depot.serve(coordinator=coordinator.address, grace=0.1) as server,
        trypact.Client(coordinator.address) as client,
    ):
        await server.wait_registered()
        async with client.transaction("post") as tx:
            returned = await tx.try_(send, parcel)
        with pytest.raises(trypact.TransactionCancelled, match=r"invalid payload: id"):
            await client.execute("post", [trypact.tcc("depot.send", {"id": 17, "after": []})])

    assert returned == model(id="returned", after=["17"])
    assert seen == [parcel, parcel]
    assert {type(each) for each in seen} == {model}
