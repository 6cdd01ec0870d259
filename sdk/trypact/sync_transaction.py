"""Blocks of a transaction for code without an event loop; see `transaction`."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from trypact._exchange import Conversation
from trypact._interactive import Joining, OpenTransaction, Tries
from trypact.action import Action
from trypact.kinds import Kind
from trypact.outgoing import OutgoingCall

RequestT = TypeVar("RequestT")
ResultT = TypeVar("ResultT")


class _Block(Tries):
    """What both blocks do: try branches, and end as their rules say."""

    def __init__(
        self,
        *arguments: Any,
        drive: Callable[[Conversation[Any]], Any],
    ) -> None:
        super().__init__(*arguments)
        self._drive = drive

    def __enter__(self) -> Self:
        self._enter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        ended = error
        try:
            self._drive(self._left(error))
        except BaseException as failure:
            ended = failure
            raise
        finally:
            self._leave(ended)

    @overload
    def try_(
        self,
        action: Action[RequestT, ResultT],
        payload: RequestT,
        *,
        kind: Kind | str = Kind.TCC,
        id: str = "",
        after: Sequence[str] = (),
        attempts: int = 0,
        retry_for: float = 0.0,
    ) -> ResultT: ...
    @overload
    def try_(
        self,
        action: str,
        payload: Any = None,
        *,
        returns: type[ResultT],
        kind: Kind | str = Kind.TCC,
        id: str = "",
        after: Sequence[str] = (),
        attempts: int = 0,
        retry_for: float = 0.0,
    ) -> ResultT: ...
    @overload
    def try_(
        self,
        action: str,
        payload: Any = None,
        *,
        returns: Any = Any,
        kind: Kind | str = Kind.TCC,
        id: str = "",
        after: Sequence[str] = (),
        attempts: int = 0,
        retry_for: float = 0.0,
    ) -> Any: ...
    def try_(
        self,
        action: Action[Any, Any] | str,
        payload: Any = None,
        *,
        returns: Any = Any,
        kind: Kind | str = Kind.TCC,
        id: str = "",  # noqa: A002
        after: Sequence[str] = (),
        attempts: int = 0,
        retry_for: float = 0.0,
    ) -> Any:
        """Register a branch, call its Try, and return its answer; see `Transaction.try_`."""
        tried = self._try(
            action,
            payload,
            returns,
            kind=kind,
            id=id,
            after=after,
            attempts=attempts,
            retry_for=retry_for,
        )
        return self._drive(tried)

    def outgoing(self, name: str) -> OutgoingCall:
        """Let a call over HTTP take the transaction along; see `Transaction.outgoing`."""
        made: OutgoingCall = self._drive(self._outgoing(name))
        return made


class SyncTransaction(_Block, OpenTransaction):
    """An interactive transaction inside its `with` block; see `SyncClient.transaction`.

    >>> with sync_client.transaction("order", timeout=10.0) as tx:
    ...     held = tx.try_("inventory.reserve", {"pieces": 2})
    >>> str(tx.outcome.decision)
    'confirm'
    """

    def __init__(self, *arguments: Any, **drives: Any) -> None:
        super().__init__(*arguments, **drives)
        self._carried.begin = lambda: self._drive(self._make_sure_it_is_begun())


class SyncJoinedTransaction(_Block, Joining):
    """A transaction of another service, inside a `with` block; see `SyncClient.joined`.

    >>> def reserve(request, context):
    ...     with sync_client.joined(context.invocation_metadata()) as tx:
    ...         return tx.try_("inventory.reserve", request)
    """
