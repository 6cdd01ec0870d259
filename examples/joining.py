"""An existing gRPC service takes part: its method is a branch of the transaction that calls it.

With `trypact dev` in another terminal:

    $ python joining.py
    alone: seat 0
    in a transaction: seat 7
    seat 7 is taken
    confirmed, with branch Reserve/hold
"""

import asyncio
import os
from typing import Any

import grpc
import trypact
from google.protobuf.wrappers_pb2 import Int32Value
from sqlalchemy import Connection
from trypact import Action, Call
from trypact.fence import SqlAlchemyFence, sqlite_engine
from trypact.interceptors import ClientInterceptor

COORDINATOR = os.environ.get("TRYPACT_SERVER", "127.0.0.1:7000")
HOLD = Action("theatre.hold", request=Int32Value, result=Int32Value)

fence = SqlAlchemyFence(sqlite_engine("joining.db"))
theatre = trypact.Participant("theatre", fence=fence)
client = trypact.Client(COORDINATOR)


@theatre.tcc(HOLD)
class Hold:
    def try_(self, call: Call[Int32Value], connection: Connection) -> Int32Value:
        return call.request

    def confirm(self, call: Call[Int32Value], connection: Connection) -> None:
        print(f"seat {call.request.value} is taken")

    def cancel(self, call: Call[Int32Value], connection: Connection) -> None: ...


@trypact.joins(client, HOLD)
async def reserve(request: Int32Value, context: Any) -> Int32Value:
    """Do what it always did, for callers without a transaction."""
    return Int32Value(value=0)


def add_box_office(server: grpc.aio.Server) -> None:
    """As the generated `add_BoxOfficeServicer_to_server` does."""
    method = grpc.unary_unary_rpc_method_handler(
        reserve, Int32Value.FromString, Int32Value.SerializeToString
    )
    service = grpc.method_handlers_generic_handler("theatre.BoxOffice", {"Reserve": method})
    server.add_generic_rpc_handlers((service,))


async def main() -> None:
    fence.create_tables()
    interceptors: Any = [ClientInterceptor()]
    async with client, theatre.serve(coordinator=COORDINATOR, services=add_box_office) as server:
        await server.wait_registered()
        async with grpc.aio.insecure_channel(server.endpoint, interceptors=interceptors) as channel:
            call: Any = channel.unary_unary(
                "/theatre.BoxOffice/Reserve", Int32Value.SerializeToString, Int32Value.FromString
            )
            print(f"alone: seat {(await call(Int32Value(value=7))).value}")
            async with client.transaction("evening") as tx:
                print(f"in a transaction: seat {(await call(Int32Value(value=7))).value}")
        (branch,) = tx.outcome.branches
        print(f"{tx.outcome.state}, with branch {branch.id}")


asyncio.run(main())
