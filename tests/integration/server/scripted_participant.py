"""A real gRPC participant whose every answer a test scripts, bad ones included."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from trypact.v1 import participant_pb2 as pb
from trypact.v1.transaction_pb2 import Answer

# What a script does with a call: an answer, raw bytes, or whatever it does to the context.
Script = Callable[[Any, grpc.aio.ServicerContext], Awaitable[Answer | bytes]]

OPERATIONS = ("Try", "Confirm", "Cancel", "Deliver")


def says(answer: Answer | bytes) -> Script:
    async def script(request: Any, context: grpc.aio.ServicerContext) -> Answer | bytes:
        return answer

    return script


def ok(result: bytes = b"") -> Script:
    return says(Answer(ok=Answer.Ok(result=result)))


def refuses(reason: str) -> Script:
    return says(Answer(refused=Answer.Refused(reason=reason)))


def retries(after_ms: int, reason: str = "") -> Script:
    return says(Answer(retry=Answer.Retry(after_ms=after_ms, reason=reason)))


def pends() -> Script:
    return says(Answer(pending=Answer.Pending()))


def aborts(code: grpc.StatusCode, details: str) -> Script:
    async def script(request: Any, context: grpc.aio.ServicerContext) -> Answer:
        await context.abort(code, details)
        raise AssertionError("abort raises")

    return script


def hangs() -> Script:
    async def script(request: Any, context: grpc.aio.ServicerContext) -> Answer:
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    return script


class ScriptedParticipant:
    """Serves ParticipantService and health on a free loopback port.

    A script is for one branch and operation; the last one given stays.

    Args:
        drive: serve the batched stream too, so that the coordinator uses it.
    """

    def __init__(self, *, drive: bool = False) -> None:
        self.calls: list[tuple[str, Any]] = []
        self._scripts: dict[tuple[str, str], list[Script]] = defaultdict(list)
        self._counts: Counter[tuple[str, str]] = Counter()
        self._called = asyncio.Condition()
        self._server = grpc.aio.server()
        methods: dict[str, grpc.RpcMethodHandler] = {
            operation: grpc.unary_unary_rpc_method_handler(
                self._handler(operation),
                request_deserializer=getattr(pb, f"{operation}Request").FromString,
                response_serializer=lambda data: data,
            )
            for operation in OPERATIONS
        }
        if drive:
            methods["Drive"] = grpc.stream_stream_rpc_method_handler(
                self._drive,
                request_deserializer=pb.DriveRequest.FromString,
                response_serializer=lambda data: data,
            )
        generic = grpc.method_handlers_generic_handler("trypact.v1.ParticipantService", methods)
        self._server.add_generic_rpc_handlers((generic,))
        self.health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self.endpoint = f"127.0.0.1:{self.port}"

    def on(self, branch_id: str, operation: str, *scripts: Script) -> None:
        """Give the next calls of a branch's operation one script each; the last one stays."""
        self._scripts[branch_id, operation] = list(scripts)

    async def called(self, branch_id: str, operation: str, times: int = 1) -> None:
        """Return once a branch's operation has been called so often."""
        async with self._called:
            await self._called.wait_for(lambda: self._counts[branch_id, operation] >= times)

    def count(self, branch_id: str, operation: str) -> int:
        return self._counts[branch_id, operation]

    async def __aenter__(self) -> "ScriptedParticipant":
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.die()

    async def die(self) -> None:
        """Cut every connection, as a killed process does."""
        await self._server.stop(None)

    def _handler(self, operation: str) -> Callable[..., Awaitable[bytes]]:
        async def handle(request: Any, context: Any) -> bytes:
            answer = await self._play(operation, request, context)
            if isinstance(answer, bytes):
                return answer
            return bytes(getattr(pb, f"{operation}Response")(answer=answer).SerializeToString())

        return handle

    async def _drive(self, requests: Any, context: Any) -> AsyncIterator[bytes]:
        replies: asyncio.Queue[bytes] = asyncio.Queue()

        async def attend(item: pb.DriveRequest.Item) -> None:
            replies.put_nowait(await self._drive_one(item))

        async def read() -> None:
            async with asyncio.TaskGroup() as attending:
                async for request in requests:
                    for item in request.items:
                        attending.create_task(attend(item))

        reading = asyncio.create_task(read())
        try:
            while True:
                yield await replies.get()
        finally:
            reading.cancel()

    async def _drive_one(self, item: pb.DriveRequest.Item) -> bytes:
        call = item.call
        reply = pb.DriveResponse.Item(
            xid=call.xid,
            branch_id=call.branch_id,
            operation=item.operation,
            attempt=call.attempt,
        )
        operation = OPERATIONS[item.operation - 1]
        try:
            answer = await self._play(operation, item, ItemContext())
        except ItemAborted as aborted:
            reply.error = str(aborted)
        else:
            if isinstance(answer, bytes) and answer:
                return answer
            if isinstance(answer, Answer):
                reply.answer.CopyFrom(answer)
        return bytes(pb.DriveResponse(items=[reply]).SerializeToString())

    async def _play(self, operation: str, request: Any, context: Any) -> Answer | bytes:
        branch_id = request.call.branch_id
        self.calls.append((operation, request))
        scripts = self._scripts[branch_id, operation]
        script = ok()
        if scripts:
            script = scripts.pop(0) if len(scripts) > 1 else scripts[0]
        async with self._called:
            self._counts[branch_id, operation] += 1
            self._called.notify_all()
        return await script(request, context)


class ItemAborted(Exception):
    """One call of a batch failed."""


class ItemContext:
    """What a script does to one call of a batch."""

    async def abort(self, code: grpc.StatusCode, details: str) -> None:
        raise ItemAborted(f"{code.name}: {details}")
