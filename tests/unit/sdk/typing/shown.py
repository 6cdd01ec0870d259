"""What the type checker knows of transactions; lines that it must refuse end in `# refused`.

Never run: `test_types.py` has it checked.
"""

from dataclasses import dataclass
from typing import Any, assert_type

import trypact
from google.protobuf.struct_pb2 import Struct
from trypact import Action, Branch, Call, tcc
from trypact._declarations import SagaFunctions
from trypact.reporting import AsyncReporter, Reporter


@dataclass
class Reserve:
    sku: str


@dataclass
class Held:
    pieces: int


RESERVE = Action("inventory.reserve", request=Reserve, result=Held)
FREEZE = Action("balance.freeze", request=Struct, result=Struct)
FORGET = Action("inventory.forget", request=Reserve)


async def steps(client: trypact.Client) -> None:
    async with client.transaction("order") as tx:
        assert_type(tx, trypact.Transaction)
        assert_type(await tx.try_(RESERVE, Reserve("a")), Held)
        assert_type(await tx.try_(FREEZE, Struct()), Struct)
        assert_type(await tx.try_(FORGET, Reserve("a")), None)
        assert_type(await tx.try_("inventory.reserve", Reserve("a"), returns=Held), Held)
        assert_type(await tx.try_("inventory.reserve", {"sku": "a"}), Any)
        await tx.try_(RESERVE, Struct())  # refused
        await tx.try_(RESERVE)  # refused
    async with client.joined() as joined:
        assert_type(await joined.try_(RESERVE, Reserve("a")), Held)


def steps_without_a_loop(client: trypact.SyncClient) -> None:
    with client.transaction("order") as tx:
        assert_type(tx.try_(RESERVE, Reserve("a")), Held)
        assert_type(tx.try_("inventory.reserve", returns=Held), Held)
        tx.try_(RESERVE, 7)  # refused
    with client.joined() as joined:
        assert_type(joined.try_(RESERVE, Reserve("a")), Held)


def branches() -> None:
    assert_type(tcc(RESERVE, Reserve("a")), Branch)
    tcc("inventory.reserve", {"sku": "a"})
    tcc(RESERVE, {"sku": "a"})  # refused
    trypact.saga(RESERVE, Held(1))  # refused
    trypact.message(RESERVE, 7)  # refused
    trypact.notice(RESERVE, b"a")  # refused


def outcomes(outcome: trypact.Outcome) -> None:
    assert_type(outcome.result("reserve", Held), Held)
    assert_type(outcome.result("reserve"), Any)


def participants(shop: trypact.Participant) -> None:
    @shop.tcc(RESERVE)
    class Reserves:
        def try_(self, call: Call[Reserve], connection: Any) -> Held:
            return Held(1)

        def confirm(self, call: Call[Reserve], connection: Any) -> None: ...
        def cancel(self, call: Call[Reserve], connection: Any) -> None: ...

    @shop.tcc("forget")
    class Forgets:  # refused
        def try_(self, call: Call[Reserve], connection: Any) -> None: ...

    @shop.saga(RESERVE)
    async def ship(call: Call[Reserve], connection: Any) -> Held:
        return Held(1)

    assert_type(Reserves(), Reserves)
    assert_type(ship, SagaFunctions)
    ship.confirm(ship)  # refused


def reporters(
    shop: trypact.Participant, client: trypact.Client, waiting: trypact.SyncClient
) -> None:
    assert_type(shop.reporter(client), AsyncReporter)
    assert_type(shop.reporter(waiting), Reporter)
