"""ExecuteStream: many transactions over one stream, each request answered when its time comes.

No task is made for an Execute that begins a transaction: it is a callback when the transaction has
ended. What takes more than a step is a task: an Execute of a transaction that is known already, and
the interactive form, whose requests are served by the plain methods.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import lru_cache, partial
from typing import Any

from google.protobuf.message import Message
from google.rpc import code_pb2, status_pb2
from trypact.v1 import initiator_pb2

from trypact_coordinator.alarms import Alarms
from trypact_coordinator.core.errors import CoordinatorError, InvalidArgument, Overloaded
from trypact_coordinator.core.outcome import Reply
from trypact_coordinator.core.transaction import BranchSpec, Spec, Transaction
from trypact_coordinator.outbox import Outbox
from trypact_coordinator.runtime.coordinator import Coordinator
from trypact_coordinator.runtime.recall import Known
from trypact_coordinator.runtime.slot import Watcher
from trypact_coordinator.server import wire
from trypact_coordinator.server.errors import EXECUTE_STREAM, status_bytes
from trypact_coordinator.server.unread import Unread

# A stream is not read any further above so many replies that its initiator does not read, nor above
# so many requests without a reply. That is as many as there may be plain calls, because those that
# wait for a participant must not hold up what decides about others.
REPLIES_MAX = 8192
REQUESTS_MAX = 50_000
# About what a reply takes on the wire, and each of its branches, beside results and reasons.
_REPLY_BYTES = 256
_BRANCH_BYTES = 192

Item = initiator_pb2.ExecuteStreamRequest.Item
# A method of the interactive form; none of them uses the context of its call.
Plain = Callable[[Any, object], Awaitable[Message]]
# A transaction that was executed, a serialized status, or a reply that has all but its id.
Answer = Transaction | bytes | initiator_pb2.ExecuteStreamResponse.Item

_LATE: bytes = status_pb2.Status(
    code=code_pb2.DEADLINE_EXCEEDED, message="It has not ended within the time its initiator gave."
).SerializeToString()


class Request:
    """One request of the stream until it is answered; `id` is its initiator's name for it."""

    __slots__ = ("id", "task", "watcher", "xid")

    def __init__(self, id_: int, xid: str) -> None:
        self.id = id_
        self.xid = xid
        # Who waits for its transaction: one of them, once it was begun.
        self.watcher: Watcher | None = None
        self.task: asyncio.Task[None] | None = None


class ExecuteStream:
    """One initiator's stream.

    Args:
        coordinator: runs the transactions.
        plain: the methods that serve requests, by the field these stand in; not `execute`.
    """

    def __init__(self, coordinator: Coordinator, plain: Mapping[str, Plain]) -> None:
        self._coordinator = coordinator
        self._plain = plain
        self._outbox: Outbox[tuple[int, Answer]] = Outbox()
        # Those without a reply.
        self._open: set[Request] = set()
        self._patience: Alarms[Request] = Alarms(self._late)
        self._ended = False
        # Requests that were read and whose replies are not written yet.
        self._unwritten = 0
        self._written = asyncio.Event()

    async def serve(
        self, requests: AsyncIterator[initiator_pb2.ExecuteStreamRequest]
    ) -> AsyncIterator[initiator_pb2.ExecuteStreamResponse]:
        """Yield batches of replies until the initiator has closed and all are answered.

        When the initiator vanishes its transactions go on; only nobody is told.
        """
        reading = asyncio.create_task(self._read(requests))
        try:
            async for replies in self._outbox:
                response = initiator_pb2.ExecuteStreamResponse()
                for id_, answer in replies:
                    item = response.items.add(id=id_)
                    if isinstance(answer, Transaction):
                        wire.write_outcome(item.execute.outcome, answer)
                    elif isinstance(answer, bytes):
                        item.status = answer
                    else:
                        item.MergeFrom(answer)
                yield response
                # Only now, so that an initiator that does not read is not read from either.
                self._unwritten -= len(replies)
                self._written.set()
            await reading
        finally:
            self._ended = True
            self._patience.clear()
            reading.cancel()
            while self._open:
                self._abandon(self._open.pop())

    async def _read(self, requests: AsyncIterator[initiator_pb2.ExecuteStreamRequest]) -> None:
        unread, door = Unread(), self._coordinator.door
        # Those that found the door shut: the ones that nobody can have begun before, and the rest.
        fresh: list[Item]
        others: list[Item]
        unread.ask()
        try:
            async for batch in requests:
                door.unread(unread.came())
                shut, fresh, others = False, [], []
                for item in batch.items:
                    while self._is_full():
                        # Their replies may be what makes room.
                        self._turn_away(fresh)
                        self._look_up(others)
                        shut, fresh, others = False, [], []
                        await self._wait_for_room()
                        unread.held_up()
                    self._unwritten += 1
                    if not item.HasField("execute"):
                        self._ask(item)
                        continue
                    # Before anything is made of it: thousands a second may have to be turned away.
                    # A door that is shut stays so for whatever else of the message there is room.
                    shut = shut or door.is_shut()
                    if not shut:
                        self._begin(item)
                    elif item.execute.fresh:
                        fresh.append(item)
                    else:
                        others.append(item)
                self._turn_away(fresh)
                self._look_up(others)
                unread.ask()
            while self._unwritten:
                await self._wait_for_room()
        finally:
            self._outbox.close()

    def _look_up(self, items: list[Item]) -> None:
        if items:
            xids = [item.execute.begin.xid for item in items]
            self._coordinator.door.recall.ask(xids, partial(self._recalled, items))

    def _recalled(self, items: list[Item], known: Known) -> None:
        """Turn requests away, unless it may be that they were begun before."""
        if self._ended:
            return
        unknown = []
        for item in items:
            xid = item.execute.begin.xid
            if isinstance(known, CoordinatorError) or xid in known or self._coordinator.has(xid):
                self._begin(item)
            else:
                unknown.append(item)
        self._turn_away(unknown)

    def _turn_away(self, items: list[Item]) -> None:
        """Refuse requests that came together, in the same words."""
        if items:
            error = self._coordinator.turn_away(items[0].execute.begin.xid, len(items))
            status = _turned_away(str(error), error.retry_after_ms)
            for item in items:
                self._outbox.put((item.id, status), _REPLY_BYTES)

    def _is_full(self) -> bool:
        return self._unwritten >= REQUESTS_MAX or len(self._outbox) >= REPLIES_MAX

    async def _wait_for_room(self) -> None:
        self._written.clear()
        await self._written.wait()

    def _opened(self, item: Item, xid: str) -> Request:
        request = Request(item.id, xid)
        self._open.add(request)
        if item.timeout_ms > 0:
            self._patience.set(request, item.timeout_ms / 1000)
        return request

    def _ask(self, item: Item) -> None:
        """Have a plain method serve a request."""
        request = self._opened(item, "")
        field = item.WhichOneof("request")
        if field is None:
            allowed = ", ".join(["execute", *self._plain])
            self._tell(request, InvalidArgument("request", "is not there", allowed))
            return
        # A part of a message keeps all of it in memory, and this one may wait for long.
        own = type(getattr(item, field))()
        own.CopyFrom(getattr(item, field))
        request.task = asyncio.create_task(self._answer(request, field, own))

    async def _answer(self, request: Request, field: str, asked: Message) -> None:
        try:
            response = await self._plain[field](asked, None)
        except Exception as error:  # as in `_begin`
            self._tell(request, error)
        else:
            answer = initiator_pb2.ExecuteStreamResponse.Item()
            getattr(answer, field).CopyFrom(response)
            self._reply(request, answer, _REPLY_BYTES + response.ByteSize())

    def _begin(self, item: Item) -> None:
        request = self._opened(item, item.execute.begin.xid)
        tell = partial(self._tell, request)
        try:
            default_timeout_ms = self._coordinator.policy.default_timeout_ms
            asked = wire.execution_of(item.execute, default_timeout_ms)
            request.watcher = self._coordinator.execute_at_once(*asked, tell)
        except Exception as error:  # becomes the status that Execute would have ended with
            tell(error)
            return
        if request.watcher is None:
            request.task = asyncio.create_task(self._execute(request, *asked))

    async def _execute(
        self, request: Request, spec: Spec, branches: tuple[BranchSpec, ...], until: Reply
    ) -> None:
        try:
            self._tell(request, await self._coordinator.execute(spec, branches, until))
        except Exception as error:  # as above
            self._tell(request, error)

    def _tell(self, request: Request, result: Transaction | Exception) -> None:
        if isinstance(result, Transaction):
            size = _REPLY_BYTES
            for branch in result.branches:
                size += len(branch.result) + len(branch.reason) + _BRANCH_BYTES
            self._reply(request, result, size)
        else:
            self._reply(request, status_bytes(EXECUTE_STREAM, result))

    def _late(self, request: Request) -> None:
        self._abandon(request)
        self._reply(request, _LATE)

    def _abandon(self, request: Request) -> None:
        """Let its transaction go on without anybody who waits for it here."""
        if request.watcher is not None:
            self._coordinator.unwatch(request.xid, request.watcher)
            request.watcher = None
        elif request.task is not None:
            request.task.cancel()

    def _reply(self, request: Request, answer: Answer, size_bytes: int = _REPLY_BYTES) -> None:
        if request not in self._open:
            return
        self._open.discard(request)
        # It knows the request in turn: a circle that only the garbage collector would find.
        request.watcher = None
        self._patience.cancel(request)
        self._outbox.put((request.id, answer), size_bytes)


@lru_cache(maxsize=64)
def _turned_away(message: str, retry_after_ms: int) -> bytes:
    return status_bytes(EXECUTE_STREAM, Overloaded(message, retry_after_ms))
