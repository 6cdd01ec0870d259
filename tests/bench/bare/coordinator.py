"""The bare loop's coordinator: `python -m tests.bench.bare.coordinator PARTICIPANT JOURNAL WIRE`.

Begin durably, call Try, decide durably, call Confirm, answer, note the finish: the order of the
protocol with nothing around it. No validation, no state machine, no recovery, no failure.
"""

import asyncio
import json
import os
import signal
import sys
from typing import Any

import grpc.aio
from grpc.aio import EOF  # type: ignore[attr-defined]

from tests.bench.bare.store import Store, open_store
from tests.bench.bare.stream import Outgoing, open_stream, run, serve
from tests.bench.bare.wire import WIRES, Wire


class Transaction:
    """One in flight."""

    __slots__ = ("branches", "client", "left", "number", "results", "spec", "xid")

    def __init__(self, number: int, xid: str, branches: Any, spec: bytes, client: Outgoing) -> None:
        self.number = number
        self.xid = xid
        self.branches = branches
        self.client = client
        self.spec = spec
        self.results = b""
        self.left = len(branches)


class Coordinator:
    """All that are in flight."""

    def __init__(self, wire: Wire, calls: Outgoing) -> None:
        self._wire = wire
        self._calls = calls
        self._alive: dict[str, Transaction] = {}
        self.store: Store

    async def attend(self, context: Any) -> None:
        """Take the orders of one client."""
        client = Outgoing(self._wire.write_outcomes)
        writing = asyncio.create_task(client.run(context.write))
        try:
            while (data := await context.read()) is not EOF:
                for number, xid, branches, spec in self._wire.read_orders(data):
                    transaction = Transaction(number, xid, branches, spec, client)
                    self._alive[xid] = transaction
                    self.store.begin(transaction)
        finally:
            writing.cancel()

    async def drive(self, stream: Any) -> None:
        """Take the participant's answers."""
        alive = self._alive
        while (data := await stream.read()) is not EOF:
            for xid, _, confirm, result in self._wire.read_answers(data):
                transaction = alive[xid]
                transaction.left -= 1
                if not confirm:
                    transaction.results += b"\1" + result
                    if not transaction.left:
                        self.store.decide(transaction)
                elif not transaction.left:
                    del alive[xid]
                    self.store.finish(xid)
                    transaction.client.put((transaction.number, True))

    def begun(self, transaction: Transaction) -> None:
        """Call Try."""
        self._call(transaction, confirm=False)

    def decided(self, transaction: Transaction) -> None:
        """Call Confirm."""
        transaction.left = len(transaction.branches)
        self._call(transaction, confirm=True)

    def _call(self, transaction: Transaction, *, confirm: bool) -> None:
        put, xid = self._calls.put, transaction.xid
        for branch, action, payload in transaction.branches:
            put((xid, branch, action, payload, confirm))


async def main(participant: str, journal: str, wire: str) -> None:
    """Serve until killed; SIGTERM ends it with a line of what the journal did."""
    async with grpc.aio.insecure_channel(participant) as channel:
        stream = open_stream(channel)
        calls = Outgoing(WIRES[wire].write_calls)
        coordinator = Coordinator(WIRES[wire], calls)
        store = open_store(journal, coordinator.begun, coordinator.decided)
        coordinator.store = store

        def end() -> None:
            ended = {"event": "term ended", "batches": store.commits, "records": store.records}
            sys.stderr.write(f"{json.dumps(ended)}\n")
            os.kill(os.getpid(), signal.SIGKILL)

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(calls.run(stream.write))
            tasks.create_task(coordinator.drive(stream))
            tasks.create_task(serve(coordinator.attend))


if __name__ == "__main__":
    run(main(*sys.argv[1:]))
