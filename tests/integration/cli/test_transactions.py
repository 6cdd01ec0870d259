"""`trypact tx` and `participant` against a real coordinator."""

import asyncio
import json
import re
from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio
from trypact.v1 import initiator_pb2, registry_pb2, transaction_pb2

from tests.integration.cli.process import run, start
from tests.integration.server.house import MESSAGE, NOTICE, SAGA, House, branch, keep_house
from tests.integration.server.scripted_participant import aborts, ok, refuses


@pytest_asyncio.fixture
async def house() -> AsyncIterator[House]:
    async with keep_house() as kept:
        yield kept


async def place_orders(house: House) -> None:
    """One of each: confirmed, cancelled, stuck, failing, interactive."""
    participant = house.participant
    participant.on("sms", "Deliver", refuses("no such number"))
    await house.execute(
        branch("stock"),
        branch("points", MESSAGE, after=["stock"]),
        branch("sms", NOTICE),
        xid="confirmed",
        name="order.submit",
        labels={"order": "17"},
    )
    participant.on("poor", "Try", refuses("balance_low"))
    await house.execute(branch("poor"), xid="cancelled", name="order.submit")
    participant.on("bad", "Confirm", refuses("no such reservation"))
    await house.execute(branch("bad"), xid="stuck", name="order.submit", wait_until=2)
    gone = aborts(grpc.StatusCode.UNAVAILABLE, "gone")
    participant.on("slow", "Try", gone)
    executing = asyncio.create_task(house.execute(branch("slow"), xid="failing"))
    await participant.called("slow", "Try", 3)
    await house.begin("interactive")
    await participant.called("bad", "Confirm")
    executing.cancel()


async def test_what_an_operator_sees(house: House) -> None:
    await place_orders(house)
    server = house.server.address

    listed, rows, ids, stuck, shown, whole, explained = await asyncio.gather(
        run("tx", "list", server=server),
        run("tx", "list", "-o", "json", "--label", "order=17", server=server),
        run("tx", "list", "-o", "ids", "--name", "order.submit", "--limit", "2", server=server),
        run("tx", "stuck", "-o", "json", server=server),
        run("tx", "show", "confirmed", server=server),
        run("tx", "show", "confirmed", "-o", "json", server=server),
        run("tx", "explain", "stuck", server=server),
    )

    assert [line.split()[0] for line in listed.out.splitlines()] == [
        "XID", "interactive", "failing", "stuck", "cancelled", "confirmed",
    ]  # fmt: skip
    assert "STUCK confirming" in listed.out
    [row] = json.loads(rows.out)
    assert (row["xid"], row["state"], row["labels"]) == ("confirmed", "CONFIRMED", {"order": "17"})
    assert ids.out.split() == ["stuck", "cancelled"]

    waiting = {row["xid"]: row for row in json.loads(stuck.out)}
    assert set(waiting) == {"stuck", "failing"}
    assert waiting["stuck"]["needs_human"]
    assert waiting["stuck"]["stuck_reason"] == "inventory: Confirm of bad: no such reservation"
    assert not waiting["failing"]["needs_human"]
    holds_up = waiting["failing"]["waiting_for"]
    assert holds_up["participant"] == "inventory"
    assert "UNAVAILABLE: gone" in holds_up["reason"]
    assert holds_up["attempts"] >= 2
    assert holds_up["failing_since"]

    for expected in ("● stock", "UNDELIVERED", "decided confirm", "no such number", "order=17"):
        assert expected in shown.out
    view = json.loads(whole.out)
    assert view["branches"][0]["state"] == "CONFIRMED"
    assert view["timeline"][0]["event"] == "begun"
    assert "needed" in explained.out
    assert "`trypact tx skip-branch stuck bad --reason ...`" in explained.out


async def test_what_an_operator_does(house: House) -> None:
    await place_orders(house)
    server = house.server.address
    participant = house.participant
    participant.on("refusing", "Confirm", refuses("not yet"), ok())
    await house.execute(branch("refusing"), xid="retried", wait_until=2)
    await participant.called("refusing", "Confirm")

    retried = await run("tx", "retry", "retried", "confirmed", "--reason", "back", server=server)
    assert (retried.code, retried.err) == (0, "")
    assert [line.split()[1:3] for line in retried.out.splitlines()[1:]] == [
        ["asked", "again"], ["nothing", "to"],
    ]  # fmt: skip
    await participant.called("refusing", "Confirm", 2)

    skipped = await run(
        "tx", "skip-branch", "stuck", "bad", "--reason", "booked by hand", "--actor", "ann",
        "-o", "json", server=server,
    )  # fmt: skip
    [view] = json.loads(skipped.out)
    assert view["state"] == "CONFIRMED"
    assert "ann: booked by hand" in [entry["detail"] for entry in view["timeline"]]

    partly = await run(
        "tx", "cancel", "-", "--reason", "abandoned", "-o", "ids",
        server=server, stdin="interactive\n\nconfirmed\nnobody\n",
    )  # fmt: skip
    assert (partly.code, partly.out) == (6, "interactive\n")
    assert "2 of 3 could not be done" in partly.why
    assert "no transaction nobody is known" in partly.err

    conflict = await run("tx", "confirm", "interactive", "--reason", "r", server=server)
    assert conflict.code == 5
    assert "A decision never changes" in conflict.why


async def test_pausing_and_resuming(house: House) -> None:
    await house.begin("i")
    server = house.server.address

    assert (await run("tx", "pause", "i", "--reason", "look", server=server)).code == 0
    listed = await run("tx", "list", "--paused", "-o", "jsonl", server=server)
    assert json.loads(listed.out)["paused"]
    assert (await run("tx", "resume", "i", "--reason", "seen", server=server)).code == 0
    none = await run("tx", "list", "--paused", server=server)
    assert (none.code, none.out, none.err) == (0, "", "No transactions found.\n")


async def test_a_transaction_is_watched_until_nothing_is_left_to_do(house: House) -> None:
    await house.begin("w")
    watching = await start("tx", "watch", "w", "--every", "5ms", server=house.server.address)
    assert watching.stdout is not None
    assert b"begun" in await watching.stdout.readline()

    await house.try_(branch("stock"), "w")
    points = branch("points", MESSAGE, after=["stock"])
    commit = initiator_pb2.CommitRequest(xid="w", deliveries=[points])
    await house.transactions.Commit(commit)

    out, err = await watching.communicate()
    assert (watching.returncode, err) == (0, b"")
    events = [b" ".join(line.split()[1:3]) for line in out.splitlines()]
    assert b"decided confirm" in events
    assert events[-1] == b"deliver ok"


async def test_what_a_participant_says_cannot_command_the_terminal(house: House) -> None:
    house.participant.on("b", "Confirm", refuses("\x1b[2J[bold]gone\nTWO"))
    await house.execute(branch(), xid="[red]x", wait_until=2)
    await house.participant.called("b", "Confirm")
    server = house.server.address

    for command in (["stuck"], ["show", "[red]x"], ["explain", "[red]x"]):
        ran = await run("tx", *command, server=server)
        assert (ran.code, ran.err) == (0, "")
        assert "\x1b" not in ran.out
        assert "\ufffd[2J[bold]gone TWO" in " ".join(ran.out.split())
        assert "[red]x" in ran.out


async def test_participants_are_listed_and_pinged(house: House) -> None:
    server = house.server.address

    listed, pinged = await asyncio.gather(
        run("participant", "list", "-o", "json", server=server),
        run("participant", "ping", "inventory", server=server),
    )
    table, wide = await asyncio.gather(
        run("participant", "list", server=server),
        run("participant", "list", "-o", "wide", server=server),
    )
    assert table.out.splitlines()[1].split()[:2] == ["inventory", "1"]
    assert " of " not in table.out
    assert "LAPSED" not in table.out
    assert "LAPSED" in wide.out
    [view] = json.loads(listed.out)
    assert view["actions"] == {"reserve": ["tcc", "saga"], "tell": ["message", "notice"]}
    assert view["instances"][0]["state"] == "LIVE"
    instance = view["instances"][0]["instance"]
    assert (pinged.code, "SERVING" in pinged.out) == (0, True)

    await house.participant.die()
    down, unknown = await asyncio.gather(
        run("participant", "ping", "inventory", server=server),
        run("participant", "ping", "nobody", server=server),
    )
    assert down.code == 1
    assert "UNAVAILABLE" in down.out
    request = registry_pb2.DeregisterRequest(participant="inventory", instance=instance)
    await house.registry.Deregister(request)
    gone = await run("participant", "list", server=server)
    assert re.search(r"inventory +0, gone, seen \d+\w+ ago +CLOSED", gone.out)
    assert unknown.code == 4
    assert "no participant 'nobody' is registered" in unknown.why


async def test_a_pivot_that_hangs_budgets_and_topics_are_shown_and_nobody_overrules(
    house: House,
) -> None:
    hears = registry_pb2.Action(verb="hear", kinds=[MESSAGE], topics=["rocket.launched"])
    await house.registry.Register(
        registry_pb2.RegisterRequest(
            participant="crew",
            instance="crew-1",
            endpoint=house.participant.endpoint,
            actions=[hears],
        )
    )
    house.participant.on("engine", "Try", aborts(grpc.StatusCode.UNAVAILABLE, "cold"))
    launching = asyncio.create_task(
        house.execute(
            branch("fuel", SAGA, attempts_max=5, retry_for_ms=30_000),
            branch("engine", SAGA, after=["fuel"], pivot=True),
            branch("radar", SAGA, after=["engine"]),
            branch("up", MESSAGE, action="", topic="rocket.launched"),
            xid="rocket",
        )
    )
    await house.participant.called("engine", "Try", 3)
    server = house.server.address
    reason = ("--reason", "no patience")

    shown, listed, cancelled, participants = await asyncio.gather(
        run("tx", "show", "rocket", server=server),
        run("tx", "stuck", server=server),
        run("tx", "cancel", "rocket", *reason, server=server),
        run("participant", "list", server=server),
    )
    house.participant.on("engine", "Try", ok())
    retried = await run("tx", "retry", "rocket", *reason, server=server)
    outcome = await launching

    for words in ("saga, pivot", "1 (budget: 5, 30s)", "only its pivot decides", "pivot sent"):
        assert words in shown.out
    assert "crew.hear on rocket.launched" in shown.out
    assert "inventory: Try engine" in listed.out
    assert cancelled.code
    assert "nothing but its answer decides" in cancelled.err
    assert "hear (message) on rocket.launched" in participants.out
    assert retried.code == 0
    assert outcome.state == transaction_pb2.TRANSACTION_STATE_CONFIRMED


async def test_what_is_not_there_has_its_exit_code(house: House) -> None:
    server = house.server.address

    unknown, usage, field, other = await asyncio.gather(
        run("tx", "show", "nobody", server=server),
        run("tx", "cancel", "x", server=server),
        run("tx", "list", "--state", "DONE", server=server),
        run("tx", "list", server=house.participant.endpoint),
    )

    assert (unknown.code, usage.code, field.code, other.code) == (4, 2, 2, 1)
    assert "no transaction nobody is known" in unknown.why
    assert "Missing option '--reason'" in usage.why
    assert "'DONE' is no state; allowed: TRYING" in field.why
    assert "did not answer as a trypact coordinator" in other.why


async def test_a_coordinator_that_is_down_is_said_to_be_down() -> None:
    ran = await run("tx", "list", "--server", "127.0.0.1:1")

    assert ran.code == 1
    assert "no coordinator answers at 127.0.0.1:1" in ran.why
    assert "`trypact serve`" in ran.why


async def test_ctrl_c_ends_a_command_quietly() -> None:
    connected = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(accept, "127.0.0.1", 0)
    host, port = silent.sockets[0].getsockname()
    process = await start("tx", "list", "--server", f"{host}:{port}", "--timeout", "1m")
    await connected.wait()

    process.send_signal(2)
    out, err = await process.communicate()

    assert (process.returncode, out, err) == (130, b"", b"\ninterrupted\n")
    silent.close()


async def test_a_reader_that_goes_away_is_no_error(house: House) -> None:
    branches = [branch(f"b{i}") for i in range(256)]
    await house.execute(*branches, xid="x")
    process = await start("tx", "show", "x", "-o", "json", server=house.server.address)
    assert process.stdout is not None
    assert process.stderr is not None

    transport = process._transport.get_pipe_transport(1)  # type: ignore[attr-defined]
    transport.close()

    assert await process.wait() == 141
    assert await process.stderr.read() == b""


@pytest.mark.parametrize("address", ["localhost", ":7000", "127.0.0.1:port", "127.0.0.1:0"])
async def test_what_is_no_address_is_usage(address: str) -> None:
    ran = await run("tx", "list", "--server", address)

    assert ran.code == 2
    assert f"{address!r} is no address" in ran.why
