"""A participant that completes what was PENDING by itself, and that can be told to die.

`python -m tests.crash.desk FILE COORDINATOR LISTEN [die]` runs it. With `die` it is killed between
the commit that completes the operation and the report of it.
"""

import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import trypact
from sqlalchemy import Connection, Engine, text
from trypact.fence import SqlAlchemyFence, sqlite_engine


def desk_of(database: Path) -> tuple[Engine, SqlAlchemyFence]:
    engine = sqlite_engine(database)
    fence = SqlAlchemyFence(engine)
    fence.create_tables()
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE IF NOT EXISTS signed (xid TEXT)"))
    return engine, fence


def signed(engine: Engine) -> list[str]:
    """The xids that were signed, each as often as that happened."""
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT xid FROM signed")).scalars())


class DoomedClient(trypact.SyncClient):
    """Dies instead of reporting."""

    def report(self, *arguments: Any, **answer: Any) -> trypact.Reported:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("still alive")


def main(database: str, coordinator: str, listen: str, die: str = "") -> None:
    logging.basicConfig(level=logging.INFO)
    _, fence = desk_of(Path(database))
    desk = trypact.Participant("desk", fence=fence)

    def sign(xid: str, branch_id: str) -> None:
        def effect(connection: Connection) -> dict[str, str]:
            connection.execute(text("INSERT INTO signed VALUES (:xid)"), {"xid": xid})
            return {"signed": xid}

        client = (DoomedClient if die else trypact.SyncClient)(coordinator)
        desk.reporter(client).run(xid, branch_id, "try", effect)

    @desk.tcc("sign")
    def ask(call: trypact.Call[Any], connection: Connection) -> Any:
        # SQLite has one writer: the clerk waits for the end of this local transaction.
        threading.Thread(target=sign, args=(call.xid, call.branch_id)).start()
        return trypact.PENDING

    ask.confirm(lambda call, connection: None)
    ask.cancel(lambda call, connection: None)
    desk.run(listen, coordinator=coordinator)


if __name__ == "__main__":
    main(*sys.argv[1:])
