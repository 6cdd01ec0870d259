"""A web service takes part: what it does for an HTTP request is a branch of its caller's.

With `trypact dev` in another terminal:

    $ uvicorn joining_http:app --port 8000 &
    $ python joining_http.py localhost:8000
    in a transaction: seat 7
    confirmed, with branch reserve/hold
    refused: there is no such seat
"""

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.client import HTTPConnection

import fastapi
import trypact
from sqlalchemy import Connection
from trypact import Call
from trypact.fence import SqlAlchemyFence, sqlite_engine

COORDINATOR = os.environ.get("TRYPACT_SERVER", "127.0.0.1:7000")

# ---------------------------------------------------------------- the service

fence = SqlAlchemyFence(sqlite_engine("joining_http.db"))
theatre = trypact.Participant("theatre", fence=fence)
client = trypact.Client(COORDINATOR)


@theatre.tcc("hold")
class Hold:
    def try_(self, call: Call[int], connection: Connection) -> int:
        if call.request > 9:
            raise trypact.Refuse("there is no such seat")
        return call.request

    def confirm(self, call: Call[int], connection: Connection) -> None: ...

    def cancel(self, call: Call[int], connection: Connection) -> None: ...


@asynccontextmanager
async def lifespan(app: fastapi.FastAPI) -> AsyncIterator[None]:
    fence.create_tables()
    async with client, theatre.serve(coordinator=COORDINATOR) as server:
        await server.wait_registered()
        yield


app = fastapi.FastAPI(lifespan=lifespan)


@app.post("/seats/{number}/reserve")
async def reserve(number: int, request: fastapi.Request) -> str:
    try:
        async with client.joined(request.headers.items()) as tx:
            return f"seat {await tx.try_('theatre.hold', number)}"
    except trypact.BranchRefused as no:
        raise fastapi.HTTPException(409, no.reason) from None


# ---------------------------------------------------------------- its caller


class Refused(Exception):
    """The service said no."""


def reserve_seat(tx: trypact.SyncTransaction, number: int) -> str:
    call = tx.outgoing("theatre/reserve")
    service = HTTPConnection(sys.argv[1])
    service.request("POST", f"/seats/{number}/reserve", headers=call.headers)
    response = service.getresponse()
    call.answered(response.status)
    said = json.load(response)
    if response.status != 200:
        raise Refused(said["detail"])
    return str(said)


def main() -> None:
    with trypact.SyncClient(COORDINATOR) as initiator:
        with initiator.transaction("evening") as tx:
            print(f"in a transaction: {reserve_seat(tx, 7)}")
        print(f"{tx.outcome.state}, with branch {tx.outcome.branches[0].id}")
        try:
            with initiator.transaction("evening") as tx:
                reserve_seat(tx, 10)
        except Refused as no:
            print(f"refused: {no}")


if __name__ == "__main__":
    main()
