"""The Transport port over gRPC.

One channel for each endpoint, kept as long as it is used. Calls go over its batched stream
(`drive`), or one by one (`unary`) where the participant serves no Drive. gRPC's own retries are
off: whether and when to ask again is the core's decision. Every call has a deadline, and every call
is answered exactly once; what cannot be read as an answer is Unknown, with the reason in words.
"""

import asyncio
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from trypact.v1 import participant_pb2

from trypact_coordinator.core.events import Answer
from trypact_coordinator.core.outcome import Call
from trypact_coordinator.ports import Done
from trypact_coordinator.transport import wire
from trypact_coordinator.transport.drive import DriveStream
from trypact_coordinator.transport.unary import Unary

# Idle links beyond this are closed, oldest use first. Links with calls in flight stay, and the
# lanes bound those.
LINKS_MAX = 1024
# An unused connection is dropped after this long; the next call makes a new one.
IDLE_MS = 5 * 60_000
# Far above a batch of answers, so that one over its limit is named instead of cut off.
ANSWER_BYTES_MAX = 4 * 1024 * 1024
# A participant that serves no Drive is asked for it again after this long: it may be updated.
ASK_FOR_DRIVE_EVERY_SECONDS = 60.0
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

log = structlog.get_logger(__name__)


class GrpcTransport:
    """Calls participants over gRPC.

    Args:
        links_max: how many endpoints' channels are kept.
    """

    def __init__(self, links_max: int = LINKS_MAX) -> None:
        self._links_max = links_max
        self._links: dict[str, Link] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    def send(self, call: Call, endpoint: str, done: Done) -> None:
        """Send one call; `done` gets its answer, exactly once, in a later turn of the loop."""
        if self._closed:
            asyncio.get_running_loop().call_soon(done, call, wire.CLOSED)
        else:
            self._link(endpoint).send(call, done)

    async def ping(self, endpoint: str, timeout_ms: int) -> str:
        """Ask the endpoint's health service; return "SERVING" or what went wrong."""
        if self._closed:
            return wire.CLOSED.error
        try:
            response = await self._link(endpoint).check(timeout_ms / 1_000)
        except Exception as error:  # a gRPC status, or whatever a malformed endpoint raises
            return wire.unknown(error).error
        name: str = health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)
        return name

    async def close(self) -> None:
        """Drop all connections; calls in flight become Unknown."""
        self._closed = True
        links = list(self._links.values())
        self._links.clear()
        for link in links:
            await link.close()
        if self._closing:
            await asyncio.wait(self._closing)

    def _link(self, endpoint: str) -> "Link":
        link = self._links.get(endpoint)
        if link is None:
            if len(self._links) >= self._links_max:
                self._make_room()
            link = self._links[endpoint] = Link(endpoint)
        return link

    def _make_room(self) -> None:
        """Close the idle link that was used longest ago, if there is one."""
        idle = [(link.used_at, endpoint) for endpoint, link in self._links.items() if not len(link)]
        if idle:
            link = self._links.pop(min(idle)[1])
            closing = asyncio.get_running_loop().create_task(link.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)


class Link:
    """The channel to one endpoint, and how it is called."""

    def __init__(self, endpoint: str) -> None:
        self._loop = asyncio.get_running_loop()
        # When it was last asked to send a call, by the loop's clock.
        self.used_at = self._loop.time()
        self._channel = grpc.aio.insecure_channel(endpoint, options=CHANNEL_OPTIONS)
        self._unary = Unary(self._channel)
        self._drive: Any = self._channel.stream_stream(
            f"/{wire.SERVICE}/Drive",
            request_serializer=participant_pb2.DriveRequest.SerializeToString,
            response_deserializer=None,
        )
        self._check = health_pb2_grpc.HealthStub(self._channel).Check
        self._stream: DriveStream | None = None
        # The participant served no Drive when it was asked last; until then it is not asked again.
        self._unary_until = 0.0
        self._carrying: asyncio.Task[None] | None = None
        self._calling: set[asyncio.Task[Answer]] = set()

    def __len__(self) -> int:
        """Return how many calls have no answer yet."""
        streamed = len(self._stream) if self._stream is not None else 0
        return streamed + len(self._calling)

    def send(self, call: Call, done: Done) -> None:
        """Send one call, by stream where that is served."""
        now = self.used_at = self._loop.time()
        if self._stream is None:
            if now < self._unary_until:
                self._send_unary(call, done)
                return
            self._stream = DriveStream()
            self._carrying = self._loop.create_task(self._carry(self._stream))
        self._stream.send(call, done, now)

    async def check(self, timeout: float) -> health_pb2.HealthCheckResponse:
        """Ask the health service about the whole server. Raises AioRpcError."""
        request = health_pb2.HealthCheckRequest()
        response: health_pb2.HealthCheckResponse = await self._check(request, timeout=timeout)
        return response

    async def close(self) -> None:
        """Close the channel; calls without an answer are Unknown."""
        tasks = [*self._calling, *([self._carrying] if self._carrying else ())]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._stream is not None:
            self._stream.give_up(wire.CLOSED)
        await self._channel.close(None)

    async def _carry(self, stream: DriveStream) -> None:
        """Run a stream to its end, and answer what it leaves."""
        try:
            code, end = await stream.run(self._drive())
        except Exception as error:  # a bug of ours must not leave a stream that nobody reads
            log.critical("a stream failed", exc_info=error)
            code, end = grpc.StatusCode.UNKNOWN, wire.unknown(error)
        # From here on calls open a new stream, those that the answers below give rise to as well.
        self._stream = None
        if code is grpc.StatusCode.UNIMPLEMENTED:
            self._unary_until = self._loop.time() + ASK_FOR_DRIVE_EVERY_SECONDS
        elif code is not grpc.StatusCode.INTERNAL or stream.heard:
            stream.give_up(end)
            return
        # INTERNAL is what gRPC makes of a write that meets the participant's refusal of Drive,
        # before it has read that. To send a call twice is harmless; to call it unknown costs a Try
        # its back-off.
        for call, done in stream.abandon():
            self._send_unary(call, done)

    def _send_unary(self, call: Call, done: Done) -> None:
        def finish(task: asyncio.Task[Answer]) -> None:
            self._calling.discard(task)
            done(call, _answer_of(task))

        task = self._loop.create_task(self._unary.call(call))
        self._calling.add(task)
        task.add_done_callback(finish)


def _answer_of(task: asyncio.Task[Answer]) -> Answer:
    if task.cancelled():
        return wire.CLOSED
    error = task.exception()
    return task.result() if error is None else wire.unknown(error)
