"""What a service offers to transactions: actions, each served by handlers behind a fence.

    inventory = trypact.Participant("inventory", fence=SqlAlchemyFence(engine))

    @inventory.tcc("reserve", request=ReserveRequest)
    class Reserve:
        def try_(self, call: Call[ReserveRequest], connection: Connection) -> Reserved: ...
        def confirm(self, call: Call[ReserveRequest], connection: Connection) -> None: ...
        def cancel(self, call: Call[ReserveRequest], connection: Connection) -> None: ...

    inventory.run("127.0.0.1:7010", coordinator="127.0.0.1:7000")

A handler is an ordinary function. It is called on a thread with the decoded request and the open
connection of the fence's local transaction: what it writes there is committed with the fence's
row, or not at all. It must not commit or roll back itself. It returns its result (Try, message,
notice), returns PENDING, or raises Refuse or RetryLater; any other exception undoes the local
transaction, and the coordinator asks again.
"""

import inspect
import re
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from trypact.call import PENDING, Answer, Call, FencedCall, PendingType
from trypact.errors import PayloadError, Refuse, ResultTooLarge
from trypact.fence.contract import Fence
from trypact.kinds import Decision, Kind, Operation
from trypact.limits import RESULT_BYTES_MAX
from trypact.payload import decode, encode

if TYPE_CHECKING:
    from trypact.serving import AddServices, Serving

_ALLOWED = "allowed: a plain function of (call, connection)"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


class TccHandlers(Protocol):
    """The three operations of a tcc action."""

    def try_(self, call: Any, connection: Any, /) -> Any:
        """Reserve; what it returns is the branch's result."""
        ...

    def confirm(self, call: Any, connection: Any, /) -> Any:
        """Use the reservation."""
        ...

    def cancel(self, call: Any, connection: Any, /) -> Any:
        """Release the reservation. Never called where Try left nothing."""
        ...


class SagaHandlers(Protocol):
    """The two operations of a saga action."""

    def try_(self, call: Any, connection: Any, /) -> Any:
        """Do the work; what it returns is the branch's result."""
        ...

    def cancel(self, call: Any, connection: Any, /) -> Any:
        """Compensate the work. Never called where Try left nothing."""
        ...


Handler = Callable[[Any, Any], Any]
TccT = TypeVar("TccT", bound="TccHandlers | type[TccHandlers]")
SagaT = TypeVar("SagaT", bound="SagaHandlers | type[SagaHandlers]")
HandlerT = TypeVar("HandlerT", bound=Handler)


class Arrived(NamedTuple):
    """A call as it came over the wire, its request undecoded."""

    fenced: FencedCall
    payload: bytes
    attempt: int
    decision: Decision
    trace_parent: str


class Served(NamedTuple):
    """What serves one kind of one action."""

    request: Any
    handlers: Mapping[Operation, Handler]


class NotServed(LookupError):
    """The participant has no handler for this; the message says what it has."""


class Participant:
    """A participant and its actions.

    Args:
        name: the first half of its actions: "inventory".
        fence: what keeps its calls idempotent, in the service's own database.
        workers: how many handlers may run at once, each on a thread of its own.

    Raises ValueError for a name that is no lower-case word.
    """

    def __init__(self, name: str, *, fence: Fence, workers: int = 8) -> None:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no participant's name; allowed: a lower-case word")
        if workers < 1:
            raise ValueError(f"workers: {workers}; allowed: at least 1")
        self.name = name
        self.fence = fence
        self.workers = workers
        self._served: dict[tuple[str, Kind], Served] = {}

    # ------------------------------------------------------------ decorators

    def tcc(self, verb: str, *, request: Any = dict) -> Callable[[TccT], TccT]:
        """Serve tcc branches of an action with a class of `try_`, `confirm` and `cancel`.

        Args:
            verb: the second half of the action: "reserve".
            request: what payloads are decoded to: a dataclass, `dict`, `bytes`.

        The class is made once, without arguments; or pass an instance: `p.tcc("reserve")(made)`.
        Raises TypeError for handlers that cannot be called with (call, connection), or are async.
        """

        def served(target: TccT) -> TccT:
            names = {
                Operation.TRY: "try_",
                Operation.CONFIRM: "confirm",
                Operation.CANCEL: "cancel",
            }
            self._serve(verb, Kind.TCC, request, self._methods(verb, target, names))
            return target

        return served

    def saga(self, verb: str, *, request: Any = dict) -> Callable[[SagaT], SagaT]:
        """Serve saga steps of an action with a class of `try_` and `cancel`; see `tcc`."""

        def served(target: SagaT) -> SagaT:
            names = {Operation.TRY: "try_", Operation.CANCEL: "cancel"}
            self._serve(verb, Kind.SAGA, request, self._methods(verb, target, names))
            return target

        return served

    def message(self, verb: str, *, request: Any = dict) -> Callable[[HandlerT], HandlerT]:
        """Serve messages of an action with a function of (call, connection); see `tcc`."""

        def served(target: HandlerT) -> HandlerT:
            self._serve(verb, Kind.MESSAGE, request, {Operation.DELIVER: target})
            return target

        return served

    def notice(self, verb: str, *, request: Any = dict) -> Callable[[HandlerT], HandlerT]:
        """Serve notices of an action with a function of (call, connection); see `tcc`."""

        def served(target: HandlerT) -> HandlerT:
            self._serve(verb, Kind.NOTICE, request, {Operation.DELIVER: target})
            return target

        return served

    def _methods(
        self, verb: str, target: Any, names: Mapping[Operation, str]
    ) -> Mapping[Operation, Handler]:
        made = target() if isinstance(target, type) else target
        owner = type(made).__name__
        missing = [name for name in names.values() if getattr(made, name, None) is None]
        if missing:
            raise TypeError(
                f"{self.name}.{verb}: {owner} has no {', '.join(missing)}; allowed: a class with "
                f"{', '.join(names.values())}"
            )
        return {operation: getattr(made, name) for operation, name in names.items()}

    def _serve(
        self, verb: str, kind: Kind, request: Any, handlers: Mapping[Operation, Handler]
    ) -> None:
        if not _NAME.fullmatch(verb):
            raise ValueError(f"{verb!r} is no action's verb; allowed: a lower-case word")
        if (verb, kind) in self._served:
            raise ValueError(f"{self.name}.{verb} has a handler for {kind} branches already")
        for handler in handlers.values():
            name = getattr(handler, "__qualname__", None) or type(handler).__name__
            _require_handler(f"{self.name}.{verb}", name, handler)
        self._served[verb, kind] = Served(request, handlers)

    # ------------------------------------------------------------ serving

    @property
    def actions(self) -> Mapping[str, tuple[Kind, ...]]:
        """The verbs it serves, each with its kinds."""
        found: dict[str, tuple[Kind, ...]] = {}
        for verb, kind in self._served:
            found[verb] = (*found.get(verb, ()), kind)
        return found

    def serve(
        self,
        listen: str = "127.0.0.1:0",
        *,
        coordinator: str | None = None,
        instance: str | None = None,
        advertise: str | None = None,
        grace: float = 5.0,
        services: "AddServices | None" = None,
    ) -> "Serving":
        """Serve its actions: `async with participant.serve(...) as server`.

        Args:
            listen: the address to listen on; port 0 takes any free one (`server.endpoint`).
            coordinator: where to register; nowhere if not given.
            instance: tells this process from its siblings; stable across its restarts. The
                advertised endpoint if not given.
            advertise: the gRPC target under which the coordinator reaches it, where that is not
                `listen` itself.
            grace: seconds that running calls are given when it stops.
            services: adds the service's own gRPC services to the server, to share its port.

        Raises EndpointTaken, inside `async with`, when the address cannot be listened on.
        """
        from trypact.serving import Serving

        return Serving(
            self,
            listen,
            coordinator=coordinator,
            instance=instance,
            advertise=advertise,
            grace=grace,
            services=services,
        )

    def run(
        self,
        listen: str,
        *,
        coordinator: str | None = None,
        instance: str | None = None,
        advertise: str | None = None,
        grace: float = 5.0,
        loop_factory: Callable[[], AbstractEventLoop] | None = None,
    ) -> None:
        """Serve until SIGTERM or SIGINT, then stop gracefully; for a process's entry point.

        Arguments are those of `serve`; `loop_factory` makes another event loop than asyncio's own
        (`uvloop.new_event_loop`). Exits with one sentence if the address is taken.
        """
        from trypact.serving import run

        run(
            self.serve(
                listen,
                coordinator=coordinator,
                instance=instance,
                advertise=advertise,
                grace=grace,
            ),
            loop_factory,
        )

    def answer(self, arrived: Arrived) -> Answer:
        """Answer one call, in the calling thread.

        Raises NotServed, RetryLater, and what the fence and the handler raise.
        """
        call = arrived.fenced
        served = self._find(call)
        handler = served.handlers.get(call.operation)
        if handler is None:
            raise NotServed(f"a {call.kind} branch has no {call.operation}")

        def handle(connection: Any) -> bytes | PendingType:
            request = _decoded(arrived.payload, served.request)
            seen = Call(
                xid=call.xid,
                branch_id=call.branch_id,
                action=call.action,
                kind=call.kind,
                operation=call.operation,
                request=request,
                attempt=arrived.attempt,
                decision=arrived.decision,
                trace_parent=arrived.trace_parent,
            )
            result = handler(seen, connection)
            return PENDING if result is PENDING else _encoded(call, result)

        return self.fence.run(call, handle)

    def _find(self, call: FencedCall) -> Served:
        name, _, verb = call.action.partition(".")
        served = self._served.get((verb, call.kind)) if name == self.name else None
        if served is None:
            raise NotServed(
                f"{self.name} serves no {call.kind} branches of {call.action!r}; it serves: "
                f"{_listed(self._served)}"
            )
        return served


def _require_handler(action: str, name: str, handler: Any) -> None:
    """Raise TypeError for what cannot be called as a handler is, before a call finds out."""
    if not callable(handler) or isinstance(handler, type):
        raise TypeError(f"{action}: {name} is no function; {_ALLOWED}")
    forms = (handler, type(handler).__call__)  # the second for an object that can be called
    if any(inspect.iscoroutinefunction(f) or inspect.isasyncgenfunction(f) for f in forms):
        raise TypeError(
            f"{action}: {name} is async, and handlers run on a thread of their own; {_ALLOWED}"
        )
    if any(inspect.isgeneratorfunction(form) for form in forms):
        raise TypeError(f"{action}: {name} is a generator, which would never run; {_ALLOWED}")
    try:
        signature = inspect.signature(handler)
    except (TypeError, ValueError):
        return  # one of C, which does not tell
    try:
        signature.bind(None, None)
    except TypeError:
        raise TypeError(f"{action}: {name} takes {signature}; {_ALLOWED}") from None


def _decoded(payload: bytes, request: Any) -> Any:
    try:
        return decode(payload, request)
    except PayloadError as error:
        # The initiator's mistake is a business no: asking again would change nothing.
        raise Refuse(f"invalid payload: {error}") from error


def _encoded(call: FencedCall, result: Any) -> bytes:
    data = encode(result)
    if len(data) > RESULT_BYTES_MAX:
        raise ResultTooLarge(
            f"the result of {call.action} {call.operation} is {len(data)} bytes long; allowed: at "
            f"most {RESULT_BYTES_MAX}"
        )
    return data


def _listed(served: Iterable[tuple[str, Kind]]) -> str:
    return ", ".join(f"{verb} ({kind})" for verb, kind in sorted(served)) or "nothing"
