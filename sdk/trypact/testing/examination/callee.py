"""How the participant under examination is called: over gRPC, or in this process."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

import grpc
import grpc.aio
from trypact_coordinator.core.events import Answer, Ok, Unknown
from trypact_coordinator.transport import wire

from trypact._drive import CallFailed
from trypact.errors import TrypactError
from trypact.kinds import Decision, Operation
from trypact.participant import Participant
from trypact.testing.hosted import Hosted
from trypact.v1 import participant_pb2, participant_pb2_grpc, transaction_pb2

# Of each call, as the coordinator would wait for it.
CALL_TIMEOUT_S = 5.0
_CALLS_TIMED = 5
# In which a connection to a process that was killed is seen to end.
_SEEN_WITHIN_S = 0.5
_OPTIONS = (
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
    # Somebody has just started it again, and waits.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
)

Restart = Callable[[], Awaitable[None]]
ResultT = TypeVar("ResultT")


class Unreachable(TrypactError):
    """Nothing answers where the participant should be."""


class Callee(Protocol):
    """A participant that can be called as the coordinator calls it."""

    async def call(self, operation: Operation, body: participant_pb2.BranchCall) -> Answer:
        """Send one call; whatever is no answer is Unknown. Never raises."""
        ...

    async def dying(
        self, operation: Operation, body: participant_pb2.BranchCall, restart: Restart, share: float
    ) -> Answer:
        """Send one call, and have the participant killed and started again in its middle.

        Args:
            operation: of the call.
            body: of the call.
            restart: kills and starts it.
            share: of the time that the call takes, after which it is to die, from 0 to 1; where
                that can be chosen to the statement, it dies between its handler and its commit.
        """
        ...

    async def restarted(self, restart: Restart) -> None:
        """Have the participant killed and started again."""
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
        self._channel = grpc.aio.insecure_channel(endpoint, options=_OPTIONS)
        self._stub: Any = participant_pb2_grpc.ParticipantServiceStub(self._channel)
        # What the last calls of each operation took that were done, and the last kill.
        self._took_s: dict[Operation, deque[float]] = {}
        self._killing_s = 0.0

    async def call(self, operation: Operation, body: participant_pb2.BranchCall) -> Answer:
        """See Callee."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        name = operation.value.capitalize()
        request = getattr(participant_pb2, f"{name}Request")(call=body)
        if operation is Operation.DELIVER:
            request.decision = Decision.CONFIRM.wire
        try:
            reply = await getattr(self._stub, name)(request, timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            return wire.unknown(error)
        answer = wire.decode(reply.answer)
        if isinstance(answer, Ok):
            took = self._took_s.setdefault(operation, deque(maxlen=_CALLS_TIMED))
            took.append(loop.time() - began)
        return answer

    async def dying(
        self, operation: Operation, body: participant_pb2.BranchCall, restart: Restart, share: float
    ) -> Answer:
        """See Callee; it is aimed with how long such calls, and commands that kill, took so far."""
        # The longest was no duplicate, which runs no handler.
        lead = share * max(self._took_s.get(operation, [0.0])) - self._killing_s
        calling = asyncio.create_task(_after(max(0.0, -lead), self.call(operation, body)))
        await _after(max(0.0, lead), self.restarted(restart))
        return await calling

    async def restarted(self, restart: Restart) -> None:
        """See Callee; sees when it was gone."""
        loop = asyncio.get_running_loop()
        began = loop.time()

        async def gone() -> None:
            await self._channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
            self._killing_s = loop.time() - began

        watching = asyncio.create_task(gone())
        try:
            await restart()
            # A command may be back before its kill is seen here.
            await asyncio.wait([watching], timeout=_SEEN_WITHIN_S)
        finally:
            watching.cancel()

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
        return await self._answered(operation, body, dies=False)

    async def dying(
        self, operation: Operation, body: participant_pb2.BranchCall, restart: Restart, share: float
    ) -> Answer:
        """See Callee; here it always dies between its handler and its commit."""
        answer = await self._answered(operation, body, dies=True)
        await restart()
        return answer

    async def _answered(
        self, operation: Operation, body: participant_pb2.BranchCall, *, dies: bool
    ) -> Answer:
        done: asyncio.Future[transaction_pb2.Answer | CallFailed]
        done = asyncio.get_running_loop().create_future()

        def back(reply: transaction_pb2.Answer | CallFailed) -> None:
            if not done.done():
                done.set_result(reply)

        decision = Decision.CONFIRM if operation is Operation.DELIVER else Decision.UNDECIDED
        self._hosted.attend(body, operation, decision.number, back, dies=dies)
        self._waiting.add(done)
        done.add_done_callback(self._waiting.discard)
        try:
            reply = await asyncio.wait_for(done, CALL_TIMEOUT_S)
        except TimeoutError:
            return Unknown(f"no answer within {CALL_TIMEOUT_S:g} s")
        if isinstance(reply, CallFailed):
            return Unknown(f"{reply.status.name}: {reply.message}")
        return wire.decode(reply)

    async def restarted(self, restart: Restart) -> None:
        """See Callee."""
        await restart()

    async def ready(self, seconds: float) -> None:
        """See Callee."""

    async def restart(self) -> None:
        """Make the participant anew; what it had only in its memory is gone.

        A handler that runs cannot be stopped in this process; nobody hears of its end.
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


async def _after(seconds: float, what: Awaitable[ResultT]) -> ResultT:
    await asyncio.sleep(seconds)
    return await what
