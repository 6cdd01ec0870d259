"""A participant's process: the gRPC server, its workers, its health and its registration.

>>> async with inventory.serve(instance="inventory-1") as server:
...     print(server.instance)
inventory-1
"""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable
from types import TracebackType
from typing import Any, NoReturn, Self

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from trypact._address import require_target
from trypact._collecting import Collecting
from trypact._drive import CallFailed, Drive, Reply
from trypact._framing import unframed
from trypact._workers import Workers
from trypact.call import Answer, Arrived, FencedCall, Ok, Refused
from trypact.errors import (
    EndpointTaken,
    FenceUnavailable,
    ParticipantError,
    RetryLater,
    TryTooLate,
)
from trypact.fence.contract import CollectableFence
from trypact.kinds import Decision, Kind, Operation, from_wire
from trypact.limits import shortened
from trypact.participant import NotServed, Participant
from trypact.registration import Registration, registration_request
from trypact.v1 import participant_pb2, participant_pb2_grpc, transaction_pb2

__all__ = ["Serving"]

logger = logging.getLogger("trypact.participant")

# Adds a service's own gRPC services to the server that also serves its actions.
AddServices = Callable[[grpc.aio.Server], None]

SERVICE = "trypact.v1.ParticipantService"
# Calls above this are turned away, and asked again by the coordinator.
CALLS_MAX = 1024

SERVER_OPTIONS: tuple[tuple[str, Any], ...] = (
    # Two processes on one port would each get some of the calls.
    ("grpc.so_reuseport", 0),
    # The coordinator's keepalive is welcome.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
)


class Serving:
    """A participant being served, inside `async with participant.serve(...)`.

    >>> async with inventory.serve() as server:
    ...     print(server.endpoint)
    127.0.0.1:...
    """

    def __init__(
        self,
        participant: Participant,
        listen: str,
        *,
        coordinator: str | None,
        instance: str | None,
        advertise: str | None,
        grace: float,
        services: AddServices | None = None,
    ) -> None:
        require_target(listen, "listen", port_min=0)
        for name, target in (("coordinator", coordinator), ("advertise", advertise)):
            if target is not None:
                require_target(target, name)
        self._participant = participant
        self._listen = listen
        self._coordinator = coordinator
        self._instance = instance
        self._advertise = advertise
        self._grace = grace
        self._add_services = services
        self._endpoint = ""
        self._health: Any = health.aio.HealthServicer()  # type: ignore[attr-defined]
        self._workers: Workers | None = None
        self._server: grpc.aio.Server | None = None
        self._service: Service | None = None
        self._registration: Registration | None = None
        self._collecting: Collecting | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._closed = asyncio.Event()

    @property
    def endpoint(self) -> str:
        """Where the coordinator reaches it: "127.0.0.1:50123"."""
        return self._endpoint

    @property
    def instance(self) -> str:
        """What tells this process from its siblings."""
        return self._instance or self._endpoint

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, serve and register. Raises EndpointTaken."""
        server = grpc.aio.server(options=SERVER_OPTIONS, maximum_concurrent_rpcs=CALLS_MAX)
        loop = asyncio.get_running_loop()
        self._workers = workers = Workers(self._participant, self._participant.name, loop)
        self._service = service = Service(workers)
        participant_pb2_grpc.add_ParticipantServiceServicer_to_server(service, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        if self._add_services is not None:
            self._add_services(server)
        bound = self._bind(server)
        self._endpoint = self._advertise or bound
        await server.start()
        self._server = server
        await self._tell_health(health_pb2.HealthCheckResponse.SERVING)
        if self._coordinator is not None:
            request = registration_request(
                self._participant.name,
                self.instance,
                self._endpoint,
                self._participant.actions,
                self._participant.topics,
            )
            self._registration = Registration(self._coordinator, request)
            self._registration.start()
            self._collecting = self._start_collecting(self._coordinator)

    def _start_collecting(self, coordinator: str) -> Collecting | None:
        older_than, fence = self._participant.collect_older_than, self._participant.fence
        if older_than is None or not isinstance(fence, CollectableFence):
            return None
        collecting = Collecting(self._participant.name, fence, coordinator, older_than)
        collecting.start()
        return collecting

    def _bind(self, server: grpc.aio.Server) -> str:
        host, _, port = self._listen.rpartition(":")
        named = host not in ("", "unix") and port.isdecimal()
        try:
            if named:
                _require_free(host.strip("[]"), int(port))
            bound = server.add_insecure_port(self._listen)
        except (OSError, RuntimeError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise EndpointTaken(
                f"{self._participant.name} cannot listen on {self._listen}: {why}; allowed: an "
                "address of this machine on which nobody else listens"
            ) from error
        if not named:
            return self._listen
        if host in ("0.0.0.0", "[::]"):  # noqa: S104
            host = socket.gethostname()
        return f"{host}:{bound}"

    async def wait_registered(self) -> None:
        """Return once the coordinator knows this instance, however long it takes."""
        if self._registration is not None:
            await self._registration.registered.wait()

    async def wait_closed(self) -> None:
        """Return once it has stopped."""
        await self._closed.wait()

    async def stop(self) -> None:
        """Deregister, let running calls finish within the grace, and stop. Harmless twice."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop())
        await asyncio.shield(self._stopping)

    async def _stop(self) -> None:
        loop = asyncio.get_running_loop()
        ending_at = loop.time() + self._grace
        await self._tell_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        if self._registration is not None:
            await self._registration.stop()
        if self._service is not None:
            self._service.finish()
        if self._server is not None:
            await self._server.stop(self._grace)
        if self._workers is not None:
            await self._workers.close(max(0.0, ending_at - loop.time()))
        if self._collecting is not None:
            await self._collecting.stop()
        self._closed.set()

    async def _tell_health(self, status: Any) -> None:
        await self._health.set("", status)
        await self._health.set(SERVICE, status)


def _require_free(host: str, port: int) -> None:
    """Raise OSError if a port cannot be bound; gRPC would only say so to its own log."""
    for family, kind, protocol, _, address in socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    ):
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)


def run(
    serving: Serving, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
) -> None:
    """Serve until SIGTERM or SIGINT; exits with one sentence if that cannot be."""
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        try:
            runner.run(_until_signalled(serving))
        except ParticipantError as error:
            raise SystemExit(str(error)) from None


async def _until_signalled(serving: Serving) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with serving:
        logger.info("%s is served at %s", serving.instance, serving.endpoint)
        await stop.wait()


class Service(participant_pb2_grpc.ParticipantServiceServicer):
    """The wire side: reads calls, has them answered by the workers, and writes the answers."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._drives: set[Drive] = set()
        self._finishing = False

    def finish(self) -> None:
        """End the streams once what has begun on them is answered; they would stay for ever."""
        self._finishing = True
        for drive in self._drives:
            drive.finish()

    async def Try(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Serve Try."""
        answer = await self._answer(request.call, Operation.TRY, context)
        return participant_pb2.TryResponse(answer=answer)

    async def Confirm(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Serve Confirm."""
        answer = await self._answer(request.call, Operation.CONFIRM, context)
        return participant_pb2.ConfirmResponse(answer=answer)

    async def Cancel(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Serve Cancel."""
        answer = await self._answer(request.call, Operation.CANCEL, context)
        return participant_pb2.CancelResponse(answer=answer)

    async def Deliver(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Serve Deliver."""
        answer = await self._answer(request.call, Operation.DELIVER, context, request.decision)
        return participant_pb2.DeliverResponse(answer=answer)

    async def Drive(self, request_iterator: Any, context: Any) -> Any:  # noqa: N802
        """Serve all four for many branches at once."""
        drive = Drive(self.attend)
        if self._finishing:
            drive.finish()
        self._drives.add(drive)
        try:
            async for response in drive.serve(request_iterator):
                yield response
        finally:
            self._drives.discard(drive)

    async def _answer(
        self,
        call: participant_pb2.BranchCall,
        operation: Operation,
        context: Any,
        decision: int = 0,
    ) -> transaction_pb2.Answer:
        answered: asyncio.Future[transaction_pb2.Answer | CallFailed]
        answered = asyncio.get_running_loop().create_future()

        def reply(answer: transaction_pb2.Answer | CallFailed) -> None:
            if not answered.done():  # the caller may have gone meanwhile
                answered.set_result(answer)

        self.attend(call, operation, decision, reply)
        answer = await answered
        if isinstance(answer, CallFailed):
            return await _abort(context, answer.status, answer.message)
        return answer

    def attend(
        self, call: participant_pb2.BranchCall, operation: Operation, decision: int, reply: Reply
    ) -> None:
        """Have one call answered by the workers."""
        arrived = _read(call, operation, decision)
        if arrived is None:
            status = grpc.StatusCode.INVALID_ARGUMENT
            reply(CallFailed(status, "xid, branch_id, kind or action is missing"))
        else:
            fenced = arrived.fenced
            self._workers.ask(arrived, lambda result: reply(_to_wire(result, fenced)))


async def _abort(context: Any, status: grpc.StatusCode, message: str) -> NoReturn:
    await context.abort(status, shortened(message))
    raise RuntimeError("gRPC's abort returned")


def _read(call: participant_pb2.BranchCall, operation: Operation, decision: int) -> Arrived | None:
    kind = from_wire(Kind, call.kind)
    if not call.xid or not call.branch_id or not call.action or kind is None:
        return None
    return Arrived(
        fenced=FencedCall(
            call.xid, call.branch_id, call.action, kind, operation, call.not_after_us
        ),
        payload=call.payload,
        attempt=call.attempt,
        decision=from_wire(Decision, decision) or Decision.UNDECIDED,
        trace_parent=call.trace_parent,
    )


def _to_wire(
    result: Answer | BaseException, call: FencedCall
) -> transaction_pb2.Answer | CallFailed:
    """Say on the wire what became of a call."""
    match result:
        case Ok(kept):
            data, expires_at_us = unframed(kept)
            ok = transaction_pb2.Answer.Ok(result=data, expires_at_us=expires_at_us)
            return transaction_pb2.Answer(ok=ok)
        case Refused(reason):
            refused = transaction_pb2.Answer.Refused(reason=shortened(reason))
            return transaction_pb2.Answer(refused=refused)
        case RetryLater():
            return _retry(result)
        case BaseException():
            return CallFailed(*_failure(result, call))
    return transaction_pb2.Answer(pending=transaction_pb2.Answer.Pending())


def _retry(later: RetryLater) -> transaction_pb2.Answer:
    retry = transaction_pb2.Answer.Retry(after_ms=round(later.after * 1000), reason=later.reason)
    return transaction_pb2.Answer(retry=retry)


def _failure(error: BaseException, call: FencedCall) -> tuple[grpc.StatusCode, str]:
    """Say why a call has no answer; to the coordinator its outcome is unknown."""
    where = f"{call.action} {call.operation}"
    match error:
        case NotServed():
            return grpc.StatusCode.UNIMPLEMENTED, str(error)
        case TryTooLate():
            return grpc.StatusCode.ABORTED, f"{where}: {error}"
        case FenceUnavailable():
            logger.warning("%s of %s: %s", where, call.xid, error)
            return grpc.StatusCode.UNAVAILABLE, f"{where}: the participant's database: {error}"
        case asyncio.CancelledError():
            return grpc.StatusCode.UNAVAILABLE, f"{where}: the participant stopped meanwhile"
        case ParticipantError():
            logger.error("%s of %s: %s", where, call.xid, error)
            return grpc.StatusCode.INTERNAL, str(error)
    # What the exception says may hold business data, so only its type leaves the process.
    logger.error("%s of %s failed", where, call.xid, exc_info=error)
    name = type(error).__name__
    said = f"HANDLER_FAILED: {where}: the handler raised {name}; its log says more"
    return grpc.StatusCode.INTERNAL, said
