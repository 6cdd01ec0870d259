"""`trypact conformance` as a process, against participants that are processes of their own."""

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from trypact.kinds import Kind
from trypact.testing.examination import RemoteCallee, Subject
from trypact.testing.examination.cases import (
    crash_between,
    crash_during_cancel,
    crash_during_confirm,
    crash_during_try,
    try_and_confirm,
)
from trypact.testing.examination.trial import Failed, Trial

from tests.integration.cli.process import Ran, run
from tests.integration.node.conftest import Stage, stage
from tests.servers.process import ServerProcess
from tests.testing.conftest import Warehouse

__all__ = ["stage"]

PIECE = '{"pieces": 1}'
KIOSK = """
import sys
from sqlalchemy import text
import trypact
from trypact.fence import SqlAlchemyFence, sqlite_engine

engine = sqlite_engine("kiosk.db")
fence = SqlAlchemyFence(engine)
fence.create_tables()
with engine.begin() as connection:
    connection.execute(text("CREATE TABLE IF NOT EXISTS sold (n INT, held INT)"))
    if connection.execute(text("SELECT count(*) FROM sold")).scalar() == 0:
        connection.execute(text("INSERT INTO sold VALUES (0, 0)"))
kiosk = trypact.Participant("kiosk", fence=fence)


@kiosk.tcc("sell")
class Sell:
    def try_(self, call, connection):
        if call.request["n"] < 0:
            raise trypact.Refuse("not sold")
        connection.execute(text("UPDATE sold SET held = held + 1"))

    def confirm(self, call, connection):
        connection.execute(text("UPDATE sold SET held = held - 1, n = n + 1"))

    def cancel(self, call, connection):
        connection.execute(text("UPDATE sold SET held = held - 1"))


if __name__ == "__main__":
    import logging

    logging.basicConfig(level=logging.INFO)
    kiosk.run(sys.argv[1], grace=0.1)
"""
# Its effects are in no local transaction of its fence, and its handlers take their time after them.
LEAKY = """
import os, sys, threading
import trypact
from trypact.fence import SqlAlchemyFence, sqlite_engine

fence = SqlAlchemyFence(sqlite_engine("leaky.db"))
fence.create_tables()
leaky = trypact.Participant("leaky", fence=fence)


def done(call, connection):
    open("done", "a").write("x")
    threading.Event().wait(0.3)


def undone(call, connection):
    os.truncate("done", os.path.getsize("done") - 1)
    threading.Event().wait(0.3)


@leaky.tcc("hold")
class Hold:
    try_ = confirm = staticmethod(done)
    cancel = staticmethod(undone)


if __name__ == "__main__":
    import logging

    logging.basicConfig(level=logging.INFO)
    leaky.run(sys.argv[1])
"""
RESTART = """
import os, signal, subprocess, sys
pid, address = open("pid").read(), sys.argv[1]
os.kill(int(pid), signal.SIGKILL)
process = subprocess.Popen(
    [sys.executable, "kiosk.py", address],
    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
)
open("pid", "w").write(str(process.pid))
"""
STATE = """
import sqlite3
print(sqlite3.connect("kiosk.db").execute("SELECT * FROM sold").fetchall())
"""


async def examine(*arguments: str, cwd: Path | None = None) -> Ran:
    return await run("conformance", *arguments, cwd=cwd)


@pytest.fixture
async def address(warehouse: Warehouse) -> AsyncIterator[str]:
    async with warehouse.participant.serve() as server:
        yield server.endpoint


async def test_a_right_participant_is_shown_with_a_table_and_exit_code_0(address: str) -> None:
    ran = await examine(address, "warehouse.reserve", "--payload", PIECE)

    assert ran.code == 0, ran.err
    header, *rows = ran.out.splitlines()
    assert header.split() == ["CASE", "WHAT", "MUST", "HOLD"]
    assert rows[0].startswith("✓  try-and-cancel")
    assert "not tried without a payload that is refused: refusal-is-kept" in rows
    assert rows[-1] == "warehouse.reserve: 16 held, 6 not tried"


async def test_what_fails_is_shown_with_its_calls_and_exit_code_1(address: str) -> None:
    ran = await examine(address, "warehouse.reserve", "--payload", '{"pieces": 99}')

    assert ran.code == 1
    assert "✗  try-and-cancel" in ran.out
    assert "    Try #1       of b -> REFUSED: sold_out: 10 left" in ran.out
    assert "    => Try was refused; give a payload whose Try succeeds" in ran.out
    assert "breaks the contract" in ran.why


async def test_scripts_get_json(address: str) -> None:
    ran = await examine(address, "warehouse.tell", "--kind", "message", "-o", "json")

    assert ran.code == 0, ran.err
    assert [(row["case"], row["mark"]) for row in json.loads(ran.out)] == [
        ("deliver-twice", "held"),
        ("deliveries-at-once", "held"),
        ("crash-during-delivery", "not_tried"),
        ("crash-after-delivery", "not_tried"),
    ]


async def test_where_nothing_listens_is_said_in_three_lines(tmp_path: Path) -> None:
    ran = await examine(f"unix:{tmp_path}/nobody", "a.b", "--patience", "100ms")

    assert ran.code == 1
    assert "start the participant there" in ran.why


@pytest.mark.parametrize(
    ("action", "kind", "payload", "why"),
    [
        ("warehouse.reserv", "tcc", PIECE, "it serves: hint (notice), move (saga)"),
        ("warehouse.reserve", "message", PIECE, "it serves: hint (notice), move (saga)"),
        ("warehouse.reserve", "tcc", "{n:1}", "{n:1} is not JSON"),
    ],
)
async def test_what_cannot_be_examined_is_a_mistake_of_usage(
    address: str, action: str, kind: str, payload: str, why: str
) -> None:
    ran = await examine(address, action, "--kind", kind, "--payload", payload)

    assert ran.code == 2
    assert why in ran.why
    assert not ran.out


async def test_a_coordinator_is_no_participant(stage: Stage) -> None:
    ran = await examine(stage.address, "stalls.book", "--payload", PIECE)

    assert ran.code == 2
    assert "a participant's own address" in ran.err


async def test_a_command_of_the_user_that_fails_is_named(address: str) -> None:
    ran = await examine(
        address, "warehouse.reserve", "--payload", PIECE, "--probe", "echo oh no; false"
    )

    assert ran.code == 1
    assert "--probe failed: echo oh no; false" in ran.why
    assert "oh no" in ran.why


async def test_a_participant_that_is_killed_and_started_again_is_examined_across_its_crashes(
    tmp_path: Path,
) -> None:
    for name, text in (("kiosk.py", KIOSK), ("restart.py", RESTART), ("state.py", STATE)):
        (tmp_path / name).write_text(text)
    kiosk = ServerProcess(
        # A port could be taken by others between its death and its return.
        [sys.executable, "kiosk.py", f"unix:{tmp_path}/kiosk.sock"],
        folder=tmp_path,
    )
    where = kiosk.wait_for(r"is served at (\S+)")[1]
    (tmp_path / "pid").write_text(str(kiosk.pid))
    try:
        ran = await examine(
            where,
            "kiosk.sell",
            "--payload",
            '{"n": %n}',
            "--refused-payload",
            '{"n": -%n}',
            "--probe",
            f"{sys.executable} state.py",
            "--restart",
            f"{sys.executable} restart.py {where}",
            cwd=tmp_path,
        )
    finally:
        kiosk.kill()
        kill((tmp_path / "pid").read_text())

    assert ran.code == 0, ran.out + ran.err
    # Its handlers are quick: some kills may all have come after the answers.
    assert re.search(r"kiosk\.sell: (19|20|21|22) held", ran.out), ran.out


@pytest.mark.parametrize(
    ("case", "why"),
    [
        (crash_during_try, "something is held after the crash"),
        (crash_during_confirm, "some of it is in no local transaction"),
        (crash_during_cancel, "took back something else"),
    ],
)
async def test_an_effect_beside_the_local_transaction_is_caught_by_a_kill_from_outside(
    tmp_path: Path, case: Callable[[Trial], Awaitable[None]], why: str
) -> None:
    (tmp_path / "leaky.py").write_text(LEAKY)
    command = [sys.executable, "leaky.py", f"unix:{tmp_path}/leaky.sock"]
    leaky = ServerProcess(command, folder=tmp_path)
    callee = RemoteCallee(leaky.wait_for(r"is served at (\S+)")[1])

    async def restart() -> None:
        nonlocal leaky
        # A command that takes its time before it kills.
        await asyncio.to_thread(threading.Event().wait, 0.5)
        leaky.kill()
        leaky = ServerProcess(command, folder=tmp_path)

    async def done() -> int:
        path = tmp_path / "done"
        return len(path.read_text()) if path.exists() else 0

    subject = Subject("leaky.hold", Kind.TCC, lambda _: b"", probe=done, restart=restart)
    trial = Trial(callee, subject)
    try:
        # How long calls and kills take is known of those before.
        await try_and_confirm(trial)
        await crash_between(trial)
        with pytest.raises(Failed, match=why):
            await case(trial)
    finally:
        await callee.close()
        leaky.kill()

    assert "killed and started again" in trial.trace


async def test_a_participant_in_another_language_passes(stage: Stage) -> None:
    listed = json.loads((await run("participant", "list", "-o", "json", server=stage.address)).out)
    (stalls,) = (one for one in listed if one["name"] == "stalls")

    ran = await examine(
        stalls["instances"][0]["endpoint"],
        "stalls.book",
        "--payload",
        '{"seats": 1}',
        "--refused-payload",
        '{"seats": 1000}',
    )

    assert ran.code == 0, ran.out + ran.err
    assert "stalls.book: 17 held" in ran.out


def kill(pid: str) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(int(pid), signal.SIGKILL)
