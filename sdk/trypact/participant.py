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
notice), returns PENDING, or raises Refuse or RetryLater; any other exception undoes what
it wrote, and the coordinator asks again.

Calls that arrive together share one local transaction, each handler behind a savepoint of its own,
unless the action says `batch=False`. A handler marked `@many` is asked for all of them at once.
"""

import re
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from trypact._handlers import Handler, HandlerT, Handling, require_handler
from trypact.call import Answer, Arrived, FencedCall
from trypact.fence.contract import BatchFence, Fence, Verdict
from trypact.kinds import Kind, Operation

if TYPE_CHECKING:
    from trypact.serving import AddServices, Serving

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")

# Calls that share a local transaction by default; more gain little and are undone together.
BATCH_CALLS_MAX = 64


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


TccT = TypeVar("TccT", bound="TccHandlers | type[TccHandlers]")
SagaT = TypeVar("SagaT", bound="SagaHandlers | type[SagaHandlers]")


class Served(NamedTuple):
    """What serves one kind of one action."""

    handlings: Mapping[Operation, Handling]
    # Whether its calls may share a local transaction with others.
    batch: bool


class NotServed(LookupError):
    """The participant has no handler for this; the message says what it has."""


class Participant:
    """A participant and its actions.

    Args:
        name: the first half of its actions: "inventory".
        fence: what keeps its calls idempotent, in the service's own database.
        workers: how many local transactions may run at once, each on a thread of its own.
        batches: how many of them may be batches. More than one only on PostgreSQL, and only if
            all handlers lock the rows they share in one order, or else batches deadlock.
        batch_calls_max: how many calls may share a local transaction; 1 for none.

    Raises ValueError for a name that is no lower-case word, and for numbers below 1.
    """

    def __init__(
        self,
        name: str,
        *,
        fence: Fence,
        workers: int = 8,
        batches: int = 1,
        batch_calls_max: int = BATCH_CALLS_MAX,
    ) -> None:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no participant's name; allowed: a lower-case word")
        numbers = {"workers": workers, "batches": batches, "batch_calls_max": batch_calls_max}
        for what, number in numbers.items():
            if number < 1:
                raise ValueError(f"{what}: {number}; allowed: at least 1")
        self.name = name
        self.fence = fence
        self.workers = workers
        self.batches = batches
        self.batch_calls_max = batch_calls_max
        self._batching = batch_calls_max > 1 and isinstance(fence, BatchFence)
        # Where only one transaction can write, who overtook a slow one would wait all the same.
        self.batches_overtake = isinstance(fence, BatchFence) and not fence.one_writer
        self._served: dict[tuple[str, Kind], Served] = {}

    # ------------------------------------------------------------ decorators

    def tcc(self, verb: str, *, request: Any = dict, batch: bool = True) -> Callable[[TccT], TccT]:
        """Serve tcc branches of an action with a class of `try_`, `confirm` and `cancel`.

        Args:
            verb: the second half of the action: "reserve".
            request: what payloads are decoded to: a dataclass, `dict`, `bytes`.
            batch: whether its calls may share a local transaction with other calls. False for
                handlers that call other services, or take long: each then runs by itself.

        The class is made once, without arguments; or pass an instance: `p.tcc("reserve")(made)`.
        Raises TypeError for handlers that cannot be called with (call, connection), or are async.
        """

        def served(target: TccT) -> TccT:
            names = {
                Operation.TRY: "try_",
                Operation.CONFIRM: "confirm",
                Operation.CANCEL: "cancel",
            }
            self._serve(verb, Kind.TCC, request, batch, self._methods(verb, target, names))
            return target

        return served

    def saga(
        self, verb: str, *, request: Any = dict, batch: bool = True
    ) -> Callable[[SagaT], SagaT]:
        """Serve saga steps of an action with a class of `try_` and `cancel`; see `tcc`."""

        def served(target: SagaT) -> SagaT:
            names = {Operation.TRY: "try_", Operation.CANCEL: "cancel"}
            self._serve(verb, Kind.SAGA, request, batch, self._methods(verb, target, names))
            return target

        return served

    def message(
        self, verb: str, *, request: Any = dict, batch: bool = True
    ) -> Callable[[HandlerT], HandlerT]:
        """Serve messages of an action with a function of (call, connection); see `tcc`."""

        def served(target: HandlerT) -> HandlerT:
            self._serve(verb, Kind.MESSAGE, request, batch, {Operation.DELIVER: target})
            return target

        return served

    def notice(
        self, verb: str, *, request: Any = dict, batch: bool = True
    ) -> Callable[[HandlerT], HandlerT]:
        """Serve notices of an action with a function of (call, connection); see `tcc`."""

        def served(target: HandlerT) -> HandlerT:
            self._serve(verb, Kind.NOTICE, request, batch, {Operation.DELIVER: target})
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
        self,
        verb: str,
        kind: Kind,
        request: Any,
        batch: bool,
        handlers: Mapping[Operation, Handler],
    ) -> None:
        if not _NAME.fullmatch(verb):
            raise ValueError(f"{verb!r} is no action's verb; allowed: a lower-case word")
        if (verb, kind) in self._served:
            raise ValueError(f"{self.name}.{verb} has a handler for {kind} branches already")
        for handler in handlers.values():
            name = getattr(handler, "__qualname__", None) or type(handler).__name__
            require_handler(f"{self.name}.{verb}", name, handler)
        handlings = {each: Handling(request, handlers[each]) for each in handlers}
        self._served[verb, kind] = Served(handlings, batch)

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
        asked = self._handling(arrived.fenced).asked(arrived)
        return self.fence.run(asked.call, asked.handler)

    def may_be_batched(self, arrived: Arrived) -> bool:
        """Whether a call may share a local transaction with others."""
        if not self._batching:
            return False
        call = arrived.fenced
        served = self._found(call)
        return served is not None and served.batch and call.operation in served.handlings

    def answer_many(self, arrived: Sequence[Arrived]) -> Sequence[Verdict]:
        """Answer calls that may be batched, in the calling thread; see `BatchFence.run_many`."""
        if not isinstance(self.fence, BatchFence):
            raise TypeError(f"{type(self.fence).__name__} answers one call at a time")
        return self.fence.run_many([self._handling(one.fenced).asked(one) for one in arrived])

    def _found(self, call: FencedCall) -> Served | None:
        name, _, verb = call.action.partition(".")
        return self._served.get((verb, call.kind)) if name == self.name else None

    def _handling(self, call: FencedCall) -> Handling:
        served = self._found(call)
        if served is None:
            raise NotServed(
                f"{self.name} serves no {call.kind} branches of {call.action!r}; it serves: "
                f"{_listed(self._served)}"
            )
        handling = served.handlings.get(call.operation)
        if handling is None:
            raise NotServed(f"a {call.kind} branch has no {call.operation}")
        return handling


def _listed(served: Iterable[tuple[str, Kind]]) -> str:
    return ", ".join(f"{verb} ({kind})" for verb, kind in sorted(served)) or "nothing"
