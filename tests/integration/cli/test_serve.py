"""`trypact serve`, `dev` and `journal`: real processes on real files."""

import asyncio
import contextlib
import json
import os
import re
import signal
import sqlite3
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from trypact.v1 import initiator_pb2, initiator_pb2_grpc

from tests.integration.cli.process import run, serving, start


async def test_a_coordinator_serves_and_stops_on_sigterm(tmp_path: Path) -> None:
    async with serving(tmp_path / "journal.db") as coordinator:
        async with grpc.aio.insecure_channel(coordinator.address) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            request = health_pb2.HealthCheckRequest(service="trypact.v1.TransactionService")
            assert (await health.Check(request)).status == 1
            transactions = initiator_pb2_grpc.TransactionServiceStub(channel)
            begin = initiator_pb2.Begin(xid="kept", name="n", timeout_ms=600_000)
            await transactions.Begin(initiator_pb2.BeginRequest(begin=begin))

        ended = await coordinator.stop()

    assert (ended.code, ended.out) == (0, "")
    for line in ended.err.splitlines():
        if not line.startswith("listening on "):
            assert json.loads(line)["level"] == "info"

    async with serving(tmp_path / "journal.db", "--stop-grace", "1ms") as again:
        shown = await run("tx", "show", "kept", "-o", "json", server=again.address)
        assert json.loads(shown.out)["state"] == "TRYING"
        await again.stop()


async def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    async with (
        serving(tmp_path / "journal.db", "--stop-grace", "1h") as coordinator,
        grpc.aio.insecure_channel(coordinator.address) as channel,
    ):
        transactions = initiator_pb2_grpc.TransactionServiceStub(channel)
        begin = initiator_pb2.Begin(xid="undecided", name="n", timeout_ms=60_000)
        await transactions.Begin(initiator_pb2.BeginRequest(begin=begin))
        watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watching.read()).status == 1
        # Somebody waits for it, so that the coordinator does not end by itself.
        waiting = transactions.Wait(initiator_pb2.WaitRequest(xid="undecided"))
        await transactions.Get(initiator_pb2.GetRequest(xid="undecided"))

        coordinator.process.send_signal(signal.SIGINT)
        assert (await watching.read()).status == 2
        assert coordinator.process.stderr is not None
        async for line in coordinator.process.stderr:
            if b'"stopping"' in line:
                said = json.loads(line)
                break
        assert said["transactions"] == 1
        assert said["waits"] == "up to 1 hour; a second signal ends it"
        coordinator.process.send_signal(signal.SIGINT)

        assert await coordinator.process.wait() == -signal.SIGINT
        with pytest.raises(grpc.aio.AioRpcError):
            await waiting


async def test_a_coordinator_that_lost_its_journal_stops_by_itself(tmp_path: Path) -> None:
    journal = tmp_path / "journal.db"
    async with serving(journal) as coordinator:
        with contextlib.closing(sqlite3.connect(journal, isolation_level=None)) as database:
            # What a newer term does first.
            database.execute("UPDATE term SET epoch = epoch + 1")
        async with grpc.aio.insecure_channel(coordinator.address) as channel:
            transactions = initiator_pb2_grpc.TransactionServiceStub(channel)
            begin = initiator_pb2.Begin(xid="x", name="n")
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await transactions.Begin(initiator_pb2.BeginRequest(begin=begin))
            # By whom it learns of it first, the writer or the sweeper, is a matter of luck.
            assert raised.value.code().name in ("UNAVAILABLE", "CANCELLED")

        _, err = await coordinator.process.communicate()

    assert coordinator.process.returncode == 1
    assert b"error: the coordinator had to stop" in err
    assert b"Traceback" not in err


async def test_what_cannot_be_served_is_said_in_three_lines(tmp_path: Path) -> None:
    read_only = tmp_path / "folder.db"
    read_only.mkdir()
    free = ("serve", "--listen", "127.0.0.1:0", "--journal")
    pages = ("--http-listen", "127.0.0.1:0")
    async with serving(tmp_path / "journal.db", *pages) as first:
        http = re.search(r"metrics at http://(\S+)/metrics", first.said)
        assert http
        (
            taken,
            http_taken,
            locked,
            exposed,
            http_exposed,
            no_port,
            no_journal,
            no_folder,
            folder,
            bad,
        ) = await asyncio.gather(
            run("serve", "--listen", first.address, "--journal", "memory:"),
            run(*free, "memory:", "--http-listen", http[1]),
            run(*free, f"sqlite:///{tmp_path}/journal.db", *pages),
            run("serve", "--listen", "0.0.0.0:0", "--journal", "memory:"),
            run(*free, "memory:", "--http-listen", "0.0.0.0:0"),
            run("serve", "--listen", "localhost"),
            run(*free, "mysql://x"),
            run(*free, f"sqlite:///{tmp_path}/none/journal.db"),
            run(*free, f"sqlite:///{read_only}"),
            run("serve", "--call-timeout", "soon"),
        )

    assert "another process listens on it already" in taken.why
    assert "is owned by another coordinator" in locked.why
    assert f"http-listen: {http[1]} cannot be listened on: another process" in http_taken.why
    assert exposed.code == 3
    assert "--insecure" in exposed.why
    assert http_exposed.code == 3
    assert "http-listen: 0.0.0.0:0 can be reached from other machines" in http_exposed.why
    assert "--http-listen" in http_exposed.why
    assert "'localhost' is no address" in no_port.why
    assert no_journal.code == 2
    assert "is no address of a journal" in no_journal.why
    assert "there is no folder" in no_folder.why
    assert folder.code == 1
    assert bad.code == 2
    assert "call-timeout (--call-timeout): 'soon' is not a duration" in bad.why
    codes = {ran.code for ran in (taken, http_taken, locked, no_port, no_folder)}
    assert codes == {1}


async def test_insecure_serves_every_address(tmp_path: Path) -> None:
    process = await start(
        "serve", "--listen", "0.0.0.0:0", "--insecure", "--journal", "memory:", cwd=tmp_path
    )
    assert process.stderr is not None
    while not (line := await process.stderr.readline()).startswith(b"listening on 0.0.0.0:"):
        assert line
    process.terminate()
    await process.communicate()
    assert process.returncode == 0


async def test_dev_says_where_everything_is(tmp_path: Path) -> None:
    http = ("--http-listen", "127.0.0.1:0")
    async with serving(tmp_path / "dev.db", *http, command="dev") as coordinator:
        assert f"coordinator   {coordinator.address}" in coordinator.said
        assert f"sqlite:///{tmp_path}/dev.db" in coordinator.said
        assert re.search(r"metrics       http://127.0.0.1:\d+/metrics", coordinator.said)
        await coordinator.stop()


async def test_a_journal_is_migrated_verified_and_pruned(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/journal.db"

    made = await run("journal", "migrate", "--journal", url)
    again = await run("journal", "migrate", "--journal", url)
    verified = await run("journal", "verify", "--journal", url, "-o", "json")
    pruned = await run("journal", "prune", "--journal", url, "--older-than", "30d")
    absent = await run("journal", "verify", "--journal", f"sqlite:///{tmp_path}/absent.db")

    assert (made.code, again.code, verified.code, pruned.code) == (0, 0, 0, 0)
    assert "already" in again.err
    assert json.loads(verified.out)["problems"] == []
    assert pruned.err == "0 transactions deleted.\n"
    assert absent.code == 1
    assert "there is no journal" in absent.why


async def test_a_file_that_is_no_journal_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "letter.txt"
    other.write_text("Dear Ann, " * 1_000)

    ran = await run("serve", "--listen", "127.0.0.1:0", "--journal", f"sqlite:///{other}")

    assert ran.code == 1
    assert ran.why
    assert other.read_text() == "Dear Ann, " * 1_000


async def test_what_is_no_journal_is_neither_migrated_nor_advised_to_be(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with contextlib.closing(sqlite3.connect(other)) as database:
        database.execute("CREATE TABLE letters (text TEXT)")

    ran, bare, memory = await asyncio.gather(
        run("journal", "migrate", "--journal", f"sqlite:///{other}"),
        run("journal", "verify", "--journal", str(other)),
        run("journal", "prune", "--journal", "memory:", "--older-than", "1d"),
    )

    assert "holds tables that are no journal's" in ran.why
    assert "migrate" not in ran.why.partition("why: ")[2]
    assert "Name another file or database" in ran.why
    assert os.listdir(tmp_path) == ["other.db"]
    assert (bare.code, memory.code) == (2, 2)
    assert "allowed: sqlite:///file.db" in bare.why
    assert "allowed: sqlite:///file.db" in memory.why


async def test_dev_reads_a_file_and_help_tells_its_own_journal(tmp_path: Path) -> None:
    config = tmp_path / "coordinator.toml"
    config.write_text("call-timeout = 'soon'\n")

    helped, refused, serve, verified = await asyncio.gather(
        run("dev", "--help"),
        run("dev", "--config", str(config)),
        run("serve", "--help"),
        run("journal", "verify", cwd=tmp_path),
    )

    assert "sqlite:///trypact-dev.db]" in "".join(helped.out.split())
    assert "sqlite:///trypact.db" not in helped.out
    assert "sqlite:///trypact.db]" in "".join(serve.out.split())
    assert f"call-timeout ({config})" in refused.why
    assert "nothing is at sqlite:///trypact.db, where `trypact serve`" in verified.why
    assert "`trypact dev` keeps it at sqlite:///trypact-dev.db" in verified.why
