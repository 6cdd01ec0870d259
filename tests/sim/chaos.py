"""What goes wrong in the first phase of a run, one act after another: crashes, stops, a second
coordinator, participants that are down, clocks that jump, and operators.
"""

import asyncio
import contextlib
from typing import TYPE_CHECKING

from trypact.testing.mortal import Died
from trypact_coordinator.core.errors import CoordinatorError
from trypact_coordinator.core.events import DecideAct, PauseAct, ResumeAct, RetryAct, SkipAct
from trypact_coordinator.core.transaction import SETTLED, Decision
from trypact_coordinator.runtime.coordinator import OperatorAct

from tests.sim.workload import SITES

if TYPE_CHECKING:
    from tests.sim.simulation import Simulation

BUSY_US = 4_000_000


class Chaos:
    """The acts of one run, drawn from its seed."""

    def __init__(self, run: "Simulation") -> None:
        self.run = run

    async def unfold(self) -> None:
        faults, acts = self.run.faults, []
        acts += [self._crash] * faults.crashes
        acts += [self._stop] * faults.stops
        acts += [self._take_over] * faults.takeovers
        acts += [self._crash_site] * faults.site_crashes
        acts += [self._jump_clock] * faults.clock_jumps
        acts += [self._operate] * self.run.rng.choice((0, 0, 2, 4))
        if self.run.poisoned:
            self.run.networks[self.run.poisoned].poisoned = True
        self.run.rng.shuffle(acts)
        self._overruling = asyncio.ensure_future(self._overrule())
        for act in acts:
            await faults.pause(BUSY_US // (len(acts) + 1))
            await act()

    async def _crash(self) -> None:
        where = self.run.rng.choice(("event", "commit", "send"))
        if where == "event":
            self.run.crash_at_event = self.run.loop.events + self.run.rng.randint(1, 60)
        elif where == "commit":
            self.run.crash_at_commit = self.run.commits + self.run.rng.randint(1, 6)
        else:
            self.run.crash_at_send = self.run.sends + self.run.rng.randint(1, 6)

    async def _stop(self) -> None:
        """A coordinator is asked to stop, as by SIGTERM; what it left is in the journal."""
        alive = [process for process in self.run.processes if process.alive]
        if not alive:
            return
        process, grace_ms = self.run.rng.choice(alive), self.run.rng.choice((0, 50, 1_000))
        self.run.note(f"{process.name}: stops, grace {grace_ms} ms")
        began_us = self.run.loop.us
        with contextlib.suppress(Died):
            await process.call(process.coordinator.stop(grace_ms))
        process.kill("stopped")
        took_us = self.run.loop.us - began_us
        self.run.oracle.check(took_us < grace_ms * 1000 + 4_000_000, "L1", "it does not stop")

    async def _take_over(self) -> None:
        """A second coordinator takes the journal while the first believes it is the only one."""
        if any(process.alive for process in self.run.processes):
            self.run.note("a second coordinator takes over")
            await self.run.start_process()

    async def _crash_site(self) -> None:
        site = self.run.sites[self.run.rng.choice(SITES)]
        self.run.note(f"{site.name}: down")
        site.up = False
        self.run.loop.call_later(self.run.rng.randint(1, 800) / 1e3, self.run.revive, site)

    async def _jump_clock(self) -> None:
        jump = self.run.rng.choice((-1_500_000, -100_000, 100_000, 3_000_000))
        self.run.note(f"the database's clock jumps by {jump / 1e6:g} s")
        self.run.clock_offset += jump
        self.run.oracle.turned_back_us += max(0, -jump)

    async def _operate(self) -> None:
        xid = self.run.rng.choice(self.run.jobs).spec.xid
        who = {"actor": "ops", "reason": "chaos"}
        decision = self.run.rng.choice((Decision.CONFIRM, Decision.CANCEL))
        act = self.run.rng.choice(
            (
                PauseAct(**who),
                ResumeAct(**who),
                RetryAct(**who),
                DecideAct(**who, decision=decision),
                SkipAct(**who, branch_id="b0"),
            )
        )
        if isinstance(act, SkipAct):
            for tx in self.run.rows():
                for branch in tx.branches:
                    if tx.decided and branch.state not in SETTLED:
                        xid, act = tx.xid, SkipAct(**who, branch_id=branch.spec.id)
        if isinstance(act, DecideAct) and decision is Decision.CANCEL:
            self.run.may_cancel(xid)
        await self._act(xid, act)

    async def _overrule(self) -> None:
        """An operator wants to cancel what only its pivot may decide."""
        act = DecideAct(actor="ops", reason="chaos", decision=Decision.CANCEL)
        while self.run.faults.on:
            await self.run.faults.pause(5_000)
            for tx in self.run.rows():
                if tx.pivot_sent:
                    await self._act(tx.xid, act)

    async def _act(self, xid: str, act: OperatorAct) -> None:
        self.run.note(f"operator: {type(act).__name__} {xid}")
        try:
            process = self.run.process()
            await process.call(process.coordinator.act(xid, act))
        except (Died, CoordinatorError) as error:
            self.run.note(f"operator: {type(error).__name__}")
