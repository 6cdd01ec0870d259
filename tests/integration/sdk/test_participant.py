"""A participant served over real gRPC, called as a coordinator calls it."""

import asyncio
import logging
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import trypact
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sqlalchemy import Connection
from trypact import errors
from trypact.clock import now_us
from trypact.fence import SqlAlchemyFence, sqlite_engine
from trypact.kinds import Kind
from trypact.registration import Registration, registration_request
from trypact.v1 import participant_pb2, participant_pb2_grpc, transaction_pb2

from tests.integration.sdk.conftest import World

Ask = Callable[..., Awaitable[transaction_pb2.Answer]]


@dataclass
class Reserve:
    sku: str
    quantity: int


class Scripted:
    """Handlers that do what the test says."""

    def __init__(self) -> None:
        self.seen: list[trypact.Call[Any]] = []
        self.behaviour: Callable[[], Any] = lambda: {"ok": True}

    def try_(self, call: trypact.Call[Any], connection: Connection) -> Any:
        self.seen.append(call)
        return self.behaviour()

    confirm = cancel = deliver = try_


@pytest.fixture
def scripted() -> Scripted:
    return Scripted()


@pytest.fixture
def participant(scripted: Scripted, tmp_path: Path) -> trypact.Participant:
    fence = SqlAlchemyFence(sqlite_engine(tmp_path / "inventory.db"))
    fence.create_tables()
    participant = trypact.Participant("inventory", fence=fence, workers=2)
    participant.tcc("reserve", request=Reserve)(scripted)
    participant.message("ship")(scripted.deliver)
    return participant


@pytest.fixture
async def ask(participant: trypact.Participant) -> AsyncIterator[Ask]:
    """Call an operation of the served participant."""
    async with (
        participant.serve(grace=0.1) as server,
        grpc.aio.insecure_channel(server.endpoint) as channel,
    ):
        stub: Any = participant_pb2_grpc.ParticipantServiceStub(channel)

        async def ask(operation: str, **fields: Any) -> transaction_pb2.Answer:
            outside = {"decision": fields.pop("decision")} if "decision" in fields else {}
            call = participant_pb2.BranchCall(
                **{
                    "xid": "x",
                    "branch_id": "b",
                    "kind": transaction_pb2.BRANCH_KIND_TCC,
                    "action": "inventory.reserve",
                    "payload": b'{"sku":"a","quantity":2}',
                    **fields,
                }
            )
            request = getattr(participant_pb2, f"{operation}Request")(call=call, **outside)
            response = await getattr(stub, operation)(request, timeout=10)
            answer: transaction_pb2.Answer = response.answer
            return answer

        yield ask


async def test_a_handler_gets_the_decoded_request_and_answers_json(
    ask: Ask, scripted: Scripted
) -> None:
    answer = await ask("Try", attempt=3, trace_parent="00-ab-cd-01")

    assert answer.ok.result == b'{"ok":true}'
    (call,) = scripted.seen
    assert call.request == Reserve("a", 2)
    assert (call.xid, call.branch_id, call.action) == ("x", "b", "inventory.reserve")
    assert (call.kind, call.operation, call.attempt) == ("tcc", "try", 3)
    assert call.trace_parent == "00-ab-cd-01"


async def test_a_delivery_says_which_decision_it_follows(ask: Ask, scripted: Scripted) -> None:
    answer = await ask(
        "Deliver",
        kind=transaction_pb2.BRANCH_KIND_MESSAGE,
        action="inventory.ship",
        payload=b"",
        decision=transaction_pb2.DECISION_CANCEL,
    )

    assert answer.WhichOneof("kind") == "ok"
    assert scripted.seen[0].decision == "cancel"
    assert scripted.seen[0].request is None


async def test_every_answer_of_a_handler_has_its_form_on_the_wire(
    ask: Ask, scripted: Scripted
) -> None:
    def raising(error: Exception) -> Callable[[], Any]:
        def behave() -> Any:
            raise error

        return behave

    scripted.behaviour = raising(trypact.RetryLater(1.5, "busy"))
    assert (await ask("Try")).retry == transaction_pb2.Answer.Retry(after_ms=1500, reason="busy")
    scripted.behaviour = lambda: trypact.PENDING
    assert (await ask("Try")).WhichOneof("kind") == "pending"
    scripted.behaviour = raising(trypact.Refuse("é" * 1000))
    refused = (await ask("Try", xid="y")).refused.reason
    assert len(refused.encode()) <= 1024
    assert refused.endswith("é…")
    scripted.behaviour = lambda: None
    assert (await ask("Try", xid="z")).ok.result == b""
    scripted.behaviour = lambda: trypact.Reserved({"seat": 7}, expires_in=60)
    reserved = (await ask("Try", xid="r")).ok
    assert reserved.result == b'{"seat":7}'
    assert 0 < reserved.expires_at_us - now_us() <= 60_000_000
    # Whoever asks again is told the same instant.
    assert (await ask("Try", xid="r")).ok == reserved


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b"", "is null, not an object of quantity, sku"),
        (b"\xff", "is not JSON"),
        (b'{"sku":"a"}', "quantity: is missing"),
        (b'{"sku":"a","quantity":"2"}', "quantity: is a string, not an integer"),
        (b'{"sku":"a","quantity":2,"x":1}', "x: is no field of Reserve"),
        (b"[" * 100_000, "is not JSON"),
    ],
)
async def test_garbage_from_an_initiator_is_a_business_no_that_stays(
    ask: Ask, scripted: Scripted, payload: bytes, said: str
) -> None:
    answers = [await ask("Try", payload=payload), await ask("Try")]

    assert answers[0].refused.reason.startswith(f"invalid payload: {said}")
    # It is the stored answer, so no straggler with the key can reserve anything.
    assert answers[1] == answers[0]
    assert scripted.seen == []


async def test_a_handler_that_fails_is_an_unknown_outcome_without_its_secrets(
    ask: Ask, scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> Any:
        raise LookupError("card 4711")

    scripted.behaviour = fail
    with caplog.at_level(logging.ERROR), pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask("Try")

    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "the handler raised LookupError" in str(caught.value.details())
    assert "4711" not in str(caught.value.details())
    assert "inventory.reserve try of x failed" in caplog.text


async def test_a_result_over_its_limit_is_named_and_undone(ask: Ask, scripted: Scripted) -> None:
    scripted.behaviour = lambda: b"x" * (64 * 1024)
    assert len((await ask("Try")).ok.result) == 64 * 1024
    scripted.behaviour = lambda: b"x" * (64 * 1024 + 1)

    with pytest.raises(grpc.aio.AioRpcError, match="65537 bytes long; allowed: at most 65536"):
        await ask("Try", xid="y")
    scripted.behaviour = lambda: b"short"
    assert (await ask("Try", xid="y")).ok.result == b"short"


async def test_a_result_that_has_no_json_is_named(ask: Ask, scripted: Scripted) -> None:
    scripted.behaviour = lambda: {"when": object()}

    with pytest.raises(grpc.aio.AioRpcError, match="cannot be a result: when: is object"):
        await ask("Try")


@pytest.mark.parametrize(
    ("operation", "fields", "status"),
    [
        ("Try", {"xid": ""}, grpc.StatusCode.INVALID_ARGUMENT),
        ("Try", {"branch_id": ""}, grpc.StatusCode.INVALID_ARGUMENT),
        ("Try", {"kind": 0}, grpc.StatusCode.INVALID_ARGUMENT),
        ("Try", {"kind": 77}, grpc.StatusCode.INVALID_ARGUMENT),
        ("Try", {"action": "inventory.fly"}, grpc.StatusCode.UNIMPLEMENTED),
        ("Try", {"action": "coupon.reserve"}, grpc.StatusCode.UNIMPLEMENTED),
        ("Try", {"kind": 2}, grpc.StatusCode.UNIMPLEMENTED),
        ("Deliver", {}, grpc.StatusCode.UNIMPLEMENTED),
        ("Confirm", {"kind": 3, "action": "inventory.ship"}, grpc.StatusCode.UNIMPLEMENTED),
    ],
)
async def test_what_is_not_served_is_told_so(
    ask: Ask, scripted: Scripted, operation: str, fields: dict[str, Any], status: grpc.StatusCode
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(operation, **fields)

    assert caught.value.code() is status
    assert scripted.seen == []


async def test_a_try_after_its_not_after_is_not_run(ask: Ask, scripted: Scripted) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="too late by this participant's clock"):
        await ask("Try", not_after_us=now_us() - 1_000_000)
    assert scripted.seen == []

    await ask("Try", not_after_us=now_us() + 60_000_000)
    assert len(scripted.seen) == 1


async def test_handlers_run_at_once_but_no_more_than_the_workers(
    ask: Ask, scripted: Scripted
) -> None:
    names: set[str] = set()

    def behave() -> Any:
        names.add(threading.current_thread().name)

    scripted.behaviour = behave
    await asyncio.gather(*(ask("Try", xid=f"x{i}") for i in range(20)))

    assert len(scripted.seen) == 20
    assert 1 <= len(names) <= 2
    assert all(name.startswith("inventory-handler") for name in names)


async def test_health_says_serving_and_a_call_under_way_is_finished(
    participant: trypact.Participant, scripted: Scripted
) -> None:
    inside, release = threading.Event(), threading.Event()

    def hold() -> Any:
        inside.set()
        release.wait(10)
        return "done"

    scripted.behaviour = hold
    server = participant.serve(grace=10.0)
    async with server, grpc.aio.insecure_channel(server.endpoint) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        for service in ("", "trypact.v1.ParticipantService"):
            request = health_pb2.HealthCheckRequest(service=service)
            reply = await health.Check(request)
            assert reply.status == health_pb2.HealthCheckResponse.SERVING
        stub: Any = participant_pb2_grpc.ParticipantServiceStub(channel)
        call = participant_pb2.BranchCall(
            xid="x", branch_id="b", kind=transaction_pb2.BRANCH_KIND_TCC,
            action="inventory.reserve", payload=b'{"sku":"a","quantity":2}',
        )  # fmt: skip
        answered = asyncio.ensure_future(stub.Try(participant_pb2.TryRequest(call=call)))
        await asyncio.to_thread(inside.wait, 10)
        stopping = asyncio.create_task(server.stop())
        release.set()

        assert (await answered).answer.ok.result == b'"done"'
        await stopping
        await server.wait_closed()


async def test_a_port_that_is_taken_is_told_in_one_sentence(
    participant: trypact.Participant,
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        listen = f"127.0.0.1:{other.getsockname()[1]}"

        with pytest.raises(errors.EndpointTaken, match=f"{listen}: Address already in use"):
            await participant.serve(listen).start()
    with pytest.raises(errors.EndpointTaken, match=r"cannot listen on nowhere\.invalid:1"):
        await participant.serve("nowhere.invalid:1").start()


PROCESS = """
import logging, sys, trypact
from trypact.fence import SqlAlchemyFence, sqlite_engine
from trypact.kinds import Kind
from trypact.registration import Registration, registration_request
logging.basicConfig(level=logging.INFO, format="%(message)s")
fence = SqlAlchemyFence(sqlite_engine(sys.argv[1]))
fence.create_tables()
participant = trypact.Participant("inventory", fence=fence)
participant.message("ship")(lambda call, connection: None)
participant.run(sys.argv[2], instance="one")
"""


def process(tmp_path: Path, listen: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", PROCESS, str(tmp_path / "p.db"), listen]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def test_a_process_serves_until_it_is_asked_to_stop(tmp_path: Path) -> None:
    running = process(tmp_path, "127.0.0.1:0")
    assert running.stderr is not None
    assert running.stderr.readline().startswith("one is served at 127.0.0.1:")
    running.send_signal(signal.SIGTERM)

    assert running.wait(10) == 0
    assert "Traceback" not in running.stderr.read()


def test_a_process_whose_port_is_taken_says_so_and_exits(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        running = process(tmp_path, listen)
        _, said = running.communicate(timeout=10)

    assert running.returncode == 1
    assert said.startswith(f"inventory cannot listen on {listen}: Address already in use; allowed")
    assert said.count("\n") == 1


# ---------------------------------------------------------------- registration


async def names(world: World) -> dict[str, bool]:
    assert world.coordinator is not None
    registry = world.coordinator.coordinator.registry
    return {view.name: bool(view.live) for view in registry.overview()}


async def test_a_participant_registers_and_drains_when_it_stops(
    world: World, participant: trypact.Participant
) -> None:
    async with participant.serve(coordinator=world.endpoint, grace=0.1) as server:
        await server.wait_registered()
        assert await names(world) == {"bank": True, "inventory": True}

    assert await names(world) == {"bank": True, "inventory": False}


async def test_a_participant_that_starts_first_finds_the_coordinator_later(
    world: World, participant: trypact.Participant, caplog: pytest.LogCaptureFixture
) -> None:
    await world.stop()
    async with participant.serve(coordinator=world.endpoint, grace=0.1) as server:
        await world.start()
        async with asyncio.timeout(10):
            await server.wait_registered()

        assert (await names(world))["inventory"]


async def test_an_instance_that_is_not_known_any_more_registers_again(world: World) -> None:
    pauses: asyncio.Queue[float] = asyncio.Queue()
    heartbeat = asyncio.Semaphore(0)

    async def pause(seconds: float) -> None:
        pauses.put_nowait(seconds)
        await heartbeat.acquire()

    request = registration_request("inventory", "one", "127.0.0.1:1", {"ship": (Kind.MESSAGE,)})
    registration = Registration(world.endpoint, request, pause)
    registration.start()
    # It renews a little earlier than it was told to.
    assert 4.0 <= await pauses.get() <= 5.0
    heartbeat.release()
    await pauses.get()
    assert world.coordinator is not None
    registry = world.coordinator.coordinator.registry
    await registry.deregister("inventory", "one")
    assert not (await names(world))["inventory"]

    heartbeat.release()
    await pauses.get()

    assert (await names(world))["inventory"]
    await registration.stop()


async def test_a_registration_that_is_refused_is_logged_once_and_tried_on(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    pauses: asyncio.Queue[float] = asyncio.Queue()

    async def pause(seconds: float) -> None:
        pauses.put_nowait(seconds)

    request = registration_request("No Name", "one", "127.0.0.1:1", {"ship": (Kind.MESSAGE,)})
    registration = Registration(world.endpoint, request, pause)
    registration.start()
    waits = [await pauses.get() for _ in range(8)]
    await registration.stop()

    assert waits[0] <= 0.2
    assert 1.5 <= waits[-1] <= 3.0
    assert caplog.text.count("does not take the registration of No Name") == 1
    assert "INVALID_ARGUMENT" in caplog.text


async def test_who_registers_beside_an_instance_with_other_actions_is_told(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    for instance, verb in (("one", "ship"), ("two", "send")):
        request = registration_request("inventory", instance, "127.0.0.1:1", {verb: (Kind.TCC,)})
        registration = Registration(world.endpoint, request)
        registration.start()
        async with asyncio.timeout(10):
            await registration.registered.wait()
        if instance == "one":
            assert not caplog.text
            first = registration
    assert "says: other instances of 'inventory' are live and" in caplog.text
    await registration.stop()
    await first.stop()


async def test_the_last_word_after_the_coordinator_was_away_is_that_it_is_registered(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "trypact.participant")
    pauses: asyncio.Queue[float] = asyncio.Queue()
    heartbeat = asyncio.Semaphore(0)

    async def pause(seconds: float) -> None:
        pauses.put_nowait(seconds)
        await heartbeat.acquire()

    def said() -> list[str]:
        return [
            record.levelname
            for record in caplog.records
            if record.name == "trypact.participant" and "inventory" in record.getMessage()
        ]

    async def beat_until_said(last: str) -> None:
        async with asyncio.timeout(10):
            while said()[-1] != last:
                heartbeat.release()
                await pauses.get()

    request = registration_request("inventory", "one", "127.0.0.1:1", {"ship": (Kind.MESSAGE,)})
    registration = Registration(world.endpoint, request, pause)
    registration.start()
    await pauses.get()
    assert said() == ["INFO"]
    heartbeat.release()
    await pauses.get()
    assert said() == ["INFO"]

    await world.stop()
    await beat_until_said("WARNING")
    await world.start()
    await beat_until_said("INFO")

    assert said().count("INFO") == 2
    assert "inventory one is registered with the coordinator" in caplog.text
    await registration.stop()
