"""How the participant under examination is called: over gRPC, or in this process."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import grpc
import grpc.aio
from trypact_coordinator.core.events import Answer, Unknown
from trypact_coordinator.transport import wire

from trypact._drive import CallFailed
from trypact.errors import TrypactError
from trypact.kinds import Decision, Operation
from trypact.participant import Participant
from trypact.testing.hosted import Hosted
from trypact.v1 import participant_pb2, participant_pb2_grpc, transaction_pb2

# Of each call, as the coordinator would wait for it.
CALL_TIMEOUT_S = 5.0


class Unreachable(TrypactError):
    """Nothing answers where the participant should be."""


class Callee(Protocol):
    """A participant that can be called as the coordinator calls it."""

    async def call(self, operation: Operation, body: participant_pb2.BranchCall) -> Answer:
        """Send one call; whatever is no answer is Unknown. Never raises."""
        ...

    async def ready(self, seconds: float) -> None:
        """Return once it can be called. Raises Unreachable."""
        ...

    async def close(self) -> None:
        """Let go of it."""
        ...


class RemoteCallee:
    """A participant of any language, at an address, called by the plain gRPC methods."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._channel = grpc.aio.insecure_channel(
            endpoint, options=(("grpc.enable_retries", 0), ("grpc.enable_http_proxy", 0))
        )
        self._stub: Any = participant_pb2_grpc.ParticipantServiceStub(self._channel)

    async def call(self, operation: Operation, body: participant_pb2.BranchCall) -> Answer:
        """See Callee."""
        name = operation.value.capitalize()
        request = getattr(participant_pb2, f"{name}Request")(call=body)
        if operation is Operation.DELIVER:
            request.decision = Decision.CONFIRM.wire
        try:
            reply = await getattr(self._stub, name)(request, timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            return wire.unknown(error)
        return wire.decode(reply.answer)

    async def ready(self, seconds: float) -> None:
        """See Callee."""
        try:
            await asyncio.wait_for(self._channel.channel_ready(), seconds)
        except TimeoutError:
            raise Unreachable(
                f"nothing answers gRPC at {self.endpoint} within {seconds:g} s; start the "
                "participant there, or name the address it listens on"
            ) from None

    async def close(self) -> None:
        """See Callee."""
        await self._channel.close(None)


class LocalCallee:
    """A participant in this process, without a socket.

    Args:
        make: makes it; again after each restart, as a new process would.
    """

    def __init__(self, make: Callable[[], Participant]) -> None:
        self._make = make
        self._waiting: set[asyncio.Future[transaction_pb2.Answer | CallFailed]] = set()
        self._start()

    def _start(self) -> None:
        self._hosted = Hosted(self._make())

    @property
    def participant(self) -> Participant:
        """Who is called."""
        return self._hosted.participant

    async def call(self, operation: Operation, body: participant_pb2.BranchCall) -> Answer:
        """See Callee."""
        done: asyncio.Future[transaction_pb2.Answer | CallFailed]
        done = asyncio.get_running_loop().create_future()

        def back(reply: transaction_pb2.Answer | CallFailed) -> None:
            if not done.done():
                done.set_result(reply)

        decision = Decision.CONFIRM if operation is Operation.DELIVER else Decision.UNDECIDED
        self._hosted.attend(body, operation, decision.number, back)
        self._waiting.add(done)
        done.add_done_callback(self._waiting.discard)
        try:
            reply = await asyncio.wait_for(done, CALL_TIMEOUT_S)
        except TimeoutError:
            return Unknown(f"no answer within {CALL_TIMEOUT_S:g} s")
        if isinstance(reply, CallFailed):
            return Unknown(f"{reply.status.name}: {reply.message}")
        return wire.decode(reply)

    async def ready(self, seconds: float) -> None:
        """See Callee."""

    async def restart(self) -> None:
        """Make the participant anew; what it had only in its memory is gone.

        A handler that runs cannot be killed in this process; nobody hears of its end.
        """
        killed = CallFailed(grpc.StatusCode.UNAVAILABLE, "the participant was killed")
        for done in self._waiting:
            if not done.done():
                done.set_result(killed)
        await self._hosted.close()
        self._start()

    async def close(self) -> None:
        """See Callee."""
        await self._hosted.close()
