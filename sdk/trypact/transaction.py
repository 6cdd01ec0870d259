"""Blocks of a transaction, for code with an event loop: its initiator's, and those that join it."""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
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
        drive: Callable[[Conversation[Any]], Awaitable[Any]],
        end: Callable[[Conversation[None]], Awaitable[None]],
    ) -> None:
        super().__init__(*arguments)
        self._drive = drive
        self._end = end

    async def __aenter__(self) -> Self:
        self._enter()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        ended = error
        try:
            await self._end(self._left(error))
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
    ) -> Coroutine[Any, Any, ResultT]: ...
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
    ) -> Coroutine[Any, Any, ResultT]: ...
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
    ) -> Coroutine[Any, Any, Any]: ...
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
    ) -> Coroutine[Any, Any, Any]:
        """Register a branch durably, call its Try, and return what the participant answered.

        Args:
            action: "participant.verb", or an Action, which says what payload and answer are.
            payload: as in `trypact.tcc`.
            returns: the type of the answer of an action by name; JSON's own if not given.
            kind: "tcc" or "saga".
            id: unique in its block; the verb if not given.
            after: for a saga step: the steps it is compensated before.
            attempts: as in `trypact.tcc`.
            retry_for: as in `trypact.tcc`.

        Raises BranchRefused, which rolls the transaction back when it leaves the block,
        TransactionCancelled when something else cancelled it meanwhile, as a spent budget does,
        and OutcomeUnknown when the client's patience ends before the participant has answered.
        One that is not awaited to its end inside the block keeps it from confirming: TryUnsettled.
        """
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
        return self._awaited(tried)

    async def _awaited(self, tried: Conversation[Any]) -> Any:
        return await self._drive(tried)

    async def outgoing(self, name: str) -> OutgoingCall:
        """Let a call over HTTP take the transaction along, to a service that joins it.

        Send its `headers`, and tell it the status of the answer: until then the block does not
        confirm. Channels with `trypact.interceptors.ClientInterceptor` need none of this.

        Args:
            name: of what is called, "inventory/reserve"; its last part names the call.

        Raises InvalidRequest, and what beginning the transaction raises.

            call = await tx.outgoing("inventory/reserve")
            response = await http.post(url, json=wanted, headers=call.headers)
            call.answered(response.status_code)
        """
        made: OutgoingCall = await self._drive(self._outgoing(name))
        return made


class Transaction(_Block, OpenTransaction):
    """An interactive transaction inside its `async with` block; see `Client.transaction`.

    >>> async with client.transaction("order", timeout=10.0) as tx:
    ...     held = await tx.try_("inventory.reserve", {"pieces": 2})
    ...     points = tx.message("member.add_points", {"points": 10 * held["pieces"]})
    >>> str(tx.outcome.decision)
    'confirm'
    """

    def __init__(self, *arguments: Any, **drives: Any) -> None:
        super().__init__(*arguments, **drives)
        self._carried.begin = lambda: self._drive(self._make_sure_it_is_begun())


class JoinedTransaction(_Block, Joining):
    """A transaction of another service, inside an `async with` block; see `Client.joined`.

    >>> async def reserve(request, context):
    ...     async with client.joined(context.invocation_metadata()) as tx:
    ...         return await tx.try_("inventory.reserve", request)
    """
