"""A coordinator, its participants and its clients in one process, on virtual time.

    async with trypact.testing.Environment([inventory, balance]) as env:
        env.faults("balance.pay").lose_reply()
        outcome = await env.execute("order.submit", [tcc("inventory.reserve", ...), ...])
        await env.advance(minutes=30)
        await assert_atomic(env)

Everything of the coordinator is real but for its journal, which is in memory, and the wire. So are
the participants: their handlers, their threads, their fences and databases. No socket is opened,
and nothing sleeps. An environment is a `trypact.Client` too, so code under test can be given it.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar

import structlog
from trypact_coordinator.core.errors import CoordinatorError
from trypact_coordinator.core.events import Answer
from trypact_coordinator.core.outcome import Call
from trypact_coordinator.core.policy import Policy
from trypact_coordinator.core.transaction import SETTLED, Transaction
from trypact_coordinator.journal.memory import MemoryStore
from trypact_coordinator.ports import Due, Verdict, Write
from trypact_coordinator.runtime.failpoints import Failpoint
from trypact_coordinator.runtime.settings import RuntimeSettings
from trypact_coordinator.server import errors as wire_errors
from trypact_coordinator.server.initiator import TransactionService
from trypact_coordinator.server.registry import RegistryService

from trypact import clock
from trypact._declarations import METHODS
from trypact._exchange import PATIENCE_S, Conversation, Exchange, Failure, Send, failure_of
from trypact.client import Client
from trypact.errors import CoordinatorUnavailable, InvalidRequest
from trypact.kinds import Operation
from trypact.participant import Participant
from trypact.registration import registration_request
from trypact.testing.endpoint import Endpoint
from trypact.testing.faults import Script, Scripts
from trypact.testing.history import History
from trypact.testing.hosted import Hosted
from trypact.testing.island import Island
from trypact.testing.mortal import Died, MortalCoordinator, MortalJournal

ResultT = TypeVar("ResultT")

_FOR_EVER_MS = 1 << 40
# An instant after all others.
_NEVER_US = 1 << 62
# What messages and notices are asked for.
DELIVERED = (Operation.DELIVER,)
POLICY = Policy()
SETTINGS = RuntimeSettings(
    # Everything is in memory, so that timers come to the microsecond, and a sweep finds nothing.
    evict_after_ms=_FOR_EVER_MS,
    sweep_every_ms=3_600_000,
    retention_ms=_FOR_EVER_MS,
    lapse_after_ms=_FOR_EVER_MS,
)


class Environment(Client):
    """A coordinator in this process, and a client of it; use it with `async with`.

    Args:
        participants: who takes part; each is registered.
        seed: orders what is ready at once, where nothing else does.
        patience: virtual seconds each method of the client may take.

    A handler's own waiting is real: virtual time stands still while one runs, and they run one at
    a time. What happens when two run at once is for `conformance` to try. A coroutine may use the
    environment itself, and then time goes on in which it waits. Raises InvalidRequest for what is
    no list of participants, and for two of one name.

    >>> async with Environment([inventory]) as env:
    ...     outcome = await env.execute("order", [tcc("inventory.reserve", {"pieces": 1})])
    ...     await env.advance(minutes=30)
    >>> outcome.state
    <State.CONFIRMED: 'confirmed'>
    """

    def __init__(
        self,
        participants: Iterable[Participant],
        *,
        seed: int = 0,
        patience: float = PATIENCE_S,
    ) -> None:
        super().__init__("inproc:environment", patience=patience)
        self._participants: dict[str, Participant] = {}
        if isinstance(participants, Participant):
            raise InvalidRequest("participants: is one Participant; allowed: a list of them")
        for each in participants:
            if not isinstance(each, Participant):
                kind = type(each).__name__
                raise InvalidRequest(f"participants: holds a {kind}; allowed: Participants")
            if self._participants.setdefault(each.name, each) is not each:
                raise InvalidRequest(
                    f"participants: two are called {each.name!r}; allowed: one of each name"
                )
        self._seed = seed
        self._scripts = Scripts()
        self.history = History()
        self._endpoints: dict[str, Endpoint] = {}
        # The dead too: what they still wait for must not be swept away under them.
        self._processes: list[MortalCoordinator] = []
        self._store = MemoryStore(self._now_us)
        self._island: Island
        self._process: MortalCoordinator
        self._open = False
        self._quiet = contextlib.ExitStack()

    # ------------------------------------------------------------ life

    async def __aenter__(self) -> Self:
        if self._processes:
            raise InvalidRequest("this environment was opened before; make another")
        self._quiet.enter_context(_quiet_coordinator())
        self._island = island = Island(self._seed, self._at_each_event)
        self._began_us = clock.now_us()
        self._exchange = Exchange(
            self.endpoint, self._exchange.patience, island.loop.time, lambda: 0.5
        )
        for name, participant in self._participants.items():
            self._endpoints[name] = Endpoint(
                Hosted(participant), island, self._now_us, self._scripts, self.history
            )
        self._open = True
        try:
            await island.ask(self._start())
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End everything; what the journal held is gone with it."""
        await super().close()
        if not self._open:
            return
        self._open = False
        await self._island.close()
        for endpoint in self._endpoints.values():
            await endpoint.close()
        self._quiet.close()

    async def _start(self) -> None:
        """Start a coordinator over what the store holds; runs in there, as all of it does."""
        self._process = process = MortalCoordinator(
            f"coordinator {len(self._processes) + 1}",
            self._island.loop,
            _NotedJournal(self._store, self._recorded),
            dict.fromkeys(self._endpoints, self._serve),
            POLICY,
            SETTINGS,
            _unsaid,
        )
        self._processes.append(process)
        self.note(f"{process.name} starts")
        process.died.add_done_callback(lambda _: self.note(f"{process.name} is dead"))
        with contextlib.suppress(Died):
            await process.start()
            registry = RegistryService(process.coordinator)
            for name, served in self._participants.items():
                request = registration_request(name, name, name, served.actions, served.topics)
                try:
                    await process.call(registry.Register(request, None))
                except CoordinatorError as error:
                    raise InvalidRequest(f"participant {name} is refused: {error}") from error

    def note(self, text: str) -> None:
        """Write a line into the trace."""
        self.history.note(self._island.loop.us, text)

    # ------------------------------------------------------------ time

    @property
    def elapsed(self) -> float:
        """The virtual seconds since it began."""
        return self._island.loop.time()

    async def advance(
        self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0
    ) -> None:
        """Let that much virtual time pass, and everything happen that it brings."""
        whole = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
        if not 0 <= whole < float("inf"):
            raise InvalidRequest(f"advance: is {whole} s; allowed: at least 0")
        self._require_open()
        await self._island.ask(asyncio.sleep(whole))
        await self._island.still()

    async def settle(self, *, hours: float = 24) -> Sequence[Transaction]:
        """Let virtual time pass until nothing is left to do, deliveries included.

        Returns the transactions that are not done after that many hours; none is the rule.
        Raises CoordinatorUnavailable while the coordinator is down.
        """
        self._require_running()
        return await self._island.ask(self._settle(hours * 3600))

    async def _settle(self, seconds: float) -> Sequence[Transaction]:
        gives_up_at = self.elapsed + seconds
        pause = 0.05
        while (unfinished := self.unfinished()) and self.elapsed < gives_up_at:
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 60.0)
        return unfinished

    def _now_us(self) -> int:
        return self._began_us + self._island.loop.us

    def _at_each_event(self) -> None:
        """Be the place between any two events; a simulation crashes here."""

    # ------------------------------------------------------------ what can go wrong

    def faults(self, action: str, operation: Operation | str | None = None) -> Script:
        """Return the script of what goes wrong with an action's calls; it can be added to.

        Args:
            action: "inventory.reserve".
            operation: "try", "confirm", "cancel" or "deliver"; any of them if not given. Its own
                script goes first.
        """
        served = {
            f"{name}.{verb}": kinds
            for name, participant in self._participants.items()
            for verb, kinds in participant.actions.items()
        }
        if action not in served:
            raise InvalidRequest(f"action: {action!r} is not served; allowed: {', '.join(served)}")
        if operation is None:
            return self._scripts.of(action, None)
        asked = [each for kind in served[action] for each in METHODS.get(kind, DELIVERED)]
        if operation not in asked:
            raise InvalidRequest(
                f"operation: nobody asks {action} for {operation!r}; allowed: {', '.join(asked)}"
            )
        return self._scripts.of(action, Operation(operation))

    def heal(self) -> None:
        """Take all fault scripts away."""
        self._scripts.clear()

    def crash(self) -> None:
        """Kill the coordinator here and now, as `kill -9` would; see `restart`."""
        self._require_running()
        self._process.kill("crash")

    def crash_at(self, failpoint: str, *, visit: int = 1) -> None:
        """Kill the coordinator when it comes to a named place: "after-decision".

        Args:
            failpoint: before- or after- begin, pivot, decision or finish.
            visit: the first transaction that comes there, the second, and so on.
        """
        names = [each.value for each in Failpoint]
        if failpoint not in names:
            raise InvalidRequest(f"failpoint: is {failpoint!r}; allowed: {', '.join(names)}")
        if visit < 1:
            raise InvalidRequest(f"visit: is {visit}; allowed: at least 1")
        self._require_running()
        self._process.failpoints.arm(f"{failpoint}:{visit}")
        self.note(f"{self._process.name} is to die {failpoint}")

    async def restart(self) -> None:
        """Start the coordinator again over what was durable; kills it first if it runs."""
        self._require_open()
        if self._process.alive:
            self.crash()
        self._store.crash()
        await self._island.ask(self._start())

    @property
    def running(self) -> bool:
        """Whether the coordinator is alive."""
        return self._process.alive

    def _require_open(self) -> None:
        if not self._open:
            raise CoordinatorUnavailable(
                "this environment is not open; use it inside of its `async with` block"
            )

    def _require_running(self) -> None:
        self._require_open()
        if not self.running:
            raise CoordinatorUnavailable(
                "the coordinator of this environment is dead; start it with env.restart()"
            )

    def _recorded(self, transaction: Transaction, before: Transaction | None) -> None:
        """Note what a record that is durable now has added."""
        for entry in transaction.timeline[len(before.timeline) if before else 0 :]:
            what = f"{entry.event} {entry.branch_id}".rstrip()
            self.history.note(self._island.loop.us, f"  journal: {what}", transaction.xid)

    async def _serve(self, call: Call) -> Answer:
        return await self._endpoints[call.branch.participant](call)

    # ------------------------------------------------------------ what became of it

    def transactions(self) -> Sequence[Transaction]:
        """Return all transactions, as the journal has them, in the order of their xids."""
        return [held[0] for _, held in sorted(self._store.transactions.items())]

    def unfinished(self) -> Sequence[Transaction]:
        """Return those with something left to do."""
        return [
            tx
            for tx in self.transactions()
            if not tx.settled or any(branch.state not in SETTLED for branch in tx.branches)
        ]

    def timeline(self, xid: str | None = None) -> str:
        """Draw what happened to a transaction, or to all of them, for a reader."""
        return "\n\n".join(
            self.history.timeline(tx) for tx in self.transactions() if xid in (None, tx.xid)
        )

    # ------------------------------------------------------------ the client's side of the wire

    async def _drive(self, conversation: Conversation[ResultT]) -> ResultT:
        self._require_open()
        return await self._island.ask(super()._drive(conversation))

    async def _send(self, send: Send) -> Any:
        process = self._process
        service = TransactionService(process.coordinator)
        method = send.rpc.path.rpartition("/")[2]
        work: Coroutine[Any, Any, Any] = getattr(service, method)(send.request, None)
        try:
            async with asyncio.timeout(send.timeout):
                return await process.call(work)
        except Died:
            return Failure("UNAVAILABLE", "the coordinator is dead")
        except TimeoutError:
            return Failure("DEADLINE_EXCEEDED", f"no answer within {send.timeout:g} s")
        except CoordinatorError as error:
            status = wire_errors.status_of(error)
            details = ((wire_errors.DETAILS_KEY, status.SerializeToString()),)
            return failure_of(error.status, status.message, details)


class _NotedJournal(MortalJournal):
    """A journal that tells of each record that is durable, and shows timers before they come."""

    def __init__(
        self, store: MemoryStore, recorded: Callable[[Transaction, Transaction | None], None]
    ) -> None:
        super().__init__(store)
        self._recorded = recorded

    async def due(self, now: int, after: tuple[int, str], limit: int) -> Sequence[Due]:
        """See Journal. Whoever starts has all in memory, and need not look again and again."""
        return await super().due(_NEVER_US, after, limit)

    def _apply(self, write: Write) -> Verdict:
        transaction = write.record.transaction
        before, _ = self.store.transactions.get(transaction.xid, (None, 0))
        verdict = super()._apply(write)
        if verdict is Verdict.APPLIED:
            self._recorded(transaction, before)
        return verdict


def _unsaid(line: str) -> None:
    """Leave out what the trace says in its own words."""


@contextlib.contextmanager
def _quiet_coordinator() -> Iterator[None]:
    """Keep the coordinator's log from the output of the tests, unless they chose a log."""
    if structlog.is_configured():
        yield
        return
    structlog.configure(processors=[_drop])
    try:
        yield
    finally:
        structlog.reset_defaults()


def _drop(logger: object, name: str, event: object) -> NoReturn:
    """Keep a line out of the log; the trace tells what matters of it."""
    raise structlog.DropEvent
