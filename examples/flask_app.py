"""A web application with Flask: a `SyncClient` that all of its threads share.

With `trypact dev` in another terminal:

    $ python flask_app.py serve &
    $ flask --app flask_app run --port 8000 &
    $ curl -s -X PUT localhost:8000/bookings/1 --json '{"seats": 2}'
    {"row":12,"state":"confirmed"}
    $ curl -s -X PUT localhost:8000/bookings/2 --json '{"seats": 20}'
    {"error":"sold_out"}
    $ curl -s -X PUT localhost:8000/bookings/1 --json '{"seats": 2}'
    {"row":12,"state":"confirmed"}
    $ curl -s -X PUT localhost:8000/bookings/1 --json '{"seats": 5}'
    {"error":"this id was used for something else"}
"""

import logging
import os
import sys
from typing import Any

import flask
import trypact
from sqlalchemy import Connection
from trypact import Call, tcc
from trypact.fence import SqlAlchemyFence, sqlite_engine
from trypact.http import status_of

COORDINATOR = os.environ.get("TRYPACT_SERVER", "127.0.0.1:7000")

fence = SqlAlchemyFence(sqlite_engine("flask_app.db"))
train = trypact.Participant("train", fence=fence)
client = trypact.SyncClient(COORDINATOR)
app = flask.Flask(__name__)


@train.tcc("hold")
class Hold:
    def try_(self, call: Call[int], connection: Connection) -> int:
        if call.request > 9:
            raise trypact.Refuse("sold_out")
        return 12

    def confirm(self, call: Call[int], connection: Connection) -> None: ...

    def cancel(self, call: Call[int], connection: Connection) -> None: ...


@app.put("/bookings/<int:number>")
def book(number: int) -> dict[str, Any]:
    held = tcc("train.hold", flask.request.json["seats"], id="seats")
    # The booking's own number, so that a request that is repeated is the same transaction.
    outcome = client.execute("booking", [held], xid=f"booking-{number}", timeout=10.0)
    return {"row": outcome.result("seats", int), "state": outcome.state}


@app.errorhandler(trypact.TrypactError)
def not_well(error: trypact.TrypactError) -> tuple[dict[str, str], int, dict[str, str]]:
    answer = status_of(error)
    if answer.status == 500:
        app.logger.error("%s failed", flask.request.path, exc_info=error)
    return {"error": answer.detail}, answer.status, answer.headers


if __name__ == "__main__" and sys.argv[1:] == ["serve"]:
    logging.basicConfig(level=logging.INFO)
    fence.create_tables()
    train.run("127.0.0.1:0", coordinator=COORDINATOR)
