"""A participant whose every effect is counted, and that can be told to die.

`python -m tests.crash.vault FILE COORDINATOR LISTEN` runs it.

It keeps one account and a line for each operation that took effect. It can be told to die, once,
in the middle of a handler (before its local transaction commits) or right after the commit (before
anyone is answered).
"""

import logging
import os
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import trypact
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    event,
    func,
    insert,
    select,
    update,
)
from trypact.fence import SqlAlchemyFence, fence_table, sqlite_engine

TOTAL = 1_000
# A bound for broken tests; what works happens long before.
SECONDS_MAX = 20.0

metadata = MetaData()
account = Table(
    "account",
    metadata,
    Column("free", Integer, nullable=False),
    Column("held", Integer, nullable=False),
    Column("spent", Integer, nullable=False),
)
effects = Table(
    "effects",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("xid", String, nullable=False),
    Column("branch_id", String, nullable=False),
    Column("operation", String, nullable=False),
)
fence_table(metadata)


@dataclass
class Move:
    """How much moves, and where the process dies the first time: "try", "after try" ..."""

    amount: int = 1
    die: str = ""


class Vault:
    """The account in its database file, and what has happened to it."""

    def __init__(self, path: Path) -> None:
        self.engine: Engine = sqlite_engine(path)
        metadata.create_all(self.engine)
        with self.engine.begin() as connection:
            if connection.execute(select(func.count()).select_from(account)).scalar_one() == 0:
                connection.execute(insert(account).values(free=TOTAL, held=0, spent=0))
        # A file that says that this database's process has died on purpose already.
        self._died = path.with_suffix(".died")
        # What this thread does once its local transaction is over.
        self._then = threading.local()
        self._changed = threading.Condition()
        event.listen(self.engine, "checkin", self._checked_in)

    def move(self, call: trypact.Call[Move], connection: Connection, **change: int) -> None:
        """Change the account, write the effect down, and die if that is asked for."""
        if change:
            columns = {name: account.c[name] + amount for name, amount in change.items()}
            enough = account.c.free + change.get("free", 0) >= 0
            if connection.execute(update(account).values(**columns).where(enough)).rowcount == 0:
                raise trypact.Refuse("short: there is not that much")
        operation = str(call.operation)
        connection.execute(
            insert(effects).values(xid=call.xid, branch_id=call.branch_id, operation=operation)
        )
        if call.request.die == operation:
            self.die_once()
        if call.request.die == f"after {operation}":
            # Others of its batch may come before the commit.
            self._then.dies = True

    def _checked_in(self, *_: object) -> None:
        # The connection goes back to the pool when the local transaction is over.
        if getattr(self._then, "dies", False):
            self.die_once()
        with self._changed:
            self._changed.notify_all()

    def die_once(self) -> None:
        self._then.dies = False
        if not self._died.exists():
            self._died.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    # ------------------------------------------------------------ what a test wants to know

    def balance(self) -> tuple[int, int, int]:
        """(free, held, spent)."""
        with self.engine.connect() as connection:
            free, held, spent = connection.execute(select(account)).one()
            return free, held, spent

    def effects_of(self, xid: str) -> list[tuple[str, str]]:
        """(branch id, operation) of everything that took effect, sorted."""
        query = select(effects.c.branch_id, effects.c.operation).where(effects.c.xid == xid)
        with self.engine.connect() as connection:
            return sorted((row[0], row[1]) for row in connection.execute(query))

    def wait_for(self, xid: str, branch_id: str, operation: str) -> None:
        """Wait until an operation has taken effect in this process."""
        effect = (branch_id, operation)
        with self._changed:
            if not self._changed.wait_for(lambda: effect in self.effects_of(xid), SECONDS_MAX):
                raise AssertionError(f"{effect} never happened; {self.effects_of(xid)} did")


def participant_of(vault: Vault) -> trypact.Participant:
    """The participant `vault`, with one action of each kind."""
    served = trypact.Participant("vault", fence=SqlAlchemyFence(vault.engine))

    @served.tcc("take", request=Move)
    class Take:
        def try_(self, call: trypact.Call[Move], connection: Connection) -> None:
            vault.move(call, connection, free=-call.request.amount, held=call.request.amount)

        def confirm(self, call: trypact.Call[Move], connection: Connection) -> None:
            vault.move(call, connection, held=-call.request.amount, spent=call.request.amount)

        def cancel(self, call: trypact.Call[Move], connection: Connection) -> None:
            vault.move(call, connection, held=-call.request.amount, free=call.request.amount)

    @served.saga("ship", request=Move)
    class Ship:
        def try_(self, call: trypact.Call[Move], connection: Connection) -> None:
            vault.move(call, connection, free=-call.request.amount, spent=call.request.amount)

        def cancel(self, call: trypact.Call[Move], connection: Connection) -> None:
            vault.move(call, connection, spent=-call.request.amount, free=call.request.amount)

    @served.message("tell", request=Move)
    @served.notice("hint", request=Move)
    def tell(call: trypact.Call[Move], connection: Connection) -> None:
        vault.move(call, connection)

    @served.subscribe("vault.moved", "vault.kept", request=Move)
    def note(call: trypact.Call[Move], connection: Connection) -> None:
        vault.move(call, connection)

    return served


def main(database: str, coordinator: str, listen: str) -> None:
    """Serve until asked to stop; says on stderr when it is registered."""
    logging.basicConfig(level=logging.INFO)
    participant_of(Vault(Path(database))).run(listen, coordinator=coordinator, instance="vault-1")


if __name__ == "__main__":
    main(*sys.argv[1:])
