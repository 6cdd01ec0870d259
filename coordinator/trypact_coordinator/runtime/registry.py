"""Which participants exist, where they are and what they can do.

The rows are durable, so that a decided transaction can reach its participants after a restart of
the coordinator; heartbeats are not: a restart gives every instance a fresh term of grace.
"""

import difflib
from collections.abc import Callable, Iterable

import msgspec
import structlog
from msgspec.structs import replace

from trypact_coordinator.core import limits
from trypact_coordinator.core.admission import (
    check_id,
    check_participant,
    check_size,
    check_topic,
)
from trypact_coordinator.core.errors import (
    CoordinatorError,
    InvalidArgument,
    KindNotServed,
    LimitExceeded,
    ParticipantUnavailable,
    UnknownAction,
    UnknownParticipant,
)
from trypact_coordinator.core.policy import MILLISECOND
from trypact_coordinator.core.topics import fan_out
from trypact_coordinator.core.transaction import BranchSpec, Kind
from trypact_coordinator.ports import Clock, Instance, Journal
from trypact_coordinator.runtime.dispatcher import Route

log = structlog.get_logger(__name__)


class ParticipantView(msgspec.Struct, frozen=True):
    """A participant as operators see it; `live` holds the names of instances in good standing."""

    name: str
    actions: tuple[tuple[str, tuple[Kind, ...]], ...]
    instances: tuple[Instance, ...]
    live: frozenset[str]
    topics: tuple[tuple[str, str], ...] = ()


class _Participant:
    """The instances of one participant, and what its latest registration says it can do.

    The latest of those that have not signed off: a release that is taken back takes its actions
    along.
    """

    def __init__(self, lapse_us: int) -> None:
        # In the order in which they have registered.
        self.instances: dict[str, Instance] = {}
        self.kinds_of: dict[str, tuple[Kind, ...]] = {}
        # Topic -> the verb that takes its messages.
        self.topics: dict[str, str] = {}
        self._lapse_us = lapse_us
        # The endpoints of the live instances, and until when this is known to be so.
        self._live: list[str] = []
        self._live_until = 0
        self._turn = 0

    def is_live(self, instance: Instance, now: int) -> bool:
        return not instance.draining and now < instance.renewed_at + self._lapse_us

    @property
    def has_gone(self) -> bool:
        """Whether every instance has signed off."""
        return all(instance.draining for instance in self.instances.values())

    def live(self, now: int) -> list[str]:
        if now >= self._live_until:
            live = [i for i in self.instances.values() if self.is_live(i, now)]
            self._live = [i.endpoint for i in live]
            self._live_until = min((i.renewed_at + self._lapse_us for i in live), default=0)
        return self._live

    def next_endpoint(self, now: int) -> str | None:
        """Return where the next call goes: live instances in turn, else any that was ever known."""
        endpoints = self.live(now) or [i.endpoint for i in self.instances.values()]
        if not endpoints:
            return None
        self._turn += 1
        return endpoints[self._turn % len(endpoints)]

    def put(self, instance: Instance, *, registers: bool) -> None:
        if registers:
            self.instances.pop(instance.instance, None)
        self.instances[instance.instance] = instance
        self._live_until = 0
        # An action that a newer release no longer names stays known to unfinished branches: they
        # are routed by participant, and only new work is checked against this.
        known = list(self.instances.values())
        latest = ([i for i in known if not i.draining] or known)[-1]
        self.kinds_of = dict(latest.actions)
        self.topics = dict(latest.topics)


class Registry:
    """The registered participants, in memory and in the journal.

    Args:
        journal: where the rows are kept.
        clock: the journal's time.
        renew_every_ms: how often participants are told to renew.
        lapse_after_ms: silence after which an instance gets no new work.
    """

    def __init__(
        self, journal: Journal, clock: Clock, renew_every_ms: int, lapse_after_ms: int
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._lapse_us = lapse_after_ms * MILLISECOND
        self.renew_every_ms = renew_every_ms
        self._participants: dict[str, _Participant] = {}
        # Told of a participant with an instance that was not there a moment ago.
        self.came_back: Callable[[str], None] | None = None
        # Action -> who serves it, and the kinds that it serves.
        self._served: dict[str, tuple[_Participant, tuple[Kind, ...]]] = {}

    async def load(self) -> None:
        """Read the rows; every instance that has not signed off counts as renewed now."""
        now = self._clock.now()
        for instance in sorted(await self._journal.instances(), key=lambda i: i.renewed_at):
            renewed_at = instance.renewed_at if instance.draining else now
            self._put(replace(instance, renewed_at=renewed_at), registers=True)

    async def register(self, instance: Instance) -> str:
        """Make an instance known, durably, and return what is odd about it: a sentence, or "".

        Raises InvalidArgument or LimitExceeded.
        """
        _check(instance)
        known = self._participants.get(instance.participant)
        if known is None and len(self._participants) >= limits.PARTICIPANTS_MAX:
            raise LimitExceeded(
                "participant", "would be one too many", f"at most {limits.PARTICIPANTS_MAX}"
            )
        if (
            known is not None
            and instance.instance not in known.instances
            and len(known.instances) >= limits.INSTANCES_MAX
        ):
            await self._make_room(known)
        before = self._row(instance.participant, instance.instance)
        instance = replace(instance, renewed_at=self._clock.now(), draining=False)
        await self._journal.save_instance(instance)
        was_there = before and self._participants[instance.participant].is_live(
            before, self._clock.now()
        )
        self._put(instance, registers=True)
        if not was_there and self.came_back is not None:
            self.came_back(instance.participant)
        return self._warning(instance)

    def _warning(self, instance: Instance) -> str:
        """Say, here and to whoever registers, that live instances differ in what they serve."""
        now, known = self._clock.now(), self._participants[instance.participant]
        can = (dict(instance.actions), dict(instance.topics))
        others = [
            i.instance
            for i in known.instances.values()
            if known.is_live(i, now) and (dict(i.actions), dict(i.topics)) != can
        ]
        if not others:
            return ""
        warning = (
            f"other instances of {instance.participant!r} are live and serve other actions: "
            f"{_listed(others)}; from now on those of {instance.instance} count: "
            f"{_listed(known.kinds_of)}. All instances of one name have to be of one service; they "
            "may differ only while a release is rolled out"
        )
        log.warning("instances differ", participant=instance.participant, why=warning)
        return warning

    async def renew(self, participant: str, instance: str) -> bool:
        """Note a heartbeat; False when the instance must register (again)."""
        row = self._row(participant, instance)
        if row is None or row.draining:
            return False
        self._put(replace(row, renewed_at=self._clock.now()), registers=False)
        return True

    async def deregister(self, participant: str, instance: str) -> None:
        """Drain an instance: no new work, but unfinished branches still reach it."""
        row = self._row(participant, instance)
        if row is not None:
            row = replace(row, draining=True)
            await self._journal.save_instance(row)
            self._put(row, registers=False)

    def addressed(
        self, branches: tuple[BranchSpec, ...], field: str = "branches"
    ) -> tuple[BranchSpec, ...]:
        """Return the branches with a message for each subscriber of a topic; see `topics`.

        Raises InvalidArgument or UnknownTopic.
        """
        return fan_out(branches, self._subscribers, field)

    def _subscribers(self, topic: str) -> list[str]:
        """Return the actions that take a topic's messages, by participant.

        Whether anybody is there just now is no matter: a message waits.
        """
        return [
            f"{name}.{verb}"
            for name, participant in sorted(self._participants.items())
            if (verb := participant.topics.get(topic))
        ]

    def check(self, branches: Iterable[BranchSpec]) -> None:
        """Refuse new work that names what is not there.

        Raises UnknownParticipant, UnknownAction, KindNotServed or ParticipantUnavailable.
        """
        now = self._clock.now()
        for spec in branches:
            served = self._served.get(spec.action)
            if served is None:
                raise self._unknown(spec)
            participant, kinds = served
            if spec.kind not in kinds:
                raise KindNotServed(
                    f"branch {spec.id!r}: {spec.action} serves no {spec.kind.name.lower()} "
                    f"branches; it serves: {_listed(kind.name.lower() for kind in kinds)}"
                )
            if not participant.live(now) and not spec.topic:
                raise self._unavailable(spec, participant)

    def _unavailable(self, spec: BranchSpec, participant: _Participant) -> ParticipantUnavailable:
        # Silence and a farewell are mended in different places: a crash here, a release there.
        if participant.has_gone:
            why = f"every instance of {spec.participant!r} has signed off"
        else:
            silent_ms = self._lapse_us // MILLISECOND
            why = f"no instance of {spec.participant!r} has renewed within {silent_ms} ms"
        return ParticipantUnavailable(f"branch {spec.id!r}: {why}")

    def _unknown(self, spec: BranchSpec) -> CoordinatorError:
        name, _, verb = spec.action.partition(".")
        participant = self._participants.get(name)
        if participant is None:
            here = [each for each, known in self._participants.items() if not known.has_gone]
            return UnknownParticipant(
                f"branch {spec.id!r}: no participant {name!r} is registered"
                f"{_nearest(name, here)}; registered: {_listed(here)}"
            )
        return UnknownAction(
            f"branch {spec.id!r}: participant {name!r} has no action {verb!r}"
            f"{_nearest(verb, participant.kinds_of)}; it has: {_listed(participant.kinds_of)}"
        )

    def route(self, participant: str) -> Route | None:
        """Return the way to a participant, which stays the same; None before it registers."""
        return self._participants.get(participant)

    def overview(self) -> tuple[ParticipantView, ...]:
        """Return every participant, by name."""
        now = self._clock.now()
        return tuple(
            ParticipantView(
                name=name,
                actions=tuple(participant.kinds_of.items()),
                instances=tuple(participant.instances.values()),
                live=frozenset(
                    i.instance
                    for i in participant.instances.values()
                    if participant.is_live(i, now)
                ),
                topics=tuple(participant.topics.items()),
            )
            for name, participant in sorted(self._participants.items())
        )

    def _row(self, participant: str, instance: str) -> Instance | None:
        known = self._participants.get(participant)
        return known.instances.get(instance) if known else None

    def _put(self, instance: Instance, *, registers: bool) -> None:
        name = instance.participant
        participant = self._participants.setdefault(name, _Participant(self._lapse_us))
        for verb in participant.kinds_of:
            del self._served[f"{name}.{verb}"]
        participant.put(instance, registers=registers)
        for verb, kinds in participant.kinds_of.items():
            self._served[f"{name}.{verb}"] = (participant, kinds)

    async def _make_room(self, participant: _Participant) -> None:
        """Forget the instance that was silent longest, unless all are alive."""
        oldest = min(participant.instances.values(), key=lambda i: (not i.draining, i.renewed_at))
        if participant.is_live(oldest, self._clock.now()):
            raise LimitExceeded(
                "instance", "would be one too many", f"at most {limits.INSTANCES_MAX}"
            )
        await self._journal.delete_instance(oldest.participant, oldest.instance)
        participant.instances.pop(oldest.instance, None)


def _check(instance: Instance) -> None:
    check_participant(instance.participant)
    check_id("instance", instance.instance, limits.INSTANCE_BYTES_MAX)
    check_id("endpoint", instance.endpoint, limits.ENDPOINT_BYTES_MAX)
    if not 1 <= len(instance.actions) <= limits.ACTIONS_MAX:
        raise InvalidArgument(
            "actions", f"has {len(instance.actions)}", f"1 to {limits.ACTIONS_MAX}"
        )
    verbs = [verb for verb, _ in instance.actions]
    if len(set(verbs)) != len(verbs):
        raise InvalidArgument("actions", "names a verb twice")
    for index, (verb, kinds) in enumerate(instance.actions):
        check_size(f"actions[{index}].verb", verb, limits.ACTION_HALF_BYTES_MAX)
        if not verb.isidentifier() or not verb.isascii() or verb != verb.lower():
            raise InvalidArgument(f"actions[{index}].verb", f"{verb!r} is no lower-case word")
        if not kinds:
            raise InvalidArgument(f"actions[{index}].kinds", "is empty", "at least one kind")
    _check_topics(instance)


def _check_topics(instance: Instance) -> None:
    if len(instance.topics) > limits.ACTIONS_MAX:
        count = len(instance.topics)
        raise LimitExceeded("actions.topics", f"has {count}", f"at most {limits.ACTIONS_MAX}")
    kinds_of, taken = dict(instance.actions), set()
    for topic, verb in instance.topics:
        check_topic("actions.topics", topic)
        if Kind.MESSAGE not in kinds_of.get(verb, ()):
            why = f"has {topic!r}, and {verb!r} serves no messages"
            raise InvalidArgument("actions.topics", why)
        if topic in taken:
            raise InvalidArgument("actions.topics", f"has {topic!r} twice", "one action for each")
        taken.add(topic)


def _nearest(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, names, 1)
    return f" (is {near[0]!r} meant?)" if near else ""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
