"""Charge a card over an API, whose answer gets lost: nobody knows, and everybody finds out.

With `trypact dev` in another terminal:

    $ python fence_external.py
    try, nothing is known: the card is charged, and the answer is lost
    try, unknown is known: the card was charged
    confirm, done is known: payment-1 is kept
    confirmed, and the card was charged 1 time
"""

import asyncio
import json
import os
from dataclasses import dataclass

import trypact
from trypact import Call, tcc
from trypact.fence import Effect, ExternalFence, Known, SqlAlchemyFence, sqlite_engine

COORDINATOR = os.environ.get("TRYPACT_SERVER", "127.0.0.1:7000")

# Only the intents are in a database.
intents = SqlAlchemyFence(sqlite_engine("fence_external.db"))
cards = trypact.Participant("cards", fence=ExternalFence(intents))


class Api:
    """Somebody else's service, which knows its payments by the key they came with."""

    def __init__(self) -> None:
        self.payments: dict[str, str] = {}

    def charge(self, key: str) -> str:
        self.payments[key] = f"payment-{len(self.payments) + 1}"
        raise TimeoutError("the answer is lost")


api = Api()


@dataclass
class Charge:
    cents: int


@cards.tcc("charge")
class Card:
    def try_(self, call: Call[Charge], effect: Effect) -> str:
        if effect.known is Known.UNKNOWN and (payment := api.payments.get(effect.key)):
            print(f"try, {effect.known} is known: the card was charged")
            return payment
        print(f"try, {effect.known} is known: the card is charged, and the answer is lost")
        return api.charge(effect.key)

    def confirm(self, call: Call[Charge], effect: Effect) -> None:
        print(f"confirm, {effect.known} is known: {json.loads(effect.result)} is kept")

    def cancel(self, call: Call[Charge], effect: Effect) -> None:
        # Also when the Try's end is unknown: then there may be nothing to give back.
        api.payments.pop(f"{effect.branch}/try", None)


async def main() -> None:
    intents.create_tables()
    async with (
        cards.serve(coordinator=COORDINATOR) as server,
        trypact.Client(COORDINATOR) as client,
    ):
        await server.wait_registered()
        outcome = await client.execute("order", [tcc("cards.charge", Charge(1_200))])
    print(f"{outcome.state}, and the card was charged {len(api.payments)} time")


asyncio.run(main())
