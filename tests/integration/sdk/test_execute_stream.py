"""How the client's requests travel: together on a stream, or one by one to an older coordinator."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import grpc
import pytest
import pytest_asyncio
import trypact
from trypact._exchange import Failure
from trypact._execute_stream import PATH, ExecuteStream
from trypact.v1 import initiator_pb2, transaction_pb2


class ScriptedCoordinator:
    """A gRPC server with just the methods of TransactionService that a test gives it."""

    def __init__(self, **handlers: grpc.RpcMethodHandler) -> None:
        self._server = grpc.aio.server()
        generic = grpc.method_handlers_generic_handler("trypact.v1.TransactionService", handlers)
        self._server.add_generic_rpc_handlers((generic,))
        self.endpoint = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    async def __aenter__(self) -> "ScriptedCoordinator":
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(None)


def confirmed(request: initiator_pb2.ExecuteRequest) -> initiator_pb2.ExecuteResponse:
    outcome = transaction_pb2.TransactionOutcome(
        xid=request.begin.xid,
        name=request.begin.name,
        state=transaction_pb2.TRANSACTION_STATE_CONFIRMED,
        decision=transaction_pb2.DECISION_CONFIRM,
    )
    return initiator_pb2.ExecuteResponse(outcome=outcome)


Item = initiator_pb2.ExecuteStreamRequest.Item


def reply_to(item: Item) -> dict[str, Any]:
    """Return the one field of a reply that is set."""
    if item.HasField("execute"):
        return {"execute": confirmed(item.execute)}
    if item.HasField("commit"):
        begin = initiator_pb2.Begin(xid=item.commit.xid)
        outcome = confirmed(initiator_pb2.ExecuteRequest(begin=begin)).outcome
        return {"commit": initiator_pb2.CommitResponse(outcome=outcome)}
    branch = transaction_pb2.BranchOutcome(
        id=item.try_branch.branch.id,
        kind=item.try_branch.branch.kind,
        state=transaction_pb2.BRANCH_STATE_TRIED,
    )
    return {"try_branch": initiator_pb2.TransactionServiceTryResponse(branch=branch)}


class Batches:
    """An ExecuteStream that keeps the size of each batch and answers its requests backwards."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.streams = 0
        self.break_next = False
        self.break_with = grpc.StatusCode.UNAVAILABLE

    async def serve(
        self, requests: AsyncIterator[initiator_pb2.ExecuteStreamRequest], context: Any
    ) -> AsyncIterator[initiator_pb2.ExecuteStreamResponse]:
        self.streams += 1
        async for request in requests:
            self.sizes.append(len(request.items))
            if self.break_next:
                self.break_next = False
                await context.abort(self.break_with, "moved away")
            yield initiator_pb2.ExecuteStreamResponse(
                items=[
                    initiator_pb2.ExecuteStreamResponse.Item(id=item.id, **reply_to(item))
                    for item in reversed(request.items)
                ]
            )

    @property
    def handler(self) -> grpc.RpcMethodHandler:
        return grpc.stream_stream_rpc_method_handler(
            self.serve,
            request_deserializer=initiator_pb2.ExecuteStreamRequest.FromString,
            response_serializer=initiator_pb2.ExecuteStreamResponse.SerializeToString,
        )


@pytest_asyncio.fixture
async def batches() -> AsyncIterator[tuple[Batches, trypact.Client]]:
    served = Batches()
    async with (
        ScriptedCoordinator(ExecuteStream=served.handler) as coordinator,
        trypact.Client(coordinator.endpoint, patience=10.0) as client,
    ):
        yield served, client


Served = tuple[Batches, trypact.Client]
BRANCHES = [trypact.tcc("inventory.reserve")]


async def test_what_is_ready_at_once_leaves_as_one_message(batches: Served) -> None:
    served, client = batches
    await client.execute("warm.up", BRANCHES)

    outcomes = await asyncio.gather(
        *(client.execute("order.submit", BRANCHES, xid=f"x{number}") for number in range(100))
    )

    assert [outcome.xid for outcome in outcomes] == [f"x{number}" for number in range(100)]
    assert served.streams == 1
    assert served.sizes[1:] == [100]


async def test_a_batch_is_bounded_by_count_and_by_bytes(batches: Served) -> None:
    served, client = batches
    await client.execute("warm.up", BRANCHES)
    large = [trypact.tcc("inventory.reserve", b"x" * 200_000)]

    await asyncio.gather(*(client.execute("many", BRANCHES) for _ in range(300)))
    await asyncio.gather(*(client.execute("large", large) for _ in range(10)))

    assert served.sizes[1:] == [256, 44, 5, 5]


@pytest.mark.parametrize(
    "status", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED]
)
async def test_a_broken_stream_is_opened_again_and_its_requests_asked_again(
    batches: Served, status: grpc.StatusCode
) -> None:
    served, client = batches
    served.break_next = True
    served.break_with = status

    outcome = await client.execute("order.submit", BRANCHES, xid="x")

    assert outcome.xid == "x"
    assert served.streams == 2


async def test_a_request_that_is_too_large_ends_nothing_but_itself(batches: Served) -> None:
    served, client = batches
    large = [trypact.tcc("inventory.reserve", b"x" * 200_000, id=f"b{n}") for n in range(25)]

    outcome, refused = await asyncio.gather(
        client.execute("order.submit", BRANCHES, xid="x"),
        client.execute("order.submit", large),
        return_exceptions=True,
    )

    assert isinstance(outcome, trypact.Outcome)
    # It went by itself, to a method that this coordinator does not have.
    assert isinstance(refused, trypact.OutcomeUnknown)
    assert served.streams == 1


async def test_a_caller_who_gives_up_disturbs_nobody_else(batches: Served) -> None:
    _, client = batches
    given_up = asyncio.create_task(client.execute("order.submit", BRANCHES, xid="gone"))
    await asyncio.sleep(0)
    given_up.cancel()

    assert (await client.execute("order.submit", BRANCHES, xid="stays")).xid == "stays"
    with pytest.raises(asyncio.CancelledError):
        await given_up


async def test_each_request_is_late_at_its_own_time() -> None:
    async def silent(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for _ in requests:
            pass
        yield b""

    handler = grpc.stream_stream_rpc_method_handler(silent)
    async with (
        ScriptedCoordinator(ExecuteStream=handler) as coordinator,
        grpc.aio.insecure_channel(coordinator.endpoint) as channel,
    ):
        method = cast("Callable[[], Any]", channel.stream_stream(PATH, None, None))
        stream = ExecuteStream(method, ended=lambda failure: None)
        request = initiator_pb2.ExecuteRequest()
        patient, soon, sooner = (stream.ask(request, seconds) for seconds in (60.0, 0.02, 0.001))

        late = Failure("DEADLINE_EXCEEDED", "no answer in time")
        assert [await soon, await sooner] == [late, late]
        assert not patient.done()

        await stream.close()
        assert await patient == Failure("CANCELLED", "this client was closed meanwhile")


async def test_a_stream_that_is_closed_before_it_has_begun_tells_who_waits(batches: Served) -> None:
    _, client = batches
    asking = asyncio.create_task(client.execute("order.submit", BRANCHES))
    await asyncio.sleep(0)
    await client.close()

    with pytest.raises(trypact.OutcomeUnknown, match="this client was closed"):
        async with asyncio.timeout(5):
            await asking


async def test_replies_that_cannot_be_read_end_their_stream_and_leave_the_outcome_unknown() -> None:
    async def garbled(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for _ in requests:
            yield b"\xff"

    handler = grpc.stream_stream_rpc_method_handler(garbled)
    async with (
        ScriptedCoordinator(ExecuteStream=handler) as coordinator,
        trypact.Client(coordinator.endpoint) as client,
    ):
        with pytest.raises(trypact.OutcomeUnknown, match="DATA_LOSS"):
            await client.execute("order.submit", BRANCHES)


async def test_the_interactive_form_travels_with_everything_else(batches: Served) -> None:
    served, client = batches

    async def order(number: int) -> trypact.Outcome:
        async with client.transaction("order.submit", xid=f"x{number}") as tx:
            await asyncio.gather(*(tx.try_("inventory.reserve") for _ in range(2)))
        return tx.outcome

    ended = await asyncio.gather(*map(order, range(3)), client.execute("order.submit", BRANCHES))

    assert all(outcome.confirmed for outcome in ended)
    assert served.streams == 1
    # What each of them asks first, and then the three commits.
    assert served.sizes == [7, 3]


async def test_a_try_without_an_answer_is_asked_again_when_its_stream_broke(
    batches: Served,
) -> None:
    served, client = batches
    served.break_next = True

    async with client.transaction("order.submit") as tx:
        await tx.try_("inventory.reserve")

    assert tx.outcome.confirmed
    assert served.streams == 2
    assert served.sizes == [1, 1, 1]


async def test_an_older_coordinator_is_asked_one_by_one_in_the_interactive_form_too() -> None:
    async def try_(request: initiator_pb2.TransactionServiceTryRequest, context: Any) -> Any:
        return reply_to(Item(try_branch=request))["try_branch"]

    async def commit(request: initiator_pb2.CommitRequest, context: Any) -> Any:
        return reply_to(Item(commit=request))["commit"]

    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            handler,
            request_deserializer=request.FromString,
            response_serializer=lambda response: response.SerializeToString(),
        )
        for name, handler, request in (
            ("Try", try_, initiator_pb2.TransactionServiceTryRequest),
            ("Commit", commit, initiator_pb2.CommitRequest),
        )
    }
    async with (
        ScriptedCoordinator(**handlers) as coordinator,
        trypact.Client(coordinator.endpoint) as client,
        client.transaction("order.submit") as tx,
    ):
        await tx.try_("inventory.reserve")

    assert tx.outcome.confirmed


async def test_an_older_coordinator_is_asked_one_by_one() -> None:
    async def execute(request: initiator_pb2.ExecuteRequest, context: Any) -> Any:
        return confirmed(request)

    handler = grpc.unary_unary_rpc_method_handler(
        execute,
        request_deserializer=initiator_pb2.ExecuteRequest.FromString,
        response_serializer=initiator_pb2.ExecuteResponse.SerializeToString,
    )
    async with (
        ScriptedCoordinator(Execute=handler) as coordinator,
        trypact.Client(coordinator.endpoint) as client,
    ):
        outcomes = await asyncio.gather(
            *(client.execute("order.submit", BRANCHES, xid=f"x{number}") for number in range(3))
        )

    assert [outcome.xid for outcome in outcomes] == ["x0", "x1", "x2"]
