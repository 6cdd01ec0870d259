"""One run of the simulation: everything real of the coordinator, everything else drawn from a seed.

Two phases. First, work under faults: clients, operators, crashes, a network that loses and repeats,
a journal that fails, clocks that jump; the oracle watches every effect. Then everything heals, and
whatever was ever begun must converge to its end.
"""

import asyncio
import hashlib
import random
from typing import Any

import structlog
from trypact.testing.mortal import Died, MortalCoordinator
from trypact.testing.virtual_loop import VirtualLoop
from trypact_coordinator.core.errors import (
    AlreadyCancelled,
    AlreadyConfirmed,
    CallerError,
    CoordinatorError,
    TryUnsettled,
    XidConflict,
)
from trypact_coordinator.core.events import (
    Ok,
    Refused,
    ResumeAct,
)
from trypact_coordinator.core.outcome import Reply
from trypact_coordinator.core.transaction import (
    SETTLED,
    BranchState,
    Decision,
    Kind,
    Operation,
    Transaction,
)
from trypact_coordinator.journal.memory import MemoryStore
from trypact_coordinator.ports import Instance
from trypact_coordinator.runtime.decided import Decided

from tests.sim.chaos import BUSY_US, Chaos
from tests.sim.faults import Faults, FaultyJournal, Network
from tests.sim.oracle import Oracle, OracleFailed
from tests.sim.participants import Held, Site
from tests.sim.process import POLICY, SETTINGS, Process
from tests.sim.workload import SITES, SUBSCRIBERS, TOPIC, Job, draw_jobs

EPOCH_US = 1_800_000_000_000_000
# Well over the longest slow retry, so that what is stuck is asked again within it.
CONVERGE_US = 60_000_000
HEALTHY_US = 20_000_000
KINDS = tuple(Kind)


class Simulation:
    """One seed's run. `run` raises OracleFailed when an invariant does not hold."""

    def __init__(self, seed: int, jobs: int = 7, wild: float | None = None) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.loop = VirtualLoop(random.Random(seed + 1), self._at_each_event)
        self.trace: list[tuple[int, str]] = []
        self.clock_offset = EPOCH_US
        self.store = MemoryStore(lambda: self.loop.us + self.clock_offset, f"seed-{seed}")
        self.oracle = Oracle(self.store, self.note, POLICY.notice_attempts)
        self.faults = Faults(self.rng, wild)
        self.sites = {name: Site(name, self.oracle) for name in SITES}
        self.networks = {
            name: Network(site, self.faults, self._report, POLICY.call_timeout_ms)
            for name, site in self.sites.items()
        }
        self.jobs = draw_jobs(self.rng, jobs, BUSY_US)
        self.poisoned = self.rng.choice((None, None, None, *SITES))
        self.processes: list[Process] = []
        self.started = 0
        # Crash before the event of this number, drawn as the run goes.
        self.crash_at_event = 0
        self.crash_at_commit = 0
        self.commits = 0
        self.crash_at_send = 0
        self.sends = 0
        self.exempt: set[str] = set()
        self.over = False
        self.main: asyncio.Task[None]

    # ------------------------------------------------------------ the run

    def run(self) -> str:
        """Run it; return the hash of everything that happened."""
        configured = structlog.get_config() if structlog.is_configured() else None
        quiet = structlog.make_filtering_bound_logger(50)
        structlog.configure(wrapper_class=quiet, processors=[_drop])
        asyncio.set_event_loop(self.loop)
        self.loop.set_exception_handler(self._unexpected)
        try:
            self.main = self.loop.create_task(self._main())
            self.loop.run_until_complete(self.main)
            return hashlib.sha256(repr(self.trace).encode()).hexdigest()
        finally:
            self.over = True
            self.loop.run_until_complete(self._end())
            asyncio.set_event_loop(None)
            self.loop.close()
            structlog.reset_defaults()
            if configured:
                structlog.configure(**configured)

    def note(self, line: str) -> None:
        """Write a line into the run's timeline."""
        self.trace.append((self.loop.us, line))

    async def _main(self) -> None:
        for site in SITES:
            topics = ((TOPIC, "do"),) if site in SUBSCRIBERS else ()
            row = Instance(site, "i1", site, (("do", KINDS),), EPOCH_US, topics=topics)
            self.store.registry[site, "i1"] = row
        chaos = asyncio.ensure_future(self._go_wrong())
        keeper = asyncio.ensure_future(self._keep_one_alive())
        collector = asyncio.ensure_future(self._collect())
        # Some ask twice: the same transaction, from two places at once.
        twins = [job for job in self.jobs if not job.spec.interactive][: self.rng.choice((0, 0, 1))]
        self.jobs += twins
        clients = [asyncio.ensure_future(self._client(job)) for job in self.jobs]
        await asyncio.sleep(BUSY_US / 1e6)
        await chaos
        self._heal()
        await self._converged(clients)
        collector.cancel()
        await self._all_is_over()
        keeper.cancel()
        self._check_at_rest()

    async def _go_wrong(self) -> None:
        await Chaos(self).unfold()

    async def _end(self) -> None:
        """Cancel whatever still waits, the dead included."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _unexpected(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, OracleFailed):
            self.oracle.failures.append(f"bug: {context['message']}: {error!r}")
            self.note(f"VIOLATED bug: {context['message']}: {error!r}")

    def _at_each_event(self) -> None:
        if self.over or self.main.done():
            return
        if self.oracle.failures:
            raise OracleFailed(self.oracle.failures[0])
        if self.crash_at_event and self.loop.events >= self.crash_at_event:
            self.crash_at_event = 0
            self._kill_one("between two events")
        if not self.loop.events % 16:
            self._check_bounds()

    # ------------------------------------------------------------ coordinators

    def _crash_at(self, journal: FaultyJournal, where: str) -> None:
        self.commits += 1
        if self.crash_at_commit and self.commits >= self.crash_at_commit and self.faults.on:
            for process in self.processes:
                if process.journal is journal and process.alive:
                    self.crash_at_commit = 0
                    process.kill(where)

    def _sent(self, process: MortalCoordinator) -> None:
        """A call has left; its process may die at once, before it hears anything."""
        self.sends += 1
        if self.crash_at_send and self.sends >= self.crash_at_send and self.faults.on:
            self.crash_at_send = 0
            self.loop.call_soon(process.kill, "after a send")

    def _kill_one(self, why: str) -> None:
        alive = [process for process in self.processes if process.alive]
        if alive and self.faults.on:
            self.rng.choice(alive).kill(why)

    async def start_process(self) -> None:
        self.store.crash()
        self.started += 1
        process = Process(
            f"c{self.started}",
            self.loop,
            FaultyJournal(self.oracle, self.faults, self._crash_at),
            self.networks,
            self.rng,
            self.note,
            self._sent,
        )
        self.processes.append(process)
        await process.start()

    async def _keep_one_alive(self) -> None:
        while True:
            if not any(process.alive for process in self.processes):
                await self.start_process()
            await self.faults.pause(self.rng.choice((10_000, 300_000, 1_500_000)))

    def process(self) -> Process:
        """The coordinator a client finds: mostly the newest, at times an older one that lives."""
        alive = [process for process in self.processes if process.alive]
        if not alive:
            raise Died
        return alive[-1] if self.rng.random() < 0.8 else self.rng.choice(alive)

    async def _report(self, xid: str, branch_id: str, answer: Ok | Refused) -> None:
        try:
            process = self.process()
            await process.call(process.coordinator.report(xid, branch_id, Operation.TRY, answer))
        except (Died, CoordinatorError) as error:
            self.note(f"report on {xid}/{branch_id} lost: {type(error).__name__}")

    def may_cancel(self, xid: str) -> None:
        self.oracle.decided_by.setdefault(xid, set()).add("cancel")

    def revive(self, site: Site) -> None:
        if not site.up:
            self.note(f"{site.name}: up")
            site.up = True

    def _heal(self) -> None:
        self.note("everything heals")
        self.faults.heal()
        self.crash_at_event = self.crash_at_commit = self.crash_at_send = 0
        for site in self.sites.values():
            self.revive(site)

    # ------------------------------------------------------------ clients

    async def _client(self, job: Job) -> None:
        await asyncio.sleep(job.starts_us / 1e6)
        ask = self._interact if job.spec.interactive else self._execute
        if job.patience == 0 and self.rng.random() < 0.3:
            await self._settle_unknown(job)
        failures = 0
        while True:
            try:
                await ask(job)
                return
            except Died:
                await self.faults.pause(100_000)
            except AlreadyCancelled:
                self.oracle.told_verdict(job.spec.xid, Decision.CANCEL)
                return
            except AlreadyConfirmed:
                self.oracle.told_verdict(job.spec.xid, Decision.CONFIRM)
                return
            except XidConflict:
                # It was settled before it was begun.
                self.oracle.told_verdict(job.spec.xid, Decision.CANCEL)
                return
            except CallerError as error:
                raise AssertionError(f"{job.spec.xid}: {type(error).__name__}: {error}") from error
            except CoordinatorError as error:
                self.note(f"client of {job.spec.xid}: {type(error).__name__}")
                await self.faults.pause(100_000)
            failures += 1
            if failures > job.patience:
                self.note(f"client of {job.spec.xid} vanishes")
                return

    async def _execute(self, job: Job) -> None:
        process = self.process()
        self.note(f"client: executes {job.spec.xid} at {process.name}")
        call = process.coordinator.execute
        tx = await process.call(call(job.spec, job.branches, job.until))
        self.oracle.told(tx)
        self.oracle.check(tx.decided, "I3", f"{tx.xid} answered before it was decided")
        if job.until is Reply.SETTLED:
            self.oracle.check(tx.settled, "I3", f"{tx.xid} answered before it was settled")

    async def _interact(self, job: Job) -> None:
        process, xid = self.process(), job.spec.xid
        coordinator = process.coordinator
        self.note(f"client: {xid} ({job.ending}) at {process.name}")
        await process.call(coordinator.begin(job.spec))
        for count, branch in enumerate(job.branches, 1):
            sent = job.sent_with(job.branches[:count])
            tried = await process.call(coordinator.try_branch(xid, job.spec, branch, sent))
            self.oracle.told_tried(xid, (branch, *sent))
            if tried.state is BranchState.REFUSED:
                self.oracle.told_verdict(xid, Decision.CANCEL)
                return
        if job.ending == "vanish":
            return
        if job.ending == "rollback":
            self.may_cancel(xid)
            call = coordinator.rollback(xid, "changed my mind", job.deliveries, job.until)
        else:
            call = coordinator.commit(xid, job.deliveries, job.until)
        try:
            self.oracle.told(await process.call(call))
        except TryUnsettled:
            # Some of its Tries were lost with a term that died; ask again.
            raise Died from None

    async def _settle_unknown(self, job: Job) -> None:
        """Somebody else wants to know, and settles what nobody has begun."""
        xid = job.spec.xid
        self.may_cancel(xid)
        try:
            process = self.process()
            decided = await process.call(process.coordinator.decision(xid, settle=True))
        except (Died, CoordinatorError):
            return
        self.oracle.told_over(xid, decided)

    async def _collect(self) -> None:
        """Somebody keeps asking how much is over, in order to forget it."""
        while True:
            await self.faults.pause(400_000)
            xid = self.rng.choice(self.jobs).spec.xid
            try:
                await self._ask_how_much_is_over(xid, self.process())
            except (Died, CoordinatorError) as error:
                self.note(f"nobody tells how much of {xid} is over: {type(error).__name__}")

    async def _ask_how_much_is_over(self, xid: str, process: Process) -> Decided:
        told = await process.call(process.coordinator.decision(xid, settle=False))
        self.oracle.told_over(xid, told)
        return told

    # ------------------------------------------------------------ convergence

    async def _converged(self, clients: list["asyncio.Future[None]"]) -> None:
        healed_at = self.loop.us
        while True:
            await asyncio.sleep(0.1)
            await self._resume_paused()
            waited_us = self.loop.us - healed_at
            open_xids = [tx.xid for tx in self.rows() if self._unfinished(tx)]
            blocked = {xid for xid in open_xids if self._is_stuck_on_poison(xid)}
            waiting = [c for c, job in zip(clients, self.jobs, strict=True) if not c.done()]
            healthy = set(open_xids) - blocked
            if not healthy and waited_us > 4_000_000:
                still = [c for c in waiting if self._job_of(c, clients).spec.xid not in blocked]
                if not still:
                    break
            bound = HEALTHY_US if self.poisoned else CONVERGE_US
            invariant = "L3" if self.poisoned else "L1"
            if waited_us > bound:
                self.oracle.check(False, invariant, f"unfinished: {sorted(healthy) or waiting}")
        self._check_stuck(blocked)
        for client in clients:
            if client.done():
                client.result()

    async def _all_is_over(self) -> None:
        """Whoever asks now is told that no participant will be asked for anything any more."""
        latest = [process for process in self.processes if process.alive][-1]
        # What the journal holds it may not have heard of yet.
        await latest.call(latest.coordinator.writer.flush())
        for tx in self.rows():
            if tx.xid not in self.exempt:
                told = await self._ask_how_much_is_over(tx.xid, latest)
                self.oracle.check(told.closed, "closed", f"{tx.xid} is over, and nobody says so")

    def _job_of(self, client: Any, clients: list[Any]) -> Job:
        return self.jobs[clients.index(client)]

    async def _resume_paused(self) -> None:
        for tx in self.rows():
            if tx.paused:
                try:
                    process = self.process()
                    act = ResumeAct(actor="ops", reason="healed")
                    await process.call(process.coordinator.act(tx.xid, act))
                except (Died, CoordinatorError) as error:
                    self.note(f"operator: {type(error).__name__}")

    def rows(self) -> list[Transaction]:
        return [tx for tx, _ in self.store.transactions.values()]

    def _unfinished(self, tx: Transaction) -> bool:
        return not tx.settled or any(b.state not in SETTLED for b in tx.branches)

    def _is_stuck_on_poison(self, xid: str) -> bool:
        tx = self.oracle.durable(xid)
        if tx is None or not tx.decided or self.poisoned is None:
            return False
        return any(b.spec.participant == self.poisoned and b.stuck for b in tx.branches)

    def _check_stuck(self, blocked: set[str]) -> None:
        """What poison keeps from its end says so, and why; its other effects are not judged."""
        for xid in sorted(blocked):
            tx = self.oracle.durable(xid)
            assert tx is not None
            self.oracle.check(bool(tx.stuck_reason), "L1", f"{xid} is stuck and does not say why")
            self.exempt.add(xid)

    def _check_at_rest(self) -> None:
        known = {tx.xid for tx in self.rows()}
        for tx in self.rows():
            self.oracle.check_topics(tx, SUBSCRIBERS)
            if tx.xid not in self.exempt:
                self.oracle.check_at_rest(tx)
            skipped = any(b.state is BranchState.SKIPPED for b in tx.branches)
            if skipped:
                self.exempt.add(tx.xid)
        for site in self.sites.values():
            held = {key: row for key, row in site.fence.items() if key[0] not in self.exempt}
            for key, row in held.items():
                self.oracle.check(key[0] in known, "L2", f"{key} is in no journal")
                tcc = self._kind_of(key) is Kind.TCC
                open_row = row.held is Held.PENDING or (tcc and row.held is Held.TRIED)
                self.oracle.check(not open_row, "L2", f"{site.name} still holds {key}")

    def _kind_of(self, key: tuple[str, str]) -> Kind:
        tx = self.oracle.durable(key[0])
        branch = tx.branch(key[1]) if tx else None
        assert branch is not None
        return branch.spec.kind

    def _check_bounds(self) -> None:
        """I8."""
        for process in self.processes:
            if not process.alive:
                continue
            coordinator = process.coordinator
            in_memory = len(coordinator._driver)
            most = SETTINGS.transactions_in_memory_max + len(self.jobs)
            self.oracle.check(in_memory <= most, "I8", f"{in_memory} transactions in memory")
            for site in SITES:
                view = coordinator.lane(site)
                fits = view.in_flight <= SETTINGS.lane_calls_max
                self.oracle.check(fits, "I8", f"{view.in_flight} calls in flight to {site}")
                fits = view.queued <= SETTINGS.lane_queue_max
                self.oracle.check(fits, "I8", f"{view.queued} calls wait for {site}")


def _drop(logger: object, name: str, event: object) -> Any:
    """The timeline tells it already."""
    raise structlog.DropEvent


def run_seed(seed: int) -> Simulation:
    """Run one seed. Raises OracleFailed, naming the invariant, the seed and how to repeat it."""
    simulation = Simulation(seed)
    try:
        simulation.run()
    except (OracleFailed, AssertionError) as error:
        repro = f"python -m tests.sim --seed {seed} --verbose"
        raise OracleFailed(f"{error}\nseed {seed}: {repro}") from error
    return simulation
