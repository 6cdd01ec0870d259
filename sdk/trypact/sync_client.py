"""The sync client: the same conversations over synchronous gRPC, with no event loop anywhere."""

import asyncio
import threading
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import grpc

from trypact import _conversations as conversations
from trypact._carried import Metadata, brought
from trypact._conversations import Wait
from trypact._exchange import (
    CHANNEL_OPTIONS,
    CLOSED,
    PATIENCE_S,
    Conversation,
    Exchange,
    Failure,
    Pause,
    Rpc,
    Send,
    failure_of,
)
from trypact.branches import Branch
from trypact.errors import InvalidRequest
from trypact.ids import new_xid
from trypact.kinds import Operation
from trypact.observed import InitiatorObserver, asking
from trypact.outcome import Outcome, Reported, Standing
from trypact.sync_transaction import SyncJoinedTransaction, SyncTransaction

ResultT = TypeVar("ResultT")


class SyncClient:
    """A connection to a coordinator, for code without an event loop.

        with trypact.SyncClient("127.0.0.1:7000") as client:
            outcome = client.execute("order.submit", [trypact.tcc("inventory.reserve", ...)])

    Methods, arguments and errors are those of `Client`, without `await`. One client serves any
    number of threads, and none with an event loop that runs: there it raises InvalidRequest.

        >>> with SyncClient("127.0.0.1:7000") as mine:
        ...     outcome = mine.execute("order", [tcc("inventory.reserve", {"pieces": 2})])
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
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None
        self._calls: dict[Rpc[Any], Any] = {}
        self._closed = threading.Event()

    @property
    def endpoint(self) -> str:
        """The coordinator's gRPC target."""
        return self._exchange.endpoint

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect; what other threads are asking fails with CoordinatorUnavailable."""
        self._closed.set()
        with self._lock:
            channel, self._channel = self._channel, None
            self._calls.clear()
        if channel is not None:
            channel.close()

    def execute(
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
        """Run a one-shot transaction; see `Client.execute`."""
        begin = conversations.begin_of(name, xid, timeout, labels, trace_parent)
        fresh = xid is None
        with asking(self._observer, begin):
            return self._drive(
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
    ) -> SyncTransaction:
        """Open an interactive transaction, `with client.transaction(...) as tx`."""
        conversations.until(wait)
        begin = conversations.begin_of(name, xid, timeout, labels, trace_parent, new_xid())
        return SyncTransaction(self._exchange, begin, wait, self._observer, drive=self._drive)

    def joined(self, metadata: Metadata | None = None) -> SyncJoinedTransaction:
        """Join the transaction that the present call brought; see `Client.joined`."""
        return SyncJoinedTransaction(self._exchange, brought(metadata), drive=self._drive)

    def get(self, xid: str) -> Outcome:
        """Return how a transaction stands now; see `Client.get`."""
        return self._drive(conversations.get(self._exchange, xid))

    def wait(self, xid: str, until: Wait = "settled", *, patience: float | None = None) -> Outcome:
        """Return how a transaction ended, once it has; see `Client.wait`."""
        return self._drive(conversations.wait_for(self._exchange, xid, until, patience))

    def decision(self, xid: str, *, settle: bool = False) -> Standing:
        """Return what is decided about an xid; see `Client.decision`."""
        return self._drive(conversations.decision(self._exchange, xid, settle))

    def report(
        self,
        xid: str,
        branch_id: str,
        operation: Operation | str,
        *,
        ok: Any = None,
        refused: str | None = None,
    ) -> Reported:
        """Complete an operation that was answered with PENDING; see `Client.report`."""
        return self._drive(
            conversations.report(self._exchange, xid, branch_id, operation, ok, refused)
        )

    def ping(self) -> float:
        """Return the seconds a round trip takes; see `Client.ping`."""
        return self._drive(conversations.ping(self._exchange))

    # ------------------------------------------------------------ I/O

    def _drive(self, conversation: Conversation[ResultT]) -> ResultT:
        _require_no_loop()
        try:
            step = next(conversation)
            while True:
                if isinstance(step, Pause):
                    self._closed.wait(step.seconds)
                    step = next(conversation)
                else:
                    step = conversation.send(self._send(step))
        except StopIteration as done:
            return cast("ResultT", done.value)

    def _send(self, send: Send) -> Any:
        call = self._call(send.rpc)
        try:
            return CLOSED if call is None else call(send.request, timeout=send.timeout)
        except grpc.RpcError as error:
            return failed(error)
        except ValueError:
            # What a channel says that another thread closed meanwhile.
            return CLOSED

    def _call(self, rpc: Rpc[Any]) -> Any:
        with self._lock:
            if self._closed.is_set():
                return None
            if self._channel is None:
                self._channel = grpc.insecure_channel(self.endpoint, options=CHANNEL_OPTIONS)
            call = self._calls.get(rpc)
            if call is None:
                call = self._calls[rpc] = self._channel.unary_unary(
                    rpc.path,
                    request_serializer=lambda request: request.SerializeToString(),
                    response_deserializer=rpc.response.FromString,
                )
            return call


def _require_no_loop() -> None:
    """Raise InvalidRequest in a coroutine, whose event loop would stand still meanwhile."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise InvalidRequest(
        "a SyncClient is used where an event loop runs, and would hold it up; allowed: "
        "trypact.Client in a coroutine, or the SyncClient in a thread (asyncio.to_thread)"
    )


def failed(error: grpc.RpcError) -> Failure:
    """Read the error of a synchronous call, which gRPC raises as the call itself."""
    call = cast("grpc.Call", error)
    metadata = cast("Iterable[tuple[str, str | bytes]]", call.trailing_metadata() or ())
    return failure_of(call.code().name, call.details(), metadata)
