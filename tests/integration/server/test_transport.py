"""GrpcTransport against a real participant: every answer, and everything that is none."""

import asyncio
import socket
from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio
from trypact.v1.transaction_pb2 import Answer as WireAnswer
from trypact_coordinator.core import limits
from trypact_coordinator.core.events import Answer, Ok, Pending, Refused, Retry, Unknown
from trypact_coordinator.core.outcome import Call
from trypact_coordinator.core.transaction import BranchSpec, Decision, Kind, Operation
from trypact_coordinator.transport.grpc import GrpcTransport

from tests.integration.server.scripted_participant import (
    ScriptedParticipant,
    aborts,
    hangs,
    ok,
    pends,
    refuses,
    retries,
    says,
)


@pytest_asyncio.fixture(params=["drive", "unary"])
async def participant(request: pytest.FixtureRequest) -> AsyncIterator[ScriptedParticipant]:
    async with ScriptedParticipant(drive=request.param == "drive") as serving:
        yield serving


@pytest_asyncio.fixture
async def transport() -> AsyncIterator[GrpcTransport]:
    made = GrpcTransport()
    yield made
    await made.close()


def a_call(
    operation: Operation = Operation.TRY,
    timeout_ms: int = 5_000,
    attempt: int = 3,
) -> Call:
    spec = BranchSpec(id="b", kind=Kind.TCC, action="inventory.reserve", payload=b"\x00\xff")
    decision = Decision.UNDECIDED if operation is Operation.TRY else Decision.CANCEL
    return Call("x", spec, operation, attempt, decision, timeout_ms, 12_345, "00-trace")


async def send(transport: GrpcTransport, endpoint: str, call: Call) -> Answer:
    """Send one call; proves that `done` comes later, and once."""
    loop = asyncio.get_running_loop()
    answers: list[Answer] = []
    first = loop.create_future()

    def done(_call: Call, answer: Answer) -> None:
        answers.append(answer)
        if not first.done():
            first.set_result(answer)

    transport.send(call, endpoint, done)
    assert not answers
    answer: Answer = await first
    await asyncio.sleep(0)
    assert len(answers) == 1
    return answer


@pytest.mark.parametrize(
    ("script", "answer"),
    [
        (ok(b"r"), Ok(b"r")),
        (ok(b"x" * limits.RESULT_BYTES_MAX), Ok(b"x" * limits.RESULT_BYTES_MAX)),
        (refuses("out_of_stock"), Refused("out_of_stock")),
        (refuses("y" * limits.REASON_BYTES_MAX), Refused("y" * limits.REASON_BYTES_MAX)),
        (retries(250, "busy"), Retry(250, "busy")),
        (retries(-5), Retry(0)),
        (pends(), Pending()),
    ],
)
async def test_an_answer_is_read(
    transport: GrpcTransport,
    participant: ScriptedParticipant,
    script: object,
    answer: Answer,
) -> None:
    participant.on("b", "Try", script)  # type: ignore[arg-type]

    assert await send(transport, participant.endpoint, a_call()) == answer


async def test_a_reason_over_its_limit_is_cut_with_an_ellipsis(
    transport: GrpcTransport, participant: ScriptedParticipant
) -> None:
    participant.on("b", "Try", refuses("y" * (limits.REASON_BYTES_MAX + 1)))

    answer = await send(transport, participant.endpoint, a_call())

    assert isinstance(answer, Refused)
    assert answer.reason.endswith("y…")
    assert len(answer.reason.encode()) == limits.REASON_BYTES_MAX


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (says(WireAnswer()), "DATA_LOSS: an answer that says none of ok, refused, retry, pending"),
        (says(b""), "DATA_LOSS: an answer that says none of ok, refused, retry, pending"),
        (says(b"\xff\xffgarbage"), "DATA_LOSS: 9 bytes that are no "),
        (ok(b"x" * (limits.RESULT_BYTES_MAX + 1)), "OUT_OF_RANGE: a result of 65537 bytes"),
        (ok(b"x" * 5_000_000), "RESOURCE_EXHAUSTED: "),
        (aborts(grpc.StatusCode.PERMISSION_DENIED, "not you"), "PERMISSION_DENIED: not you"),
        (aborts(grpc.StatusCode.INTERNAL, "d" * 5_000), "INTERNAL: ddd"),
    ],
)
async def test_what_is_no_answer_is_unknown_and_says_why(
    transport: GrpcTransport, participant: ScriptedParticipant, script: object, error: str
) -> None:
    participant.on("b", "Try", script)  # type: ignore[arg-type]

    answer = await send(transport, participant.endpoint, a_call())

    assert isinstance(answer, Unknown)
    assert answer.error.startswith(error)
    assert len(answer.error.encode()) <= limits.REASON_BYTES_MAX


async def test_a_participant_that_hangs_is_unknown_at_the_deadline(
    transport: GrpcTransport, participant: ScriptedParticipant
) -> None:
    participant.on("b", "Try", hangs())

    answer = await send(transport, participant.endpoint, a_call(timeout_ms=50))

    assert isinstance(answer, Unknown)
    assert answer.error.startswith("DEADLINE_EXCEEDED: ")


async def test_a_participant_that_dies_half_way_is_unknown(
    transport: GrpcTransport, participant: ScriptedParticipant
) -> None:
    participant.on("b", "Try", hangs())
    sent = asyncio.create_task(send(transport, participant.endpoint, a_call()))
    await participant.called("b", "Try")

    await participant.die()

    answer = await sent
    assert isinstance(answer, Unknown)
    assert answer.error.partition(":")[0] in ("UNAVAILABLE", "CANCELLED")


async def test_nobody_there_is_unknown_at_once(transport: GrpcTransport) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{taken.getsockname()[1]}"

        answer = await send(transport, endpoint, a_call())

    assert isinstance(answer, Unknown)
    assert answer.error == f"UNAVAILABLE: {endpoint}: Connection refused"


@pytest.mark.parametrize("endpoint", ["", "no address", "127.0.0.1:99999", "::::", "\x00:1"])
async def test_an_endpoint_that_is_none_is_unknown(transport: GrpcTransport, endpoint: str) -> None:
    answer = await send(transport, endpoint, a_call(timeout_ms=200))

    assert isinstance(answer, Unknown)


@pytest.mark.parametrize("operation", list(Operation))
async def test_a_call_carries_all_that_the_participant_needs(
    transport: GrpcTransport, participant: ScriptedParticipant, operation: Operation
) -> None:
    await send(transport, participant.endpoint, a_call(operation))

    [(method, request)] = participant.calls
    assert method == operation.name.capitalize()
    body = request.call
    assert (body.xid, body.branch_id, body.kind, body.action) == ("x", "b", 1, "inventory.reserve")
    assert (body.payload, body.attempt, body.not_after_us) == (b"\x00\xff", 3, 12_345)
    assert body.trace_parent == "00-trace"
    if operation is Operation.DELIVER:
        assert request.decision == Decision.CANCEL.value


async def test_calls_of_one_endpoint_share_a_connection(participant: ScriptedParticipant) -> None:
    transport = GrpcTransport(links_max=1)

    async with ScriptedParticipant() as other:
        for endpoint in (participant.endpoint, other.endpoint, participant.endpoint):
            assert await send(transport, endpoint, a_call()) == Ok()
        busy_elsewhere = await asyncio.gather(
            *(
                send(transport, p.endpoint, a_call(attempt=attempt))
                for p in (participant, other)
                for attempt in (1, 2)
            )
        )

    assert busy_elsewhere == [Ok()] * 4
    await transport.close()


async def test_a_bug_of_whoever_takes_an_answer_costs_the_next_calls_nothing(
    transport: GrpcTransport, participant: ScriptedParticipant
) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)
    taken = asyncio.Event()

    def fails(_call: Call, _answer: Answer) -> None:
        taken.set()
        raise ZeroDivisionError("a bug")

    transport.send(a_call(), participant.endpoint, fails)
    await taken.wait()

    assert await send(transport, participant.endpoint, a_call(timeout_ms=2_000)) == Ok()


async def test_closing_makes_what_is_in_flight_unknown(participant: ScriptedParticipant) -> None:
    transport = GrpcTransport()
    participant.on("b", "Try", hangs())
    sent = asyncio.create_task(send(transport, participant.endpoint, a_call()))
    await participant.called("b", "Try")

    await transport.close()

    assert await sent == Unknown("CANCELLED: the coordinator is stopping")
    late = await send(transport, participant.endpoint, a_call())
    assert late == Unknown("CANCELLED: the coordinator is stopping")


async def test_a_call_sent_in_the_turn_of_closing_is_answered_too(
    participant: ScriptedParticipant,
) -> None:
    transport = GrpcTransport()
    answered = asyncio.get_running_loop().create_future()
    transport.send(a_call(), participant.endpoint, lambda _, answer: answered.set_result(answer))

    await transport.close()

    assert await answered == Unknown("CANCELLED: the coordinator is stopping")


async def test_ping_asks_the_health_service(
    transport: GrpcTransport, participant: ScriptedParticipant
) -> None:
    assert await transport.ping(participant.endpoint, 1_000) == "SERVING"

    await participant.health.enter_graceful_shutdown()
    assert await transport.ping(participant.endpoint, 1_000) == "NOT_SERVING"

    await participant.die()
    assert (await transport.ping(participant.endpoint, 1_000)).startswith("UNAVAILABLE: ")
