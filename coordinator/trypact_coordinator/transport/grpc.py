"""The Transport port over gRPC: one unary call of ParticipantService for each operation.

One channel for each endpoint, kept as long as it is used. gRPC's own retries are off: whether and
when to ask again is the core's decision. Every call has a deadline, and every call is answered
exactly once; what cannot be read as an answer is Unknown, with the reason in words.

`Link` is where another way of talking to an endpoint (a batched stream) would be chosen.
"""

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2, health_pb2_grpc
from trypact.v1 import participant_pb2, transaction_pb2

from trypact_coordinator.core import limits
from trypact_coordinator.core.events import Answer, Ok, Pending, Refused, Retry, Unknown
from trypact_coordinator.core.transaction import Operation
from trypact_coordinator.ports import Addressed
from trypact_coordinator.text import shorten

# Idle links beyond this are closed, oldest use first. Links with calls in flight stay, and the
# lanes bound those.
LINKS_MAX = 1024
# An unused connection is dropped after this long; the next call makes a new one.
IDLE_MS = 5 * 60_000
# Far above the largest answer, so that one over its limit is named instead of cut off.
ANSWER_BYTES_MAX = 1024 * 1024
CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", ANSWER_BYTES_MAX),
    # A server with gRPC's defaults cuts clients off that ping more often than every five minutes.
    # A dead connection is found sooner: data that is not acknowledged within the time-out ends it
    # (TCP_USER_TIMEOUT, which gRPC sets together with keepalive), and every call has a deadline.
    ("grpc.keepalive_time_ms", 330_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.client_idle_timeout_ms", IDLE_MS),
    # Backing off is the core's business; a participant that is back is found within a second.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


_SERVICE = participant_pb2.DESCRIPTOR.services_by_name["ParticipantService"].full_name
_MESSAGES: dict[Operation, tuple[Any, Any]] = {
    Operation.TRY: (participant_pb2.TryRequest, participant_pb2.TryResponse),
    Operation.CONFIRM: (participant_pb2.ConfirmRequest, participant_pb2.ConfirmResponse),
    Operation.CANCEL: (participant_pb2.CancelRequest, participant_pb2.CancelResponse),
    Operation.DELIVER: (participant_pb2.DeliverRequest, participant_pb2.DeliverResponse),
}


class GrpcTransport:
    """Calls participants over gRPC.

    Args:
        links_max: how many endpoints' channels are kept.
    """

    def __init__(self, links_max: int = LINKS_MAX) -> None:
        self._links_max = links_max
        self._links: OrderedDict[str, Link] = OrderedDict()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    def send(self, addressed: Addressed, done: Callable[[Answer], None]) -> None:
        """Send one call; `done` gets its answer, exactly once, in a later turn of the loop."""

        def finish(task: asyncio.Task[Answer]) -> None:
            self._tasks.discard(task)
            done(_answer_of(task))

        task = asyncio.get_running_loop().create_task(self._call(addressed))
        self._tasks.add(task)
        task.add_done_callback(finish)

    async def ping(self, endpoint: str, timeout_ms: int) -> str:
        """Ask the endpoint's health service; return "SERVING" or what went wrong."""
        if self._closed:
            return _CLOSED.error
        try:
            with self._link(endpoint) as link:
                response = await link.check(timeout_ms / 1_000)
        except grpc.aio.AioRpcError as error:
            return _error_text(error)
        except Exception as error:  # whatever a malformed endpoint raises
            return shorten(f"{type(error).__name__}: {error}", limits.REASON_BYTES_MAX)
        name: str = health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)
        return name

    async def close(self) -> None:
        """Drop all connections; calls in flight become Unknown."""
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        links = list(self._links.values())
        self._links.clear()
        for link in links:
            await link.close()

    async def _call(self, addressed: Addressed) -> Answer:
        if self._closed:
            return _CLOSED
        with self._link(addressed.endpoint) as link:
            return await link.call(addressed)

    def _link(self, endpoint: str) -> "Link":
        link = self._links.get(endpoint)
        if link is None:
            self._make_room()
            link = self._links[endpoint] = Link(endpoint)
        self._links.move_to_end(endpoint)
        return link

    def _make_room(self) -> None:
        if len(self._links) < self._links_max:
            return
        for endpoint, link in self._links.items():
            if not link.calls:
                del self._links[endpoint]
                closing = asyncio.get_running_loop().create_task(link.close())
                self._tasks.add(closing)
                closing.add_done_callback(self._tasks.discard)
                return


class Link:
    """The channel to one endpoint; entered for the time of each call, so that it stays open."""

    def __init__(self, endpoint: str) -> None:
        self.calls = 0
        self._channel = grpc.aio.insecure_channel(endpoint, options=CHANNEL_OPTIONS)
        # Answers are read here and not by gRPC, which would log a traceback for each bad one.
        self._methods = {
            operation: self._channel.unary_unary(
                f"/{_SERVICE}/{operation.name.capitalize()}",
                request_serializer=request.SerializeToString,
                response_deserializer=None,
            )
            for operation, (request, _) in _MESSAGES.items()
        }
        self._check = health_pb2_grpc.HealthStub(self._channel).Check

    def __enter__(self) -> "Link":
        self.calls += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.calls -= 1

    async def call(self, addressed: Addressed) -> Answer:
        """Make one call. Raises AioRpcError."""
        call = addressed.call
        data = await self._methods[call.operation](
            encode(addressed), timeout=call.timeout_ms / 1_000
        )
        response = _MESSAGES[call.operation][1]
        try:
            answer = response.FromString(data).answer
        except DecodeError:
            return Unknown(f"DATA_LOSS: {len(data)} bytes that are no {response.DESCRIPTOR.name}")
        return decode(answer)

    async def check(self, timeout: float) -> health_pb2.HealthCheckResponse:
        """Ask the health service about the whole server. Raises AioRpcError."""
        request = health_pb2.HealthCheckRequest()
        response: health_pb2.HealthCheckResponse = await self._check(request, timeout=timeout)
        return response

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close(None)


def encode(addressed: Addressed) -> Any:
    """Write the request of a call."""
    call, spec = addressed.call, addressed.branch
    kind: Any = spec.kind.value
    body = participant_pb2.BranchCall(
        xid=call.xid,
        branch_id=call.branch_id,
        kind=kind,
        action=spec.action,
        payload=spec.payload,
        attempt=call.attempt,
        not_after_us=call.not_after,
        trace_parent=addressed.trace_parent,
    )
    if call.operation is Operation.DELIVER:
        decision: Any = call.decision.value
        return participant_pb2.DeliverRequest(call=body, decision=decision)
    return _MESSAGES[call.operation][0](call=body)


def decode(answer: transaction_pb2.Answer) -> Answer:
    """Read a participant's answer; what breaks the contract is Unknown."""
    kind = answer.WhichOneof("kind")
    if kind == "ok":
        size = len(answer.ok.result)
        if size > limits.RESULT_BYTES_MAX:
            most = limits.RESULT_BYTES_MAX
            return Unknown(f"OUT_OF_RANGE: a result of {size} bytes; at most {most} are allowed")
        return Ok(answer.ok.result)
    if kind == "refused":
        return Refused(shorten(answer.refused.reason, limits.REASON_BYTES_MAX))
    if kind == "retry":
        reason = shorten(answer.retry.reason, limits.REASON_BYTES_MAX)
        return Retry(max(answer.retry.after_ms, 0), reason)
    if kind == "pending":
        return Pending()
    return Unknown("DATA_LOSS: an answer that says none of ok, refused, retry, pending")


_CLOSED = Unknown("CANCELLED: the coordinator is stopping")


def _answer_of(task: asyncio.Task[Answer]) -> Answer:
    if task.cancelled():
        return _CLOSED
    error = task.exception()
    if error is None:
        return task.result()
    if isinstance(error, grpc.aio.AioRpcError):
        return Unknown(_error_text(error))
    return Unknown(shorten(f"{type(error).__name__}: {error}", limits.REASON_BYTES_MAX))


# gRPC's way of saying that nobody listens at an address.
_CONNECTING = re.compile(
    r"failed to connect to all addresses; last error: (?:[A-Z_]+: )?(?:ipv[46]:)?(?P<where>\S+): "
    r"(?:Failed to connect to remote host: )?"
)


def _error_text(error: grpc.aio.AioRpcError) -> str:
    details = _CONNECTING.sub(r"\g<where>: ", error.details() or "no details")
    return shorten(f"{error.code().name}: {details}", limits.REASON_BYTES_MAX)
