"""What the registry says to new work whose participant is not there."""

import pytest
from trypact_coordinator.core.errors import ParticipantUnavailable
from trypact_coordinator.core.transaction import Kind
from trypact_coordinator.journal.memory import MemoryJournal
from trypact_coordinator.ports import Instance
from trypact_coordinator.runtime.registry import Registry

from tests.unit.runtime.scripted import SECOND, HandClock, branch

SIGNED_OFF = "branch 'b': every instance of 'inventory' has signed off"
SILENT = "branch 'b': no instance of 'inventory' has renewed within 15000 ms"


class Desk:
    """A registry in which two instances of one participant have just registered."""

    def __init__(self, clock: HandClock, registry: Registry) -> None:
        self.clock = clock
        self.registry = registry

    def refusal(self) -> str:
        with pytest.raises(ParticipantUnavailable) as refused:
            self.registry.check([branch()])
        return str(refused.value)

    async def sign_off(self, *instances: str) -> None:
        for instance in instances:
            await self.registry.deregister("inventory", instance)


@pytest.fixture
async def desk() -> Desk:
    clock, journal = HandClock(), MemoryJournal()
    await journal.open("test")
    registry = Registry(journal, clock, renew_every_ms=5_000, lapse_after_ms=15_000)
    actions = (("reserve", (Kind.TCC,)),)
    for name in ("one", "two"):
        await registry.register(Instance("inventory", name, "127.0.0.1:1", actions, 0))
    return Desk(clock, registry)


async def test_where_every_instance_has_signed_off_the_refusal_says_so(desk: Desk) -> None:
    await desk.sign_off("one")
    desk.registry.check([branch()])
    await desk.sign_off("two")

    assert desk.refusal() == SIGNED_OFF


async def test_where_one_instance_fell_silent_the_refusal_speaks_of_silence(desk: Desk) -> None:
    await desk.sign_off("one")
    desk.clock.us += 15 * SECOND

    assert desk.refusal() == SILENT


async def test_silence_after_a_farewell_changes_nothing(desk: Desk) -> None:
    await desk.sign_off("one", "two")
    desk.clock.us += 15 * SECOND

    assert desk.refusal() == SIGNED_OFF
