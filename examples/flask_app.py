"""A web application with Flask: a `SyncClient` that all of its threads share.

With `trypact dev` in another terminal:

    $ python flask_app.py serve &
    $ flask --app flask_app run --port 8000 &
    $ curl -s -X PUT localhost:8000/bookings/1 --json '{"seats": 2}'
    {"row":12,"state":"confirmed"}
    $ curl -s -X PUT localhost:8000/bookings/2 --json '{"seats": 20}'
    {"error":"sold_out"}
"""

import logging
import os
import sys
from typing import Any

import flask
import trypact
from sqlalchemy import Connection
from trypact import Call
from trypact.fence import SqlAlchemyFence, sqlite_engine

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
def book(number: int) -> tuple[dict[str, Any], int]:
    try:
        with client.transaction("booking", timeout=10.0) as tx:
            row = tx.try_("train.hold", flask.request.json["seats"], returns=int)
    except (trypact.BranchRefused, trypact.TransactionCancelled) as no:
        return {"error": no.reason}, 409
    except (trypact.OutcomeUnknown, trypact.CoordinatorUnavailable):
        return {"error": f"not known yet: ask for {tx.xid}"}, 503
    return {"row": row, "state": tx.outcome.state}, 200


if __name__ == "__main__" and sys.argv[1:] == ["serve"]:
    logging.basicConfig(level=logging.INFO)
    fence.create_tables()
    train.run("127.0.0.1:0", coordinator=COORDINATOR)
