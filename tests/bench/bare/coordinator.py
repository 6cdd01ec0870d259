"""The bare loop's coordinator: `python -m tests.bench.bare.coordinator PARTICIPANT JOURNAL`.

Begin durably, call Try, decide durably, call Confirm, answer, note the finish: the order of the
protocol with nothing around it. No validation, no state machine, no recovery, no failure.
"""

import asyncio
import itertools
import sys
from typing import Any

import grpc.aio
from grpc.aio import EOF  # type: ignore[attr-defined]

from tests.bench.bare.store import Store
from tests.bench.bare.stream import ANSWERS, ENCODER, ORDERS, Outgoing, open_stream, run, serve

CONFIRMED = 4


class Transaction:
    """One in flight."""

    __slots__ = ("branches", "client", "left", "number", "results", "spec", "xid")

    def __init__(self, number: int, xid: str, branches: Any, client: Outgoing) -> None:
        self.number = number
        self.xid = xid
        self.branches = branches
        self.client = client
        self.spec = ENCODER.encode(branches)
        self.results: Any = b""
        self.left = len(branches)


class Coordinator:
    """All that are in flight."""

    def __init__(self, journal: str, calls: Outgoing) -> None:
        self._calls = calls
        self._store = Store(journal, self._begun, self._decided)
        self._numbers = itertools.count()
        self._trying: dict[int, Transaction] = {}
        self._confirming: dict[int, Transaction] = {}

    async def attend(self, context: Any) -> None:
        """Take the orders of one client."""
        client = Outgoing()
        writing = asyncio.create_task(client.run(context.write))
        try:
            while (data := await context.read()) is not EOF:
                for number, xid, branches in ORDERS.decode(data):
                    self._store.begin(Transaction(number, xid, branches, client))
        finally:
            writing.cancel()

    async def drive(self, stream: Any) -> None:
        """Take the participant's answers."""
        trying, confirming = self._trying, self._confirming
        while (data := await stream.read()) is not EOF:
            for key, _ in ANSWERS.decode(data):
                number = key >> 4
                if key & 1:
                    transaction = confirming[number]
                    transaction.left -= 1
                    if not transaction.left:
                        del confirming[number]
                        self._store.finish(transaction.xid)
                        transaction.client.put((transaction.number, CONFIRMED))
                else:
                    transaction = trying[number]
                    transaction.left -= 1
                    if not transaction.left:
                        del trying[number]
                        transaction.results = ENCODER.encode(["ok"] * len(transaction.branches))
                        self._store.decide(transaction)

    def _begun(self, transaction: Transaction) -> None:
        number = next(self._numbers)
        self._trying[number] = transaction
        self._call(transaction, number << 4)

    def _decided(self, transaction: Transaction) -> None:
        number = next(self._numbers)
        transaction.left = len(transaction.branches)
        self._confirming[number] = transaction
        self._call(transaction, number << 4 | 1)

    def _call(self, transaction: Transaction, key: int) -> None:
        put, xid = self._calls.put, transaction.xid
        for branch, action, payload in transaction.branches:
            put((key, xid, branch, action, payload))
            key += 2


async def main(participant: str, journal: str) -> None:
    """Serve until killed."""
    async with grpc.aio.insecure_channel(participant) as channel:
        stream = open_stream(channel)
        calls = Outgoing()
        coordinator = Coordinator(journal, calls)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(calls.run(stream.write))
            tasks.create_task(coordinator.drive(stream))
            tasks.create_task(serve(coordinator.attend))


if __name__ == "__main__":
    run(main(*sys.argv[1:]))
