"""Simulate participants of your own: twenty runs under seeded faults, and each ends well.

No coordinator is needed:

    $ python testing_simulate.py
    20 runs, 100 transactions: all of it happened, or none of it did

A run that fails names its seed; `TRYPACT_SEED=17 python testing_simulate.py` repeats it.
"""

import random
from collections.abc import Sequence

import trypact
from sqlalchemy import Connection, Engine, text
from trypact import Branch, Call, tcc
from trypact.fence import SqlAlchemyFence, sqlite_engine
from trypact.testing import simulate


class Account:
    """Takes money aside, and pays with it."""

    def try_(self, call: Call[dict[str, int]], connection: Connection) -> None:
        cents = call.request["cents"]
        if connection.execute(text("SELECT free FROM account")).scalar_one() < cents:
            raise trypact.Refuse("too_little_money")
        self.move(connection, "free", "held", cents)

    def confirm(self, call: Call[dict[str, int]], connection: Connection) -> None:
        self.move(connection, "held", "paid", call.request["cents"])

    def cancel(self, call: Call[dict[str, int]], connection: Connection) -> None:
        self.move(connection, "held", "free", call.request["cents"])

    @staticmethod
    def move(connection: Connection, source: str, target: str, cents: int) -> None:
        change = f"UPDATE account SET {source} = {source} - :c, {target} = {target} + :c"
        connection.execute(text(change), {"c": cents})


class Bank:
    """Two participants, each over a database of its own that is made for each run."""

    engines: Sequence[Engine] = ()

    def open(self) -> list[trypact.Participant]:
        for engine in self.engines:
            engine.dispose()
        self.engines = [sqlite_engine(f"{name}.db") for name in ("ada", "bob")]
        return [self._account(*pair) for pair in zip(("ada", "bob"), self.engines, strict=True)]

    def _account(self, name: str, engine: Engine) -> trypact.Participant:
        fence = SqlAlchemyFence(engine)
        with engine.begin() as connection:
            for table in (fence.table.name, "account"):
                connection.execute(text(f"DROP TABLE IF EXISTS {table}"))
            connection.execute(text("CREATE TABLE account (free INT, held INT, paid INT)"))
            connection.execute(text("INSERT INTO account VALUES (100, 0, 0)"))
        fence.create_tables()
        account = trypact.Participant(name, fence=fence)
        account.tcc("pay")(Account)
        return account

    def both_paid_the_same(self) -> bool:
        paid = []
        for engine in self.engines:
            with engine.begin() as connection:
                free, held, spent = connection.execute(text("SELECT * FROM account")).one()
            paid.append(spent)
            if held or free + spent != 100:
                return False
        return bool(paid[0] == paid[1])


def both_pay(rng: random.Random) -> Sequence[Branch]:
    cents = {"cents": rng.randint(1, 40)}
    return [tcc("ada.pay", cents, id="ada"), tcc("bob.pay", cents, id="bob")]


if __name__ == "__main__":
    bank = Bank()
    done = simulate(bank.open, both_pay, seeds=20, checks=[bank.both_paid_the_same])
    ended = done.confirmed + done.cancelled
    print(f"{done.runs} runs, {ended} transactions: all of it happened, or none of it did")
