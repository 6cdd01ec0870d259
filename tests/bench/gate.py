"""A participant that holds calls back until SIGUSR1: `python -m tests.bench.gate CALLS`.

Until then every other transaction's Try is held, and every other's Confirm, so that whoever is
killed meanwhile leaves both kinds behind. It says "holding" once it holds that many calls, and
"open" when it lets go; afterwards it says OK at once.
"""

import asyncio
import signal
import sys
import zlib
from typing import Any

import grpc
import grpc.aio
from trypact.v1 import participant_pb2, transaction_pb2
from trypact.v1.participant_pb2_grpc import (
    ParticipantServiceServicer,
    add_ParticipantServiceServicer_to_server,
)
from trypact_coordinator.bootstrap import run

OK = transaction_pb2.Answer(ok=transaction_pb2.Answer.Ok())
HELD = (transaction_pb2.OPERATION_TRY, transaction_pb2.OPERATION_CONFIRM)


class Gate(ParticipantServiceServicer):
    """Says OK, once it is open.

    Args:
        calls: how many it holds when it says so.
    """

    def __init__(self, calls: int) -> None:
        self._calls = calls
        self._held = 0
        self._opened = asyncio.Event()

    def open(self) -> None:
        """Let go."""
        self._opened.set()
        say("open")

    async def Drive(self, request_iterator: Any, context: Any) -> Any:  # noqa: N802
        async for request in request_iterator:
            response = participant_pb2.DriveResponse()
            for item in request.items:
                if self._opened.is_set() or item.operation != held_operation(item.call.xid):
                    call = item.call
                    response.items.add(
                        xid=call.xid,
                        branch_id=call.branch_id,
                        operation=item.operation,
                        attempt=call.attempt,
                        answer=OK,
                    )
                else:
                    self._hold()
            if response.items:
                yield response

    def _hold(self) -> None:
        """Say nothing: whoever asked will be dead before the gate opens."""
        self._held += 1
        if self._held == self._calls:
            say("holding")


def held_operation(xid: str) -> int:
    """Return which of its operations is held back, of a transaction."""
    return HELD[zlib.crc32(xid.encode()) % 2]


def say(what: str) -> None:
    """Tell the benchmark's own process."""
    sys.stderr.write(f"{what}\n")


async def main(calls: str) -> None:
    """Serve until killed."""
    server = grpc.aio.server()
    # The coordinator calls Drive alone.
    gate = Gate(int(calls))  # type: ignore[abstract]
    add_ParticipantServiceServicer_to_server(gate, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, gate.open)
    say(f"listening on 127.0.0.1:{port}")
    await server.wait_for_termination()


if __name__ == "__main__":
    run(main(*sys.argv[1:]))
