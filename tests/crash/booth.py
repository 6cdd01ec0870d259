"""A vault that an ordinary gRPC service takes from, and a buyer who calls it; both can die.

`python -m tests.crash.booth serve FILE COORDINATOR LISTEN` runs the vault with the service, whose
method joins. Besides where the vault dies, it can be told to die between the Try and its answer.
`python -m tests.crash.booth buy COORDINATOR BOOTH XID` takes one in a transaction whose deadline is
a second away, and kills itself before it would commit.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import trypact
from trypact.interceptors import ClientInterceptor
from trypact.payload import decode, encode

from tests.crash.vault import Move, Vault, participant_of

BEFORE_ANSWER = "before answer"
TAKE = trypact.Action("vault.take", request=Move, result=dict)


def serve(database: str, coordinator: str, listen: str) -> None:
    vault, client = Vault(Path(database)), trypact.Client(coordinator)
    join = trypact.joins(client, TAKE, required=True)

    @join
    async def joined(request: Move, context: Any) -> dict[str, Any]:
        """Never run: it requires a transaction."""
        return {}

    async def take(request: Move, context: Any) -> dict[str, Any]:
        answer = await joined(request, context)
        if request.die == BEFORE_ANSWER:
            vault.die_once()
        return answer

    def add_booth(server: grpc.aio.Server) -> None:
        method = grpc.unary_unary_rpc_method_handler(take, lambda data: decode(data, Move), encode)
        handler = grpc.method_handlers_generic_handler("booth.Booth", {"Take": method})
        server.add_generic_rpc_handlers((handler,))

    participant_of(vault).run(
        listen, coordinator=coordinator, instance="vault-1", services=add_booth
    )


@asynccontextmanager
async def calling(booth: str) -> AsyncIterator[Any]:
    """The booth's method, as a caller has it; it takes the transaction along."""
    interceptors: Any = [ClientInterceptor()]
    async with grpc.aio.insecure_channel(booth, interceptors=interceptors) as channel:
        yield channel.unary_unary("/booth.Booth/Take", encode, lambda data: decode(data, dict))


async def buy(coordinator: str, booth: str, xid: str) -> None:
    async with (
        trypact.Client(coordinator) as client,
        calling(booth) as take,
        client.transaction("evening", xid=xid, timeout=1.0),
    ):
        await take(Move(1))
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    if sys.argv[1] == "serve":
        serve(*sys.argv[2:])
    else:
        asyncio.run(buy(*sys.argv[2:]))
