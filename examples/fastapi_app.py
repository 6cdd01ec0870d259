"""A web application with FastAPI: one client for its life, and outcomes as status codes.

With `trypact dev` in another terminal:

    $ uvicorn fastapi_app:app --port 8000 &
    $ curl -s -X PUT localhost:8000/orders/1 --json '{"quantity": 3}'
    {"state":"confirmed"}
    $ curl -s -X PUT localhost:8000/orders/2 --json '{"quantity": 30}'
    {"detail":"out_of_stock: there are 9"}
    $ curl -s -X PUT localhost:8000/orders/1 --json '{"quantity": 3}'
    {"state":"confirmed"}
    $ curl -s -X PUT localhost:8000/orders/1 --json '{"quantity": 4}'
    {"detail":"this id was used for something else"}
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import trypact
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy import Connection
from trypact import Action, Call, tcc
from trypact.fence import SqlAlchemyFence, sqlite_engine
from trypact.http import status_of

COORDINATOR = os.environ.get("TRYPACT_SERVER", "127.0.0.1:7000")

logger = logging.getLogger(__name__)
fence = SqlAlchemyFence(sqlite_engine("fastapi_app.db"))
warehouse = trypact.Participant("warehouse", fence=fence)


class Order(BaseModel):
    quantity: int


RESERVE = Action("warehouse.reserve", request=Order)


@warehouse.tcc(RESERVE)
class Reserve:
    def try_(self, call: Call[Order], connection: Connection) -> None:
        if call.request.quantity > 9:
            raise trypact.Refuse("out_of_stock: there are 9")

    def confirm(self, call: Call[Order], connection: Connection) -> None: ...

    def cancel(self, call: Call[Order], connection: Connection) -> None: ...


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    fence.create_tables()
    async with (
        warehouse.serve(coordinator=COORDINATOR) as server,
        trypact.Client(COORDINATOR) as client,
    ):
        # Not for ever: without its coordinator the application starts too, and answers 503.
        with suppress(TimeoutError):
            await asyncio.wait_for(server.wait_registered(), timeout=5.0)
        app.state.trypact = client
        yield


app = FastAPI(lifespan=lifespan)


@app.put("/orders/{number}")
async def place(number: int, order: Order, request: Request) -> dict[str, str]:
    client: trypact.Client = request.app.state.trypact
    # The order's own number, so that a request that is repeated is the same transaction.
    outcome = await client.execute("order", [tcc(RESERVE, order)], xid=f"order-{number}")
    return {"state": outcome.state}


@app.exception_handler(trypact.TrypactError)
async def not_well(request: Request, error: trypact.TrypactError) -> JSONResponse:
    answer = status_of(error)
    if answer.status == 500:
        logger.error("%s failed", request.url.path, exc_info=error)
    return JSONResponse({"detail": answer.detail}, answer.status, answer.headers)
