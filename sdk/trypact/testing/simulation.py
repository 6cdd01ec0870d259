"""The simulator for participants of users: seeded faults everywhere, and then everything must end.

    def test_no_stock_is_ever_lost():
        simulate(make_participants, make_transaction, seeds=100, checks=[stock_is_conserved])

Each seed is a run of its own. First, transactions under faults: calls that are lost, late or come
twice, answers that are lost, a coordinator that is killed between any two events. Then everything
heals, and all that was ever begun must end wholly or not at all.
"""

import asyncio
import contextlib
import inspect
import operator
import os
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import NamedTuple

from trypact_coordinator.core.events import Answer, Retry, Unknown
from trypact_coordinator.core.outcome import Call

from trypact.branches import Branch
from trypact.errors import InvalidRequest, OutcomeUnknown, TransactionCancelled
from trypact.participant import Participant
from trypact.testing.atomicity import Check, assert_atomic
from trypact.testing.environment import Environment
from trypact.testing.faults import DIED
from trypact.testing.history import said_of

MakeParticipants = Callable[[], "Iterable[Participant] | Awaitable[Iterable[Participant]]"]
MakeTransaction = Callable[[random.Random], Sequence[Branch]]

# Replaces the seeds of every simulation in the process.
SEED_VARIABLE = "TRYPACT_SEED"
# How long after its time-out a straggler may still arrive, at most, in seconds.
_LATE_S = 15.0
# Virtual seconds after which the weather clears up by itself; in the wildest nothing would end.
_ROUGH_S = 120
# How often an initiator asks for an outcome that stays unknown.
_QUESTIONS = 10
# Virtual hours in which everything must end, once nothing goes wrong any more.
_HOURS = 2.0
_LOST = Unknown("UNAVAILABLE: the simulated network lost it")


class SimulationFailed(AssertionError):
    """A run did not end as it must; the message has the seed, the line that repeats it, and why.

    >>> def broken():
    ...     raise ValueError("no database")
    >>> try:
    ...     simulate(broken, lambda rng: [], seeds=[17])
    ... except SimulationFailed as failed:
    ...     print(failed.seed, failed)
    17 seed 17: no database...
    """

    def __init__(self, seed: int, why: BaseException) -> None:
        self.seed = seed
        super().__init__(f"seed {seed}: {why}\n\nrepeat it with: {_repro(seed)}")


class Simulated(NamedTuple):
    """What happened in all runs together; a simulation in which nothing happens proves nothing.

    >>> Simulated(20, confirmed=70, cancelled=30, crashes=12, faults=9, virtual_seconds=1e4).runs
    20
    """

    runs: int
    confirmed: int
    cancelled: int
    # Coordinators that were killed, and calls that something happened to.
    crashes: int
    faults: int
    virtual_seconds: float

    def plus(self, other: "Simulated") -> "Simulated":
        """Count both together."""
        return Simulated._make(map(operator.add, self, other))


def simulate(
    make_participants: MakeParticipants,
    make_transaction: MakeTransaction,
    *,
    seeds: int | Iterable[int] = 100,
    transactions: int = 5,
    checks: Sequence[Check] = (),
) -> Simulated:
    """Run seeded transactions of participants under faults, and require all or nothing.

    Args:
        make_participants: makes them anew for each run, over fresh databases; sync or async.
        make_transaction: makes the branches of one transaction; draws from nothing but the
            generator that it is given.
        seeds: how many runs, or which; the environment's TRYPACT_SEED goes first.
        transactions: of one run, all at once.
        checks: of the business, after each run; see `assert_atomic`.

    Raises SimulationFailed, whose message says how to repeat the run, and InvalidRequest when
    there would be nothing to run, or when it is called inside a running event loop.

    >>> def order(rng):
    ...     return [tcc("inventory.reserve", {"pieces": rng.randint(1, 20)})]
    >>> simulated = simulate(lambda: [inventory], order, seeds=[17])
    >>> simulated.confirmed + simulated.cancelled
    5
    """
    chosen = _chosen(seeds)
    if transactions < 1:
        raise InvalidRequest(f"transactions: is {transactions}; allowed: at least 1")
    with contextlib.suppress(RuntimeError):
        asyncio.get_running_loop()
        raise InvalidRequest(
            "simulate: each run has an event loop of its own; allowed: a call from a plain function"
        )
    return _simulate(make_participants, make_transaction, chosen, transactions, checks)


def _chosen(seeds: int | Iterable[int]) -> Sequence[int]:
    """Return the seeds to run; what the environment says goes first."""
    said = os.environ.get(SEED_VARIABLE)
    if said and not said.isdecimal():
        raise InvalidRequest(f"{SEED_VARIABLE}: is {said!r}; allowed: a whole number")
    if said:
        return [int(said)]
    chosen = range(1, seeds + 1) if isinstance(seeds, int) else list(seeds)
    if not chosen:
        raise InvalidRequest(f"seeds: is {seeds!r}, so nothing would run; allowed: at least one")
    return chosen


def _simulate(
    make_participants: MakeParticipants,
    make_transaction: MakeTransaction,
    seeds: Iterable[int],
    transactions: int,
    checks: Sequence[Check],
) -> Simulated:
    whole = Simulated(0, 0, 0, 0, 0, 0.0)
    for seed in seeds:
        try:
            run = asyncio.run(_run(seed, make_participants, make_transaction, transactions, checks))
        except Exception as error:  # whatever it is, its seed is what its reader needs
            raise SimulationFailed(seed, error) from error
        whole = whole.plus(run)
    return whole


async def _run(
    seed: int,
    make_participants: MakeParticipants,
    make_transaction: MakeTransaction,
    transactions: int,
    checks: Sequence[Check],
) -> Simulated:
    rng = random.Random(seed)  # noqa: S311 - drawn again by the same seed, so no secret
    made = make_participants()
    participants = await made if inspect.isawaitable(made) else made
    async with _Weather(participants, seed) as env:
        jobs = [make_transaction(rng) for _ in range(transactions)]
        clients = [
            _client(env, f"x{number}", branches, rng.choice((3.0, 20.0, 60.0)))
            for number, branches in enumerate(jobs)
        ]
        ended = await asyncio.gather(*clients)
        await env.clear_up()
        await assert_atomic(env, *checks, hours=_HOURS)
        return Simulated(
            1, ended.count("confirmed"), ended.count("cancelled"), env.crashes, env.faulty,
            env.elapsed,
        )  # fmt: skip


async def _client(env: Environment, xid: str, branches: Sequence[Branch], timeout: float) -> str:
    """Ask for a transaction again and again, as an initiator does that wants to know."""
    for _ in range(_QUESTIONS):
        with contextlib.suppress(OutcomeUnknown):
            try:
                await env.execute("simulated", branches, xid=xid, timeout=timeout)
            except TransactionCancelled:
                return "cancelled"
            return "confirmed"
    return "unknown"


class _Weather(Environment):
    """An environment in which things go wrong by the seed, until it clears up."""

    def __init__(self, participants: Iterable[Participant], seed: int) -> None:
        super().__init__(participants, seed=seed)
        self._rng = rng = random.Random(seed + 1)  # noqa: S311 - as above
        self._rough_until_s = _ROUGH_S
        # Some runs are gentle, some are wild.
        wild = rng.choice((0.0, 0.05, 0.15, 0.3))
        self._lost, self._late, self._twice, self._unheard, self._told_later, self._undone = (
            wild * rng.choice((0, 1, 1, 2)) for _ in range(6)
        )
        self._latency_s = rng.choice((0.0002, 0.002, 0.05))
        self._crashes_left = rng.choice((0, 0, 1, 2, 4))
        self._crash_at = 0
        self._stragglers: set[asyncio.Task[None]] = set()
        self._keeper: asyncio.Task[None] | None = None
        self.crashes = 0
        self.faulty = 0

    async def _start(self) -> None:
        await super()._start()
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep_alive())
        self._aim()

    async def _keep_alive(self) -> None:
        """Start a coordinator again that was killed, after a while."""
        while True:
            await self._process.died
            await self._pause(2.0)
            self._store.crash()
            await self._start()

    def _aim(self) -> None:
        """Choose the event before which the coordinator dies next."""
        self._crash_at = 0
        if self._rough and self._crashes_left:
            self._crashes_left -= 1
            self._crash_at = self._island.loop.events + self._rng.randint(1, 400)

    def _at_each_event(self) -> None:
        if self._crash_at and self._island.loop.events >= self._crash_at:
            self._crash_at = 0
            self.crashes += 1
            self._process.kill("by the seed")

    async def clear_up(self) -> None:
        """Let nothing go wrong from now on, and have a coordinator that lives."""
        self._rough_until_s = self._crash_at = 0
        while not self.running:
            await self.advance(seconds=1)

    async def _serve(self, call: Call) -> Answer:
        """Carry a call to its participant, and its answer back, as far as the weather lets it."""
        arrive = super()._serve
        if self._happens(self._twice, call, "comes twice"):
            self._straggle(call, arrive)
        if self._happens(self._lost, call, "is lost"):
            return _LOST
        if self._happens(self._late, call, "is late"):
            self._straggle(call, arrive)
            await self._pause(_LATE_S)
            return _LOST
        if self._happens(self._told_later, call, "is told to come later"):
            return Retry(self._rng.choice((0, 5, 300)))
        await self._pause(self._latency_s)
        if self._happens(self._undone, call, "is run, and its participant dies before the commit"):
            await self._endpoints[call.branch.participant].arrive(call, dies=True)
            return DIED
        answer = await arrive(call)
        await self._pause(self._latency_s)
        if self._happens(self._unheard, call, "has been answered in vain"):
            await self._pause(_LATE_S)
            return _LOST
        return answer

    def _straggle(self, call: Call, arrive: Callable[[Call], Awaitable[Answer]]) -> None:
        async def later() -> None:
            await self._pause(_LATE_S)
            await arrive(call)

        task = asyncio.create_task(later())
        self._stragglers.add(task)
        task.add_done_callback(self._stragglers.discard)

    @property
    def _rough(self) -> bool:
        return self.elapsed < self._rough_until_s

    def _happens(self, chance: float, call: Call, what: str) -> bool:
        happened = self._rough and self._rng.random() < chance
        if happened:
            self.faulty += 1
            self.history.note(self._island.loop.us, f"{said_of(call)} {what}", call.xid)
        return happened

    async def _pause(self, most_s: float) -> None:
        await asyncio.sleep(self._rng.uniform(0, most_s))


def _repro(seed: int) -> str:
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0]
    if test:
        return f"{SEED_VARIABLE}={seed} pytest '{test}'"
    return f"simulate(..., seeds=[{seed}]), or {SEED_VARIABLE}={seed} in the environment"
