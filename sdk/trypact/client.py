"""The async client: opens transactions and asks for their outcome."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import grpc
import grpc.aio

from trypact import _conversations as conversations
from trypact._carried import Metadata, brought
from trypact._conversations import Wait
from trypact._exchange import (
    CHANNEL_OPTIONS,
    CLOSED,
    CLOSED_MEANWHILE,
    PATIENCE_S,
    Conversation,
    Exchange,
    Failure,
    Pause,
    Rpc,
    Send,
    failure_of,
)
from trypact._execute_stream import PATH as EXECUTE_STREAM_PATH
from trypact._execute_stream import REQUEST_BYTES_MAX, STREAMED, ExecuteStream
from trypact.branches import Branch
from trypact.ids import new_xid
from trypact.kinds import Operation
from trypact.observed import InitiatorObserver, asking
from trypact.outcome import Outcome, Reported, Standing
from trypact.transaction import JoinedTransaction, Transaction

ResultT = TypeVar("ResultT")


class Client:
    """A connection to a coordinator.

        async with trypact.Client("127.0.0.1:7000") as client:
            outcome = await client.execute("order.submit", [trypact.tcc("inventory.reserve", ...)])

    Args:
        endpoint: where the coordinator listens, HOST:PORT, or another target of gRPC's
            ("unix:/run/trypact.sock", "dns:///coordinator:7000").
        patience: seconds each method may take in all, with its retries. Keep it above the
            timeouts of the transactions: the default is, with the coordinator's own of 60 s.
        observer: surrounds the transactions it opens, for example `trypact.otel.ClientSpans()`.

    One client serves any number of tasks of one event loop. Every method raises a TrypactError:
    CoordinatorUnavailable when the patience ends without an answer, or OutcomeUnknown when the
    coordinator may have decided all the same. While it cannot be reached, the log says so.

        >>> async with Client("127.0.0.1:7000") as mine:
        ...     outcome = await mine.execute("order", [tcc("inventory.reserve", {"pieces": 2})])
        >>> str(outcome.state)
        'confirmed'
    """

    def __init__(
        self,
        endpoint: str,
        *,
        patience: float = PATIENCE_S,
        observer: InitiatorObserver | None = None,
    ) -> None:
        self._exchange = Exchange(endpoint, patience)
        self._observer = observer
        self._channel: grpc.aio.Channel | None = None
        self._calls: dict[Rpc[Any], Any] = {}
        self._stream: ExecuteStream | None = None
        # Until the coordinator says that it serves no ExecuteStream.
        self._streams = True
        self._endings: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def endpoint(self) -> str:
        """The coordinator's gRPC target."""
        return self._exchange.endpoint

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let rollbacks that are under way finish, and disconnect."""
        self._closed = True
        if self._endings:
            await asyncio.wait(self._endings)
        if self._stream is not None:
            await self._stream.close()
        channel, self._channel = self._channel, None
        self._calls.clear()
        if channel is not None:
            await channel.close(None)

    async def execute(
        self,
        name: str,
        branches: Sequence[Branch],
        *,
        xid: str | None = None,
        timeout: float | None = None,
        labels: Mapping[str, str] | None = None,
        wait: Wait = "settled",
        trace_parent: str = "",
    ) -> Outcome:
        """Run a one-shot transaction: all of it happens, or none of it does.

        Args:
            name: what kind of business it is, for operators: "order.submit".
            branches: what `tcc`, `saga`, `message` and `notice` describe.
            xid: the transaction's id, for example a business key; a fresh one if not given. The
                same xid with the same content is the same transaction, and gets its outcome.
            timeout: seconds it may stay undecided; the coordinator's default if not given.
            labels: for search, not for identity.
            wait: "settled" to be answered when all tcc and saga branches are, "decided" as soon
                as the decision is durable.
            trace_parent: the caller's W3C traceparent; the observer's if not given.

        Raises TransactionCancelled with the branch that refused and its reason, OutcomeUnknown,
        Overloaded, or a RequestRefused that says what is wrong with the request.
        """
        begin = conversations.begin_of(name, xid, timeout, labels, trace_parent)
        fresh = xid is None
        with asking(self._observer, begin):
            return await self._drive(
                conversations.execute(self._exchange, name, branches, begin, wait, fresh)
            )

    def transaction(
        self,
        name: str,
        *,
        xid: str | None = None,
        timeout: float | None = None,
        labels: Mapping[str, str] | None = None,
        wait: Wait = "settled",
        trace_parent: str = "",
    ) -> Transaction:
        """Open an interactive transaction: `async with client.transaction(...) as tx`.

        Leaving the block commits it. An exception inside, or the task's cancellation, rolls it
        back first. Nothing is sent before the first Try. Arguments are those of `execute`.
        """
        conversations.until(wait)
        begin = conversations.begin_of(name, xid, timeout, labels, trace_parent, new_xid())
        return Transaction(
            self._exchange,
            begin,
            wait,
            self._observer,
            drive=self._drive,
            end=self._drive_to_the_end,
        )

    def joined(self, metadata: Metadata | None = None) -> JoinedTransaction:
        """Join the transaction that the present call brought: `async with client.joined() as tx`.

        Inside, `tx.try_` adds branches. Leaving the block does not decide; that is for whoever
        opened the transaction. An exception cancels it, if a branch was added before. One block is
        enough for a call: where metadata is given, the branches of a second one have the same ids.

        Args:
            metadata: of the call, `context.invocation_metadata()`; not needed in a handler behind
                `trypact.interceptors.ServerInterceptor` or `trypact.joins`.

        Raises NoTransaction where the call brought none.
        """
        carried = brought(metadata)
        return JoinedTransaction(
            self._exchange, carried, drive=self._drive, end=self._drive_to_the_end
        )

    async def get(self, xid: str) -> Outcome:
        """Return how a transaction stands now. Raises UnknownTransaction."""
        return await self._drive(conversations.get(self._exchange, xid))

    async def wait(
        self, xid: str, until: Wait = "settled", *, patience: float | None = None
    ) -> Outcome:
        """Return how a transaction ended, confirmed or cancelled, once it has.

        Raises UnknownTransaction, and OutcomeUnknown when the patience (in seconds, the client's
        if not given) ends first.
        """
        return await self._drive(conversations.wait_for(self._exchange, xid, until, patience))

    async def decision(self, xid: str, *, settle: bool = False) -> Standing:
        """Return what is decided about an xid.

        An xid the coordinator has never heard of is UNKNOWN, which is not CANCEL: a request with
        it may still be on its way. With `settle` it is durably cancelled first, so that such a
        request is refused.
        """
        return await self._drive(conversations.decision(self._exchange, xid, settle))

    async def report(
        self,
        xid: str,
        branch_id: str,
        operation: Operation | str,
        *,
        ok: Any = None,
        refused: str | None = None,
    ) -> Reported:
        """Complete an operation that a participant answered with PENDING.

        Args:
            xid: the transaction.
            branch_id: the branch.
            operation: "try", "confirm", "cancel" or "deliver".
            ok: the result, if it went well; that of a tcc branch's Try may be Reserved.
            refused: the reason, if it is a business no.
        """
        return await self._drive(
            conversations.report(self._exchange, xid, branch_id, operation, ok, refused)
        )

    async def ping(self) -> float:
        """Return the seconds a round trip takes. Raises CoordinatorUnavailable."""
        return await self._drive(conversations.ping(self._exchange))

    # ------------------------------------------------------------ I/O

    async def _drive(self, conversation: Conversation[ResultT]) -> ResultT:
        try:
            step = next(conversation)
            while True:
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                    step = next(conversation)
                else:
                    step = conversation.send(await self._send(step))
        except StopIteration as done:
            return cast("ResultT", done.value)

    async def _drive_to_the_end(self, conversation: Conversation[None]) -> None:
        """Drive it even if the task is cancelled meanwhile."""
        ending = asyncio.ensure_future(self._drive(conversation))
        self._endings.add(ending)
        ending.add_done_callback(self._ended)
        await asyncio.shield(ending)

    def _ended(self, ending: "asyncio.Task[None]") -> None:
        self._endings.discard(ending)
        if not ending.cancelled():
            # Whoever waits gets it too; where nobody does any more, it is no news to log.
            ending.exception()

    async def _send(self, send: Send) -> Any:
        request = send.request
        if self._closed and not self._endings:
            return CLOSED
        if self._streams and type(request) in STREAMED and request.ByteSize() <= REQUEST_BYTES_MAX:
            reply = await self._execute_stream().ask(request, send.timeout)
            if not (isinstance(reply, Failure) and reply.status == "UNIMPLEMENTED"):
                return reply
            # An older coordinator: the request has not arrived, and goes the plain way.
            self._streams = False
        call = self._calls.get(send.rpc) or self._connect(send.rpc)
        try:
            return await call(send.request, timeout=send.timeout)
        except grpc.aio.AioRpcError as error:
            return failed(error)
        except (asyncio.CancelledError, grpc.aio.UsageError):
            # What a call says when another task closes its channel. A task that is cancelled
            # itself stays cancelled.
            task = asyncio.current_task()
            if not self._closed or (task is not None and task.cancelling()):
                raise
            return CLOSED_MEANWHILE

    def _execute_stream(self) -> ExecuteStream:
        if self._stream is None:
            method = self._open_channel().stream_stream(EXECUTE_STREAM_PATH, None, None)
            self._stream = ExecuteStream(cast("Callable[[], Any]", method), self._stream_ended)
        return self._stream

    def _stream_ended(self, failure: Failure) -> None:
        self._stream = None

    def _open_channel(self) -> grpc.aio.Channel:
        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(self.endpoint, options=CHANNEL_OPTIONS)
        return self._channel

    def _connect(self, rpc: Rpc[Any]) -> Any:
        call = self._calls[rpc] = self._open_channel().unary_unary(
            rpc.path,
            request_serializer=lambda request: request.SerializeToString(),
            response_deserializer=rpc.response.FromString,
        )
        return call


def failed(error: grpc.aio.AioRpcError) -> Failure:
    """Read the error of an asynchronous call."""
    metadata = cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata() or ())
    return failure_of(error.code().name, error.details(), metadata)
