"""Ordinary gRPC services join a transaction: real coordinator, real servers, real channels."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
import grpc.aio
import pytest
import trypact
from google.protobuf.struct_pb2 import Struct
from trypact import Action, context, errors
from trypact.interceptors import (
    ClientInterceptor,
    ServerInterceptor,
    SyncClientInterceptor,
    SyncServerInterceptor,
)
from trypact.kinds import Decision

from tests.integration.sdk.conftest import World

FREEZE = Action("bank.freeze", request=Struct, result=Struct)
Method = Callable[[Struct, Any], Any]


def amount(number: int) -> Struct:
    made = Struct()
    made["amount"] = number
    return made


def handlers(methods: dict[str, Method]) -> Any:
    """A service as generated code adds it."""
    return grpc.method_handlers_generic_handler(
        "seller.Seller",
        {
            name: grpc.unary_unary_rpc_method_handler(
                method, request_deserializer=Struct.FromString, response_serializer=_bytes
            )
            for name, method in methods.items()
        },
    )


def _bytes(message: Struct) -> bytes:
    return message.SerializeToString()


@contextlib.asynccontextmanager
async def serving(**methods: Method) -> AsyncIterator[str]:
    server = grpc.aio.server(interceptors=[ServerInterceptor()])
    server.add_generic_rpc_handlers((handlers(methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


def stub(channel: Any, method: str) -> Any:
    return channel.unary_unary(
        f"/seller.Seller/{method}",
        request_serializer=_bytes,
        response_deserializer=Struct.FromString,
    )


@contextlib.asynccontextmanager
async def calling(address: str, method: str) -> AsyncIterator[Callable[..., Awaitable[Struct]]]:
    made: Any = [ClientInterceptor()]
    async with grpc.aio.insecure_channel(address, interceptors=made) as channel:
        yield stub(channel, method)


@pytest.fixture
async def sell(client: trypact.Client) -> AsyncIterator[Callable[..., Awaitable[Struct]]]:
    """Calls a service whose method is a branch."""

    @trypact.joins(client, FREEZE)
    async def Sell(request: Struct, context: Any) -> Struct:  # noqa: N802
        return amount(-1)

    async with serving(Sell=Sell) as address, calling(address, "Sell") as stub:
        yield stub


async def test_a_call_inside_the_block_is_a_branch_that_is_confirmed(
    world: World, client: trypact.Client, sell: Any
) -> None:
    async with client.transaction("order") as tx:
        first = await sell(amount(30))
        await tx.try_("bank.freeze", {"amount": 1})
        await sell(amount(5))

    assert first["frozen"] == 30
    assert [b.id for b in tx.outcome.branches] == ["Sell/freeze", "freeze", "Sell-2/freeze"]
    assert tx.outcome.confirmed
    assert world.bank.account == (64, 0)


async def test_what_was_joined_is_rolled_back_with_the_block(
    world: World, client: trypact.Client, sell: Any
) -> None:
    with pytest.raises(KeyError):
        async with client.transaction("order", xid="17"):
            await sell(amount(30))
            raise KeyError("price")

    assert (await client.wait("17")).cancelled
    assert world.bank.account == (100, 0)


async def test_a_refusal_reaches_the_caller_as_a_status_and_cancels(
    world: World, client: trypact.Client, sell: Any
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async with client.transaction("order", xid="17"):
            await sell(amount(500))

    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert str(caught.value.details()).startswith("BRANCH_REFUSED: bank.freeze refused")
    assert (await client.wait("17")).refused_branch_id == "Sell/freeze"


async def test_a_call_that_is_repeated_under_its_id_is_the_same_branch(
    world: World, client: trypact.Client, sell: Any
) -> None:
    async with client.transaction("order") as tx:
        answers = [await sell(amount(30), metadata=(("trypact-call", "first"),)) for _ in range(2)]

    assert answers[0] == answers[1]
    assert [b.id for b in tx.outcome.branches] == ["first/freeze"]
    assert world.bank.account == (70, 0)


async def test_a_call_that_is_repeated_with_other_content_is_refused(
    client: trypact.Client, sell: Any
) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="BRANCH_CONFLICT"):
        async with client.transaction("order"):
            await sell(amount(30), metadata=(("trypact-call", "first"),))
            await sell(amount(31), metadata=(("trypact-call", "first"),))


@pytest.mark.parametrize(
    ("xid", "says"), [("never", "UNKNOWN_TRANSACTION"), ("over", "ALREADY_CONFIRMED")]
)
async def test_an_xid_that_cannot_be_joined_is_refused_by_name(
    client: trypact.Client, sell: Any, xid: str, says: str
) -> None:
    async with client.transaction("order", xid="over"):
        await sell(amount(1))

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await sell(amount(1), metadata=(("trypact-xid", xid), ("trypact-call", "late")))

    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert str(caught.value.details()).startswith(says)


async def test_an_xid_without_a_call_id_is_refused(sell: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match=r"INVALID_ARGUMENT.*without a trypact-call"):
        await sell(amount(1), metadata=(("trypact-xid", "17"),))


async def test_outside_of_a_block_the_method_itself_runs(world: World, sell: Any) -> None:
    assert (await sell(amount(30)))["amount"] == -1
    assert world.bank.account == (100, 0)


async def test_a_method_that_requires_a_transaction_refuses_calls_without(
    client: trypact.Client,
) -> None:
    @trypact.joins(client, FREEZE, required=True)
    async def sell(request: Struct, context: Any) -> Struct:
        return request

    async with serving(Sell=sell) as address, calling(address, "Sell") as call:
        with pytest.raises(grpc.aio.AioRpcError, match="NO_TRANSACTION"):
            await call(amount(1))


async def test_a_handler_joins_with_branches_of_its_own(
    world: World, client: trypact.Client
) -> None:
    seen = []

    async def sell(request: Struct, servicer: Any) -> Struct:
        async with client.joined() as tx:
            await tx.try_(FREEZE, request)
            await tx.try_(FREEZE, amount(2), id="fee")
            seen.append((tx.xid, context.current()))
        return request

    async with (
        serving(Sell=sell) as address,
        calling(address, "Sell") as call,
        client.transaction("order", xid="17") as tx,
    ):
        here = context.current()
        await call(amount(30))

    assert [b.id for b in tx.outcome.branches] == ["Sell/freeze", "Sell/fee"]
    assert seen == [("17", context.Context("17"))]
    assert (here, context.current()) == (context.Context("17"), None)
    assert world.bank.account == (68, 0)


async def test_a_handler_that_fails_after_joining_cancels_though_its_caller_goes_on(
    world: World, client: trypact.Client
) -> None:
    async def sell(request: Struct, servicer: Any) -> Struct:
        try:
            async with client.joined() as tx:
                await tx.try_(FREEZE, request)
                raise KeyError("price")
        except KeyError:
            return request

    async with serving(Sell=sell) as address, calling(address, "Sell") as call:
        with pytest.raises(trypact.TransactionCancelled) as caught:
            async with client.transaction("order"):
                await call(amount(30))

    assert caught.value.reason == "in call Sell: KeyError: 'price'"
    assert world.bank.account == (100, 0)


async def test_a_transaction_goes_on_from_service_to_service(
    world: World, client: trypact.Client, sell: Any
) -> None:
    async def pass_on(request: Struct, servicer: Any) -> Struct:
        return await sell(request)  # type: ignore[no-any-return]

    async with (
        serving(Order=pass_on) as address,
        calling(address, "Order") as order,
        client.transaction("order") as tx,
    ):
        await order(amount(30))
        await order(amount(5))

    ids = [b.id for b in tx.outcome.branches]
    assert ids == ["Order/Sell/freeze", "Order-2/Sell/freeze"]
    assert world.bank.account == (65, 0)


async def test_a_call_without_an_answer_keeps_the_block_from_confirming(
    world: World, client: trypact.Client
) -> None:
    asked = asyncio.Event()

    async def hang(request: Struct, servicer: Any) -> Struct:
        asked.set()
        return await asyncio.Future()

    async with serving(Sell=hang) as address, calling(address, "Sell") as call:
        with pytest.raises(errors.TryUnsettled, match=r"the call Sell of /seller\.Seller/Sell"):
            async with client.transaction("order", xid="17") as tx:
                await tx.try_("bank.freeze", {"amount": 1})
                with pytest.raises(grpc.aio.AioRpcError):
                    await call(amount(1), timeout=0.2)

    assert asked.is_set()
    assert (await client.wait("17")).decision is Decision.CANCEL
    assert world.bank.account == (100, 0)


async def test_an_answer_that_is_too_large_to_receive_is_none(
    world: World, client: trypact.Client
) -> None:
    @trypact.joins(client, FREEZE)
    async def sell(request: Struct, servicer: Any) -> Struct:
        return request

    made: Any = [ClientInterceptor()]
    few_bytes = [("grpc.max_receive_message_length", 4)]
    async with (
        serving(Sell=sell) as address,
        grpc.aio.insecure_channel(address, options=few_bytes, interceptors=made) as channel,
    ):
        with pytest.raises(errors.TryUnsettled, match=r"the call Sell.*RESOURCE_EXHAUSTED"):
            async with client.transaction("order", xid="17"):
                with pytest.raises(grpc.aio.AioRpcError, match="larger than max"):
                    await stub(channel, "Sell")(amount(30))

    assert (await client.wait("17")).cancelled
    assert world.bank.account == (100, 0)


async def test_a_call_without_an_answer_further_on_is_told_to_the_first_caller(
    client: trypact.Client,
) -> None:
    async def hang(request: Struct, servicer: Any) -> Struct:
        return await asyncio.Future()

    async with serving(Sell=hang) as far, calling(far, "Sell") as sell:

        async def careless(request: Struct, servicer: Any) -> Struct:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await sell(request, timeout=0.2)
            return request

        async with serving(Order=careless) as address, calling(address, "Order") as order:
            with pytest.raises(errors.TryUnsettled):
                async with client.transaction("order"):
                    with pytest.raises(grpc.aio.AioRpcError, match="TRY_UNSETTLED"):
                        await order(amount(1))


async def test_a_call_that_leaves_after_its_block_begins_nothing(
    world: World, client: trypact.Client, sell: Any
) -> None:
    over = asyncio.Event()

    async def straggle() -> None:
        await over.wait()
        await sell(amount(1))

    async with client.transaction("order", xid="17"):
        straggling = asyncio.create_task(straggle())
    over.set()

    with pytest.raises(grpc.aio.AioRpcError, match="UNKNOWN_TRANSACTION"):
        await straggling
    assert world.bank.account == (100, 0)


async def test_what_the_service_refuses_for_reasons_of_its_own_does_not_stop_the_block(
    world: World, client: trypact.Client
) -> None:
    async def missing(request: Struct, servicer: Any) -> Struct:
        await servicer.abort(grpc.StatusCode.NOT_FOUND, "no such thing")
        return request

    async with (
        serving(Find=missing) as address,
        calling(address, "Find") as find,
        client.transaction("order") as tx,
    ):
        with pytest.raises(grpc.aio.AioRpcError, match="no such thing"):
            await find(amount(1))
        await tx.try_("bank.freeze", {"amount": 1})

    assert tx.outcome.confirmed


# ---------------------------------------------------------------- without an event loop


@contextlib.contextmanager
def serving_on_threads(**methods: Method) -> Iterator[str]:
    with futures.ThreadPoolExecutor(4) as threads:
        server = grpc.server(threads, interceptors=[SyncServerInterceptor()])
        server.add_generic_rpc_handlers((handlers(methods),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(0).wait()


@contextlib.contextmanager
def calling_without_a_loop(address: str, method: str) -> Iterator[Any]:
    with grpc.insecure_channel(address) as channel:
        yield stub(grpc.intercept_channel(channel, SyncClientInterceptor()), method)


async def test_services_without_an_event_loop_join_alike(world: World) -> None:
    def work() -> None:
        with trypact.SyncClient(world.endpoint, patience=5.0) as client:

            @trypact.joins(client, FREEZE)
            def sell(request: Struct, servicer: Any) -> Struct:
                return amount(-1)

            def fee(request: Struct, servicer: Any) -> Struct:
                with client.joined() as tx:
                    return tx.try_(FREEZE, request)

            with (
                serving_on_threads(Sell=sell, Fee=fee) as address,
                calling_without_a_loop(address, "Sell") as sells,
                calling_without_a_loop(address, "Fee") as takes_fee,
            ):
                assert sells(amount(1))["amount"] == -1
                with client.transaction("order") as tx:
                    assert sells(amount(30))["frozen"] == 30
                    takes_fee.future(amount(2)).result()
                assert [b.id for b in tx.outcome.branches] == ["Sell/freeze", "Fee/freeze"]
                with pytest.raises(grpc.RpcError, match="NO_TRANSACTION"):
                    takes_fee(amount(1))

    await asyncio.to_thread(work)
    assert world.bank.account == (68, 0)


class Lingering(grpc.UnaryUnaryClientInterceptor):  # type: ignore[type-arg]
    """Keeps the thread that tells of answers busy, as other calls' callbacks may."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        call = continuation(details, request)
        call.add_done_callback(lambda done: self.over.wait(10))
        return call


async def test_a_call_that_was_waited_for_is_answered_whatever_else_its_channel_tells(
    world: World,
) -> None:
    def work() -> None:
        linger = Lingering()
        with (
            trypact.SyncClient(world.endpoint, patience=5.0) as client,
            serving_on_threads(Sell=lambda request, servicer: request) as address,
            grpc.insecure_channel(address) as channel,
        ):
            sell = stub(grpc.intercept_channel(channel, SyncClientInterceptor(), linger), "Sell")
            with client.transaction("order") as tx:
                sell.future(amount(1)).result()
            linger.over.set()
            assert tx.outcome.confirmed

    await asyncio.to_thread(work)


async def test_a_call_that_was_not_waited_for_keeps_the_block_from_confirming(
    world: World,
) -> None:
    def work() -> None:
        answered = threading.Event()
        with (
            trypact.SyncClient(world.endpoint, patience=5.0) as client,
            serving_on_threads(Sell=lambda request, servicer: answered.wait(10)) as address,
            calling_without_a_loop(address, "Sell") as sell,
        ):
            with (
                pytest.raises(errors.TryUnsettled, match="the call Sell of"),
                client.transaction("order"),
            ):
                sell.future(amount(1))
            answered.set()

    await asyncio.to_thread(work)


async def test_a_call_without_await_cannot_take_an_async_block_along(
    client: trypact.Client,
) -> None:
    with (
        calling_without_a_loop("127.0.0.1:1", "Sell") as call,
        pytest.raises(errors.InvalidRequest, match="opened by a Client"),
    ):
        async with client.transaction("order"):
            call(amount(1))


@pytest.mark.parametrize(
    ("client", "options", "says"),
    [
        (trypact.Client("127.0.0.1:1"), {}, r"is not async.*allowed: a SyncClient"),
        (None, {}, r"the client is a NoneType; allowed: a SyncClient"),
        (trypact.SyncClient("127.0.0.1:1"), {"action": "bank.freeze"}, "action: is 'bank.freeze'"),
        (
            trypact.SyncClient("127.0.0.1:1"),
            {"kind": "message"},
            "kind: is 'message'; allowed: tcc",
        ),
    ],
)
def test_what_makes_no_branch_of_a_method_is_refused_when_it_is_decorated(
    client: Any, options: dict[str, Any], says: str
) -> None:
    def sell(request: Struct, servicer: Any) -> Struct:
        return request

    with pytest.raises((TypeError, errors.InvalidRequest), match=says):
        trypact.joins(client, **{"action": FREEZE, **options})(sell)


async def test_joining_outside_of_any_transaction_says_so(client: trypact.Client) -> None:
    with pytest.raises(trypact.NoTransaction):
        client.joined()
    async with client.transaction("order"):
        with pytest.raises(errors.InvalidRequest, match="its own try_"):
            client.joined()
