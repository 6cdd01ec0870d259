"""What a service offers to transactions: actions, each served by handlers behind a fence.

    inventory = trypact.Participant("inventory", fence=SqlAlchemyFence(engine))

    @inventory.tcc("reserve")
    class Reserves:
        def try_(self, call: Call[Reserve], connection: Connection) -> Held: ...
        def confirm(self, call: Call[Reserve], connection: Connection) -> None: ...
        def cancel(self, call: Call[Reserve], connection: Connection) -> None: ...

    inventory.run("127.0.0.1:7010", coordinator="127.0.0.1:7000")

A handler is an ordinary function. It is called on a thread with the decoded request and the open
connection of the fence's local transaction: what it writes there is committed with the fence's
row, or not at all. It must not commit or roll back itself. It returns its result (Try, message,
notice), returns PENDING, or raises Refuse or RetryLater; any other exception undoes what
it wrote, and the coordinator asks again. Behind an asynchronous fence handlers are `async def`
instead, and run on the event loop.

Calls that arrive together share one local transaction, each handler behind a savepoint of its own,
unless the action says `batch=False`. A handler marked `@many` is asked for all of them at once.
"""

import re
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast, overload

from trypact._declarations import SagaDecorator, SagaFunctions, TccDecorator, declare
from trypact._handlers import Handler, HandlerT, Handling
from trypact._signatures import is_async, name_of, request_of, require_handler
from trypact.action import Action
from trypact.call import Answer, Arrived, FencedCall
from trypact.fence.collector import OLDER_THAN_S, require_age
from trypact.fence.contract import AsyncFence, BatchFence, Fence, FinishingFence, Verdict
from trypact.kinds import Kind, Operation
from trypact.limits import TOPIC_BYTES_MAX
from trypact.observed import Observer
from trypact.reporting import AsyncReporter, Reporter

if TYPE_CHECKING:
    from trypact.client import Client
    from trypact.serving import AddServices, Serving
    from trypact.sync_client import SyncClient

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_WORD = "a lower-case word of a to z, 0 to 9 and _, at most 64 characters, a letter first"
_TOPIC = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")

# Calls that share a local transaction by default; more gain little and are undone together.
BATCH_CALLS_MAX = 64


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
        fence: what keeps its calls idempotent, in the service's own database. With one whose
            `run` is a coroutine (`AsyncFence`) handlers are `async def`.
        workers: how many local transactions may run at once, each on a thread or in a task of
            its own.
        batches: how many of them may be batches. More than one only on PostgreSQL, and only if
            all handlers lock the rows they share in one order, or else batches deadlock.
        batch_calls_max: how many calls may share a local transaction; 1 for none.
        observer: what surrounds its handlers, for example `trypact.otel.HandlerSpans()`.
        collect_older_than: where it is served with a coordinator, its fence rows go about hourly
            once they have been left alone for that many seconds and the coordinator says that no
            call can come for them; see `trypact.fence.Collector`. None keeps them all.

    Raises TypeError for what is no fence, and ValueError for a name that is no lower-case word, for
    numbers below 1, and for a `collect_older_than` below 60 s.

        >>> from trypact.fence import SqlAlchemyFence, sqlite_engine
        >>> gate = Participant("gate", fence=SqlAlchemyFence(sqlite_engine("gate.db")))
        >>> @gate.message("open")
        ... def open_gate(call, connection):
        ...     print("opened for", call.request["name"])
        >>> gate.actions["open"] == (Kind.MESSAGE,)
        True
    """

    def __init__(
        self,
        name: str,
        *,
        fence: Fence | AsyncFence,
        workers: int = 8,
        batches: int = 1,
        batch_calls_max: int = BATCH_CALLS_MAX,
        observer: Observer | None = None,
        collect_older_than: float | None = OLDER_THAN_S,
    ) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no participant's name; allowed: {_WORD}")
        if isinstance(fence, type) or not callable(getattr(fence, "run", None)):
            raise TypeError(
                f"fence: is a {type(fence).__name__}; allowed: a fence, for example "
                "trypact.fence.SqlAlchemyFence(engine)"
            )
        numbers = {"workers": workers, "batches": batches, "batch_calls_max": batch_calls_max}
        for what, number in numbers.items():
            if type(number) is not int or number < 1:
                raise ValueError(f"{what}: {number!r}; allowed: a whole number, at least 1")
        if collect_older_than is not None:
            require_age(collect_older_than, "collect_older_than")
        self.name = name
        self.fence = fence
        self.workers = workers
        self.batches = batches
        self.batch_calls_max = batch_calls_max
        self.collect_older_than = collect_older_than
        # Whether its handlers are awaited on the event loop.
        self.awaits = is_async(fence.run)
        batching = not self.awaits and isinstance(fence, BatchFence)
        self._batching = batching and batch_calls_max > 1
        # Where only one transaction can write, who overtook a slow one would wait all the same.
        self.batches_overtake = isinstance(fence, BatchFence) and not fence.one_writer
        self._observer = observer
        self._served: dict[tuple[str, Kind], Served] = {}
        # The verbs that take the messages to topics.
        self._topics: dict[str, str] = {}
        # Actions made of functions, of which some may still be missing.
        self._functions: list[SagaFunctions] = []

    # ------------------------------------------------------------ decorators

    def tcc(
        self, action: str | Action[Any, Any], *, request: Any = None, batch: bool = True
    ) -> TccDecorator:
        """Serve tcc branches of an action with a class of `try_`, `confirm` and `cancel`.

        Args:
            action: an Action, or the second half of its name: "reserve".
            request: what payloads are decoded to: a dataclass, `dict`, `bytes`. If not given it is
                the Action's own, or what the handlers say: `Reserve` of a `call: Call[Reserve]`;
                where they say nothing, whatever JSON says, and None for nothing.
            batch: whether its calls may share a local transaction with other calls. False for
                handlers that call other services, or take long: each then runs by itself.

        The class is made once, without arguments; or pass an instance: `p.tcc("reserve")(made)`.
        A function is the action's Try; its `confirm` and `cancel` are decorators for the others.

        Raises TypeError for handlers that cannot be called with (call, connection) or say that they
        take something else, that are async where the fence is not or the other way round, or whose
        requests differ, and for methods whose names are nearly those of handlers; ValueError for
        a name of another form and for an action that is served already.
        """
        return cast("TccDecorator", self._declared(Kind.TCC, action, request, batch))

    def saga(
        self, action: str | Action[Any, Any], *, request: Any = None, batch: bool = True
    ) -> SagaDecorator:
        """Serve saga steps of an action with a class of `try_` and `cancel`; see `tcc`."""
        return cast("SagaDecorator", self._declared(Kind.SAGA, action, request, batch))

    def message(
        self, action: str | Action[Any, Any], *, request: Any = None, batch: bool = True
    ) -> Callable[[HandlerT], HandlerT]:
        """Serve messages of an action with a function of (call, connection); see `tcc`."""
        return self._declared(Kind.MESSAGE, action, request, batch)

    def notice(
        self, action: str | Action[Any, Any], *, request: Any = None, batch: bool = True
    ) -> Callable[[HandlerT], HandlerT]:
        """Serve notices of an action with a function of (call, connection); see `tcc`."""
        return self._declared(Kind.NOTICE, action, request, batch)

    def subscribe(
        self, *topics: str, verb: str = "", request: Any = None, batch: bool = True
    ) -> Callable[[HandlerT], HandlerT]:
        """Serve messages to topics with a function of (call, connection).

            @points.subscribe("order.paid")
            def add_points(call: Call[Paid], connection: Connection) -> None: ...

        It gets the messages of every transaction that begins once the coordinator has registered
        it, and is an action like others: "points.add_points".

        Args:
            topics: lower-case words with dots between them, at most 128 characters.
            verb: the second half of the action's name; the function's own name if not given.
            request: see `tcc`.
            batch: see `tcc`.

        Raises what `tcc` does, and ValueError for a topic of another form, or that another action
        of this participant takes.
        """
        for topic in topics:
            if not _TOPIC.fullmatch(topic) or len(topic) > TOPIC_BYTES_MAX:
                raise ValueError(
                    f"{topic!r} is no topic; allowed: lower-case words with dots between them, at "
                    f"most {TOPIC_BYTES_MAX} characters"
                )
            if topic in self._topics or topics.count(topic) > 1:
                raise ValueError(f"{self.name} takes the messages to {topic} already")
        if not topics:
            raise ValueError("subscribe names no topic; allowed: at least one")

        def declared(target: HandlerT) -> HandlerT:
            name = verb or name_of(target).rpartition(".")[2]
            served = self._declared(Kind.MESSAGE, name, request, batch)(target)
            self._topics.update(dict.fromkeys(topics, name))
            return cast("HandlerT", served)

        return declared

    def _declared(
        self, kind: Kind, action: str | Action[Any, Any], request: Any, batch: bool
    ) -> Callable[[Any], Any]:
        """Return what decorates the handlers of an action."""
        if isinstance(action, Action):
            if action.participant != self.name or request is not None:
                raise ValueError(
                    f"{action.name} is an Action of {action.participant} with a request of its "
                    f"own; allowed: an Action of {self.name}, and no request beside it"
                )
            verb, request = action.verb, action.request
        else:
            verb = action
        if not isinstance(verb, str):
            raise TypeError(
                f"an action's name is said first: @{self.name}.{kind}('reserve'); it is {verb!r}"
            )
        if not _NAME.fullmatch(verb):
            raise ValueError(f"{verb!r} is no action's verb; allowed: {_WORD}")
        name = f"{self.name}.{verb}"
        require = partial(require_handler, name, fence=self.fence, awaits=self.awaits)
        serve = partial(self._serve, verb, kind, request, batch)

        def declared(target: Any) -> Any:
            if (verb, kind) in self._served:
                raise ValueError(f"{name} has a handler for {kind} branches already")
            served = declare(name, kind, target, require, serve)
            if isinstance(served, SagaFunctions):
                self._functions.append(served)
            return served

        return declared

    def _serve(
        self,
        verb: str,
        kind: Kind,
        request: Any,
        batch: bool,
        handlers: Mapping[Operation, Handler],
    ) -> None:
        read = request_of(f"{self.name}.{verb}", request, list(handlers.values()))
        handlings = {each: Handling(read, handlers[each], self._observer) for each in handlers}
        self._served[verb, kind] = Served(handlings, batch)

    # ------------------------------------------------------------ serving

    @property
    def actions(self) -> Mapping[str, tuple[Kind, ...]]:
        """The verbs it serves, each with its kinds.

        Raises TypeError for an action made of functions that lacks one.
        """
        for functions in self._functions:
            if functions.missing:
                raise TypeError(
                    f"{functions.action} has no {functions.missing}; allowed: a function for each "
                    f"operation of a {functions.kind} branch"
                )
        found: dict[str, tuple[Kind, ...]] = {}
        for verb, kind in self._served:
            found[verb] = (*found.get(verb, ()), kind)
        return found

    @property
    def topics(self) -> Mapping[str, str]:
        """The topics it has subscribed to, each with the verb that takes its messages."""
        return self._topics

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

        Raises TypeError for an action made of functions that lacks one, ValueError where there is
        no action at all, InvalidRequest for what is no address, and, inside `async with`,
        EndpointTaken when the address cannot be listened on.
        """
        from trypact.serving import Serving

        # An action that is not complete is found out here, not when it is called.
        if not self.actions:
            raise ValueError(
                f"{self.name} serves nothing; allowed: at least one action, declared before it is "
                "served"
            )
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
        services: "AddServices | None" = None,
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
                services=services,
            ),
            loop_factory,
        )

    @overload
    def reporter(self, client: "Client") -> AsyncReporter: ...
    @overload
    def reporter(self, client: "SyncClient") -> Reporter: ...
    def reporter(self, client: "Client | SyncClient") -> AsyncReporter | Reporter:
        """Return what completes the operations that its handlers answered with PENDING.

        It needs not be the process that serves: whoever has the fence's database can complete. The
        client says who waits: a `Client` is for code on an event loop, a `SyncClient` for other.

        Raises TypeError for a fence that cannot complete, and for an async one without a loop.
        """
        from trypact.sync_client import SyncClient

        fence = type(self.fence).__name__
        if not isinstance(self.fence, FinishingFence):
            raise TypeError(f"{fence} cannot complete what is PENDING; allowed: one with `finish`")
        if not isinstance(client, SyncClient):
            return AsyncReporter(self.fence, client)
        if self.awaits:
            raise TypeError(f"{fence} is awaited, and a SyncClient is not; allowed: a Client")
        return Reporter(self.fence, client)

    def answer(self, arrived: Arrived) -> Answer:
        """Answer one call, in the calling thread.

        Raises NotServed, RetryLater, and what the fence and the handler raise.
        """
        if self.awaits:
            raise TypeError(f"{type(self.fence).__name__} is awaited; use `answer_async`")
        asked = self._handling(arrived.fenced).asked(arrived)
        return cast("Fence", self.fence).run(asked.call, asked.handler)

    async def answer_async(self, arrived: Arrived) -> Answer:
        """Answer one call, where handlers are awaited; raises what `answer` does."""
        if not self.awaits:
            raise TypeError(f"{type(self.fence).__name__} is not awaited; use `answer`")
        handler = self._handling(arrived.fenced).awaited(arrived)
        return await cast("AsyncFence", self.fence).run(arrived.fenced, handler)

    def may_be_batched(self, arrived: Arrived) -> bool:
        """Whether a call may share a local transaction with others."""
        if not self._batching:
            return False
        call = arrived.fenced
        served = self._found(call)
        return served is not None and served.batch and call.operation in served.handlings

    def answer_many(self, arrived: Sequence[Arrived]) -> Sequence[Verdict]:
        """Answer calls that may be batched, in the calling thread; see `BatchFence.run_many`."""
        if self.awaits or not isinstance(self.fence, BatchFence):
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
