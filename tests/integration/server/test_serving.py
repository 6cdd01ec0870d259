"""The server itself: where it listens, its health, reflection, bounds, and the guard."""

import asyncio
import socket
import struct
from typing import Any

import grpc
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from trypact.v1 import admin_pb2, initiator_pb2
from trypact_coordinator.core.errors import InvariantViolated, Overloaded
from trypact_coordinator.journal.memory import MemoryJournal
from trypact_coordinator.runtime.clock import JournalClock
from trypact_coordinator.runtime.coordinator import Coordinator
from trypact_coordinator.runtime.ids import Uuid7
from trypact_coordinator.runtime.settings import RuntimeSettings
from trypact_coordinator.server.listening import CannotListen, NotLoopback, split_address
from trypact_coordinator.server.serving import SERVICES, UNREAD_BYTES_MAX, Server
from trypact_coordinator.transport.grpc import GrpcTransport

from tests.integration.server.house import (
    MESSAGE,
    POLICY,
    Error,
    House,
    branch,
    keep_house,
    refused,
)
from tests.integration.server.scripted_participant import ScriptedParticipant, hangs

SERVING, NOT_SERVING = 1, 2
# A setting of HTTP/2 (RFC 9113, 6.5.2): what a stream may send before it was read.
INITIAL_WINDOW_SIZE = 4


def make_server(listen: str = "127.0.0.1:0", *, insecure: bool = False) -> Server:
    return Server(listen, insecure=insecure, rpcs_max=10)


async def health(channel: grpc.aio.Channel, service: str = "") -> int:
    request = health_pb2.HealthCheckRequest(service=service)
    answer = await health_pb2_grpc.HealthStub(channel).Check(request)
    return int(answer.status)


# ---------------------------------------------------------------- where it listens


async def test_a_port_that_is_taken_is_said_to_be_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(CannotListen, match="another process listens on it already"):
            make_server(f"127.0.0.1:{port}")


async def test_two_servers_do_not_share_a_port(house: House) -> None:
    with pytest.raises(CannotListen, match="another process listens on it already"):
        make_server(house.server.address)


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "192.0.2.1:7000"])
async def test_only_loopback_is_served_unless_insecure(listen: str) -> None:
    with pytest.raises(NotLoopback, match="pass --insecure"):
        make_server(listen)


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "127.0.0.2:0", "localhost:0"])
async def test_every_loopback_address_is_served(listen: str) -> None:
    server = make_server(listen)

    assert split_address(server.address)[1] > 0
    await server.stop(0)


def test_an_address_may_be_of_version_six() -> None:
    assert split_address("[::1]:7000") == ("::1", 7000)


async def test_other_addresses_are_served_when_told_insecure() -> None:
    server = make_server("0.0.0.0:0", insecure=True)

    assert server.address.startswith("0.0.0.0:")
    await server.stop(0)


@pytest.mark.parametrize(
    "listen", ["", "7000", ":7000", "localhost", "127.0.0.1:", "127.0.0.1:x", "h:65536", "::1:7000"]
)
async def test_what_is_no_address_is_refused(listen: str) -> None:
    with pytest.raises(CannotListen, match="is no address"):
        make_server(listen)


async def test_an_address_of_another_machine_cannot_be_listened_on() -> None:
    with pytest.raises(CannotListen, match="Cannot assign requested address"):
        make_server("192.0.2.1:0", insecure=True)


# ---------------------------------------------------------------- what it takes at a time


async def test_an_initiator_is_told_how_much_it_may_send_ahead(house: House) -> None:
    host, port = split_address(house.server.address)
    reader, writer = await asyncio.open_connection(host, port)
    # HTTP/2's greeting with no settings of our own; the server's are the first of its answer.
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
    head = await reader.readexactly(9)
    body = await reader.readexactly(int.from_bytes(head[:3], "big"))
    writer.close()
    told = dict(struct.iter_unpack(">HI", body))
    assert told[INITIAL_WINDOW_SIZE] == UNREAD_BYTES_MAX


# ---------------------------------------------------------------- starting and stopping


async def test_until_it_is_open_it_refuses_and_is_not_serving() -> None:
    server = make_server()
    coordinator = Coordinator(
        MemoryJournal(), GrpcTransport(), Uuid7(), JournalClock(), POLICY, RuntimeSettings()
    )
    await server.start(coordinator)
    async with grpc.aio.insecure_channel(server.address) as channel:
        assert await health(channel) == NOT_SERVING
        listing = channel.unary_unary("/trypact.v1.AdminService/ListTransactions")
        with refused("UNAVAILABLE", "STARTING"):
            await listing(b"")

        await coordinator.start("test")
        await server.open()

        assert [await health(channel, service) for service in ("", *SERVICES)] == [SERVING] * 4
        await listing(b"")
        await server.drain()
        assert await health(channel) == NOT_SERVING
        await listing(b"")
    await coordinator.stop(0)
    await server.stop(0)


async def test_who_waits_at_a_stop_is_told_to_ask_again(house: House) -> None:
    await house.begin()
    waiting = asyncio.ensure_future(house.transactions.Wait(initiator_pb2.WaitRequest(xid="x")))
    await house.transactions.Get(initiator_pb2.GetRequest(xid="x"))

    await house.coordinator.stop(0)

    with refused("UNAVAILABLE", "SHUTTING_DOWN"):
        await waiting


async def test_what_was_in_flight_at_a_stop_goes_on_with_the_next_start() -> None:
    journal = MemoryJournal()
    async with ScriptedParticipant() as participant:
        async with keep_house(journal.store) as house:
            await house.register(participant.endpoint)
            participant.on("b", "Confirm", hangs())
            await house.execute(branch(), wait_until=2, timeout_ms=60_000)
            await participant.called("b", "Confirm")
        participant.on("b", "Confirm")
        async with keep_house(journal.store) as house:
            await house.register(participant.endpoint)
            waited = await house.transactions.Wait(initiator_pb2.WaitRequest(xid="x"))

    assert waited.outcome.state == 4


# ---------------------------------------------------------------- what it tells of itself


async def test_reflection_lists_the_services(house: House) -> None:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(house.channel)

    async def ask() -> Any:
        yield reflection_pb2.ServerReflectionRequest(list_services="")

    [answer] = [answer async for answer in stub.ServerReflectionInfo(ask())]

    names = {service.name for service in answer.list_services_response.service}
    assert names >= {*SERVICES, "grpc.health.v1.Health"}


# ---------------------------------------------------------------- the guard


async def test_bytes_that_are_no_request_are_refused(house: House) -> None:
    with refused("INVALID_ARGUMENT", "INVALID_ARGUMENT") as errors:
        await house.channel.unary_unary("/trypact.v1.TransactionService/Get")(b"\xff\xff")

    assert errors[0].fields == ["request"]


async def test_a_method_that_is_none_is_unimplemented(house: House) -> None:
    with refused("UNIMPLEMENTED", ""):
        await house.channel.unary_unary("/trypact.v1.TransactionService/Undo")(b"")


async def test_a_request_over_the_message_limit_is_refused(house: House) -> None:
    with refused("RESOURCE_EXHAUSTED", ""):
        await house.execute(branch(payload=b"p" * 5_000_000))

    with refused("NOT_FOUND", "UNKNOWN_TRANSACTION"):
        await house.transactions.Get(initiator_pb2.GetRequest(xid="x"))


async def test_what_nobody_foresaw_is_internal_with_a_reference(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def explode(*_: object) -> None:
        raise ZeroDivisionError("a secret of the inside")

    monkeypatch.setattr(house.coordinator, "get", explode)
    with structlog.testing.capture_logs() as logs, refused("INTERNAL", "INTERNAL") as errors:
        await house.transactions.Get(initiator_pb2.GetRequest(xid="x"))

    [log] = [log for log in logs if log["event"] == "unforeseen error"]
    assert log["reference"] == errors[0].reference
    assert errors[0].reference in errors[0].message
    assert "secret" not in errors[0].message


async def test_a_violated_invariant_is_told_and_logged(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def violate(*_: object) -> None:
        raise InvariantViolated("two decisions")

    monkeypatch.setattr(house.coordinator, "get", violate)
    with structlog.testing.capture_logs() as logs, refused("INTERNAL", "INVARIANT_VIOLATED"):
        await house.transactions.Get(initiator_pb2.GetRequest(xid="x"))

    assert "invariant violated" in [log["event"] for log in logs]


async def test_an_overload_says_when_to_ask_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def overloaded(*_: object) -> None:
        raise Overloaded(retry_after_ms=250)

    monkeypatch.setattr(house.coordinator, "execute", overloaded)
    with refused("RESOURCE_EXHAUSTED", "OVERLOADED") as errors:
        await house.execute(branch())

    assert errors[0].retry_after_ms == 250


@pytest.mark.parametrize("character", ["n", "é", "漢", "%"])
async def test_a_long_message_is_cut_to_fit_the_trailers(house: House, character: str) -> None:
    with refused("INVALID_ARGUMENT", "INVALID_ARGUMENT") as errors:
        await house.execute(branch(after=[character * 50_000]))

    assert len(errors[0].message.encode()) <= 1024
    assert errors[0].fields == ["branches[0].after"]


async def test_calls_over_the_bound_are_refused_and_the_others_go_on(house: House) -> None:
    server = make_server()
    await server.start(house.coordinator)
    await server.open()
    await house.begin("open", timeout_ms=60_000)
    async with grpc.aio.insecure_channel(server.address) as channel:
        wait = channel.unary_unary("/trypact.v1.TransactionService/Wait")
        request = initiator_pb2.WaitRequest(xid="open").SerializeToString()
        calls = [asyncio.ensure_future(wait(request)) for _ in range(11)]

        done, waiting = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)

        [refusal] = done
        error = refusal.exception()
        assert isinstance(error, grpc.aio.AioRpcError)
        assert Error(error).status == "RESOURCE_EXHAUSTED"
        await house.transactions.Rollback(initiator_pb2.RollbackRequest(xid="open"))
        await asyncio.gather(*waiting)
    await server.stop(0)


async def test_a_successful_transaction_is_not_worth_a_line_of_log(house: House) -> None:
    with structlog.testing.capture_logs() as logs:
        await house.execute(branch(), branch("m", MESSAGE))
        await house.participant.called("m", "Deliver")
        await house.admin.ListTransactions(admin_pb2.ListTransactionsRequest())

    assert logs == []
