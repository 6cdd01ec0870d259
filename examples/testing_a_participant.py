"""Test a participant in one process: faults, a crash, half an hour, and what proves it right.

No coordinator is needed:

    $ python testing_a_participant.py
    a lost reply: confirmed, 9 free, 0 held
    a crash after the decision: confirmed, 8 free, 0 held
    refused elsewhere: cancelled, 8 free, 0 held
    half an hour later: 1 reminder
    warehouse.reserve: 22 held
"""

import asyncio

import trypact
from sqlalchemy import Connection, text
from trypact import Call, message, tcc
from trypact.fence import SqlAlchemyFence, sqlite_engine
from trypact.testing import Environment, assert_atomic, conformance

engine = sqlite_engine("testing.db")
fence = SqlAlchemyFence(engine)
reminders: list[str] = []


def make_warehouse() -> trypact.Participant:
    warehouse = trypact.Participant("warehouse", fence=fence)
    warehouse.tcc("reserve")(Reserve)
    warehouse.message("remind")(lambda call, connection: reminders.append(call.xid))
    return warehouse


class Reserve:
    def try_(self, call: Call[dict[str, int]], connection: Connection) -> None:
        if call.request["pieces"] > 10:
            raise trypact.Refuse("out_of_stock")
        connection.execute(text("UPDATE shelf SET free = free - 1, held = held + 1"))

    def confirm(self, call: Call[dict[str, int]], connection: Connection) -> None:
        connection.execute(text("UPDATE shelf SET held = held - 1, sold = sold + 1"))

    def cancel(self, call: Call[dict[str, int]], connection: Connection) -> None:
        connection.execute(text("UPDATE shelf SET free = free + 1, held = held - 1"))


def shelf() -> tuple[int, int, int]:
    with engine.begin() as connection:
        free, held, sold = connection.execute(text("SELECT * FROM shelf")).one()
    return free, held, sold


def conserved() -> bool:
    return sum(shelf()) == 10


def show(what: str, outcome: str) -> None:
    print(f"{what}: {outcome}, {shelf()[0]} free, {shelf()[1]} held")


async def main() -> None:
    fence.create_tables()
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE shelf (free INT, held INT, sold INT)"))
        connection.execute(text("INSERT INTO shelf VALUES (10, 0, 0)"))
    reserve = tcc("warehouse.reserve", {"pieces": 1})

    async with Environment([make_warehouse()]) as env:
        env.faults("warehouse.reserve").lose_reply()
        outcome = await env.execute("order.submit", [reserve])
        show("a lost reply", outcome.state)

        env.crash_at("after-decision")
        try:
            await env.execute("order.submit", [reserve], xid="order-2")
        except trypact.OutcomeUnknown:
            await env.restart()
        outcome = await env.wait("order-2")
        show("a crash after the decision", outcome.state)

        try:
            await env.execute("order.submit", [reserve, tcc("warehouse.reserve", {"pieces": 99})])
        except trypact.TransactionCancelled as error:
            await env.settle()
            show("refused elsewhere", error.outcome.state)

        await env.execute("order.remind", [message("warehouse.remind", delay=1800)])
        await env.advance(minutes=30)
        print(f"half an hour later: {len(reminders)} reminder")
        await assert_atomic(env, conserved)

    with engine.begin() as connection:
        connection.execute(text("UPDATE shelf SET free = 1000"))
    report = await conformance(
        make_warehouse, "warehouse.reserve", {"pieces": 1}, refused={"pieces": 99}, probe=shelf
    )
    print(report.headline)


if __name__ == "__main__":
    asyncio.run(main())
