"""The coordinators of the simulation: short intervals, small limits, and faults in the journal."""

import random
from collections.abc import Callable

from trypact.testing.mortal import MortalCoordinator
from trypact.testing.virtual_loop import VirtualLoop
from trypact_coordinator.core.policy import Policy
from trypact_coordinator.runtime.settings import RuntimeSettings

from tests.sim.faults import FaultyJournal, Network

POLICY = Policy(
    call_timeout_ms=200,
    default_timeout_ms=2_000,
    backoff_base_ms=20,
    backoff_cap_ms=500,
    slow_retry_ms=1_000,
    attempts_until_stuck=4,
    notice_attempts=3,
    pending_poll_ms=150,
)
SETTINGS = RuntimeSettings(
    transactions_in_memory_max=8,
    evict_after_ms=100,
    sweep_every_ms=50,
    sweep_page_size=2,
    audit_every_ms=500,
    lane_calls_max=3,
    lane_reserved=1,
    lane_queue_max=64,
    breaker_failures=4,
    breaker_open_ms=200,
    lapse_after_ms=1 << 40,
    records_in_batch_max=3,
)


class Process(MortalCoordinator):
    """A coordinator of a simulated run; its clock begins anywhere."""

    journal: FaultyJournal

    def __init__(
        self,
        name: str,
        loop: VirtualLoop,
        journal: FaultyJournal,
        networks: dict[str, Network],
        rng: random.Random,
        note: Callable[[str], None],
        sent: Callable[[MortalCoordinator], None],
    ) -> None:
        origin_us = rng.randint(0, 1 << 40)
        super().__init__(name, loop, journal, networks, POLICY, SETTINGS, note, sent, origin_us)
