"""Messages to a topic: each becomes one message for everybody who has subscribed.

That happens once, at the door: from then on they are branches like all others, written with the
transaction, and who subscribes later gets the messages of later transactions. The initiator knows
nothing of it. So the fingerprint covers what it sent, and a message that is sent again is known by
the id that it was sent under, whoever has subscribed meanwhile.
"""

from collections.abc import Callable, Iterable, Sequence

from msgspec.structs import replace

from trypact_coordinator.core.admission import check_id, check_topic
from trypact_coordinator.core.errors import BranchConflict, InvalidArgument, UnknownTopic
from trypact_coordinator.core.limits import TOPIC_BRANCH_ID_BYTES_MAX
from trypact_coordinator.core.transaction import Branch, BranchSpec

# Topic -> the actions that take its messages, in the order of their participants' names.
Subscribers = Callable[[str], Sequence[str]]


def fan_out(
    specs: tuple[BranchSpec, ...], subscribers: Subscribers, field: str = "branches"
) -> tuple[BranchSpec, ...]:
    """Return the branches with a message for each subscriber in the place of one to a topic.

    The first takes its place, and the others come last, so that every branch keeps its number.
    What was fanned out before is left as it is. Raises InvalidArgument or UnknownTopic.
    """
    found: list[BranchSpec] | None = None
    for index, spec in enumerate(specs):
        if spec.topic and not spec.action:
            try:
                first, *others = _for_each(spec, subscribers(spec.topic))
            except InvalidArgument as error:
                raise error.within(f"{field}[{index}]") from None
            found = found or list(specs)
            found[index] = first
            found += others
    if found is None:
        return specs
    _check_after(specs, field)
    return tuple(found)


def _for_each(spec: BranchSpec, actions: Sequence[str]) -> Iterable[BranchSpec]:
    check_topic("topic", spec.topic)
    check_id("id", spec.id, TOPIC_BRANCH_ID_BYTES_MAX)
    if not actions:
        raise UnknownTopic(f"branch {spec.id!r}: nobody has subscribed to {spec.topic!r}")
    return (
        replace(spec, id=f"{spec.id}#{number}", action=action)
        for number, action in enumerate(actions, 1)
    )


def _check_after(specs: Sequence[BranchSpec], field: str) -> None:
    published = {spec.id for spec in specs if spec.topic}
    for index, spec in enumerate(specs):
        for named in published.intersection(spec.after):
            raise InvalidArgument(
                f"{field}[{index}].after",
                f"names {named!r}, a message to a topic, which ends with each subscriber apart",
            )


def unknown(branches: Iterable[Branch], specs: Iterable[BranchSpec]) -> tuple[BranchSpec, ...]:
    """Return those that are no branch yet. Raises BranchConflict for an id with other content."""
    known = {spec.id: spec for spec in (sent_as(branch.spec) for branch in branches)}
    new = []
    for spec in specs:
        sent = sent_as(spec)
        if known.get(sent.id, sent) != sent:
            raise BranchConflict
        if sent.id not in known:
            new.append(spec)
    return tuple(new)


def sent_as(spec: BranchSpec) -> BranchSpec:
    """Return a message to a topic as it was sent; any other branch as it is."""
    if not (spec.topic and spec.action):
        return spec
    return replace(spec, id=spec.id.rpartition("#")[0], action="")
