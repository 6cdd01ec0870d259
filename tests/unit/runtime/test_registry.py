"""What the registry says to new work whose participant is not there, and who gets a message."""

import pytest
from structlog.testing import capture_logs
from trypact_coordinator.core.errors import (
    InvalidArgument,
    ParticipantUnavailable,
    UnknownAction,
    UnknownParticipant,
    UnknownTopic,
)
from trypact_coordinator.core.transaction import BranchSpec, Kind
from trypact_coordinator.journal.memory import MemoryJournal, MemoryStore
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


async def test_an_unknown_name_is_answered_with_the_nearest_of_those_that_are_there(
    desk: Desk,
) -> None:
    actions = (("reserve", (Kind.TCC,)),)
    for name in ("inventar", "balance"):
        await desk.registry.register(Instance(name, "one", "127.0.0.1:1", actions, 0))
    await desk.registry.deregister("inventar", "one")

    with pytest.raises(UnknownParticipant) as unknown:
        desk.registry.check([BranchSpec(id="b", kind=Kind.TCC, action="inventari.reserve")])
    assert str(unknown.value) == (
        "branch 'b': no participant 'inventari' is registered (is 'inventory' meant?); registered: "
        "balance, inventory"
    )
    with pytest.raises(
        UnknownAction, match=r"no action 'resrve' \(is 'reserve' meant\?\); it has:"
    ):
        desk.registry.check([BranchSpec(id="b", kind=Kind.TCC, action="inventory.resrve")])


async def test_who_has_signed_off_is_not_seen_again_by_a_restart(desk: Desk) -> None:
    await desk.sign_off("one")
    desk.clock.us += 60 * SECOND
    await desk.registry.load()

    (view,) = desk.registry.overview()
    seen = {one.instance: desk.clock.us - one.renewed_at for one in view.instances}
    assert seen == {"one": 60 * SECOND, "two": 0}


# ---------------------------------------------------------------- instances that differ


def serving(instance: str, *verbs: str) -> Instance:
    actions = tuple((verb, (Kind.TCC,)) for verb in verbs)
    return Instance("inventory", instance, "127.0.0.1:1", actions, 0)


def verbs_of(registry: Registry) -> list[str]:
    (view,) = registry.overview()
    return [verb for verb, _ in view.actions]


async def test_an_instance_that_serves_others_than_its_live_siblings_is_warned(desk: Desk) -> None:
    with capture_logs() as logs:
        warning = await desk.registry.register(serving("three", "reserve", "book"))

    assert warning.startswith(
        "other instances of 'inventory' are live and serve other actions: one, two; from now on "
        "those of three count: book, reserve."
    )
    assert [(line["event"], line["why"]) for line in logs] == [("instances differ", warning)]


async def test_instances_that_serve_the_same_or_have_gone_are_no_reason_to_warn(desk: Desk) -> None:
    assert await desk.registry.register(serving("three", "reserve")) == ""
    await desk.sign_off("one", "two", "three")
    assert await desk.registry.register(serving("four", "book")) == ""
    desk.clock.us += 15 * SECOND
    assert await desk.registry.register(serving("five", "reserve")) == ""


async def test_the_latest_registration_counts_and_no_heartbeat_does(desk: Desk) -> None:
    await desk.registry.register(serving("three", "book"))
    for sibling in ("one", "two"):
        desk.clock.us += SECOND
        assert await desk.registry.renew("inventory", sibling)

    assert verbs_of(desk.registry) == ["book"]


async def test_a_release_that_is_taken_back_takes_its_actions_along(desk: Desk) -> None:
    await desk.registry.register(serving("three", "book"))
    await desk.sign_off("three")

    assert verbs_of(desk.registry) == ["reserve"]


async def test_the_latest_registration_counts_after_a_restart_too() -> None:
    clock, journal = HandClock(), MemoryJournal()
    await journal.open("test")
    registry = Registry(journal, clock, renew_every_ms=5_000, lapse_after_ms=15_000)
    for verb in ("z", "a", "m"):
        clock.us += SECOND
        await registry.register(serving(verb, verb))

    again = Registry(journal, clock, renew_every_ms=5_000, lapse_after_ms=15_000)
    await again.load()
    assert verbs_of(again) == ["m"]


# ---------------------------------------------------------------- topics

MESSAGES = (("note", (Kind.MESSAGE,)), ("reserve", (Kind.TCC,)))


def subscriber(name: str, *topics: tuple[str, str], instance: str = "one") -> Instance:
    return Instance(name, instance, "127.0.0.1:1", MESSAGES, 0, topics=topics)


def paid(topic: str = "order.paid") -> BranchSpec:
    return BranchSpec("paid", Kind.MESSAGE, "", topic=topic)


def reached(registry: Registry) -> list[str]:
    return [spec.action for spec in registry.addressed((paid(),))]


async def test_a_topic_reaches_each_participant_once_by_name_there_or_not(desk: Desk) -> None:
    for name in ("member", "ledger", "audit"):
        for instance in ("one", "two"):
            topic = "order.paid" if name != "audit" else "order.refused"
            row = subscriber(name, (topic, "note"), instance=instance)
            await desk.registry.register(row)
    await desk.registry.deregister("ledger", "one")
    desk.clock.us += 60 * SECOND

    branches = desk.registry.addressed((paid(),))
    desk.registry.check(branches)

    assert [(spec.id, spec.action) for spec in branches] == [
        ("paid#1", "ledger.note"),
        ("paid#2", "member.note"),
    ]


async def test_a_subscription_is_durable_and_ends_with_a_registration_without_it() -> None:
    clock, store = HandClock(), MemoryStore()
    journal = MemoryJournal(store)
    await journal.open("test")
    first = Registry(journal, clock, renew_every_ms=5_000, lapse_after_ms=15_000)
    await first.register(subscriber("ledger", ("order.paid", "note")))
    later = Registry(journal, clock, renew_every_ms=5_000, lapse_after_ms=15_000)
    await later.load()
    assert reached(later) == ["ledger.note"]

    clock.us += SECOND
    await later.register(subscriber("ledger"))

    with pytest.raises(UnknownTopic, match=r"'paid': nobody has subscribed to 'order\.paid'"):
        reached(later)


@pytest.mark.parametrize(
    ("topics", "said"),
    [
        ((("order.paid", "reserve"),), "has 'order.paid', and 'reserve' serves no messages"),
        ((("order.paid", "note"), ("order.paid", "note")), "has 'order.paid' twice"),
        ((("Order Paid", "note"),), "'Order Paid' is no topic"),
        (tuple((f"t{n}", "note") for n in range(257)), "has 257; allowed: at most 256"),
    ],
)
async def test_a_subscription_that_cannot_be_is_refused(
    desk: Desk, topics: tuple[tuple[str, str], ...], said: str
) -> None:
    with pytest.raises(InvalidArgument, match=said):
        await desk.registry.register(subscriber("ledger", *topics))
