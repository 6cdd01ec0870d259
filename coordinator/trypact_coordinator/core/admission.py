"""The door: what a transaction and its branches must be before anything is written.

Every refusal names the field, says why, and says what is allowed. Whether a participant and its
action exist is the registry's question, not this module's.
"""

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache

import msgspec

from trypact_coordinator.core import limits
from trypact_coordinator.core.errors import InvalidArgument, LimitExceeded
from trypact_coordinator.core.order import comes_after, comes_before, find_circle
from trypact_coordinator.core.transaction import BranchSpec, Kind, On, Spec

_ACTION = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")
_TOPIC = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")
_PARTICIPANT = re.compile(r"[a-z][a-z0-9_]*")
_ON_CONFIRM = On.CONFIRM
_encode = msgspec.msgpack.Encoder().encode
_VISIBLE_ALLOWED = "visible ASCII characters (no spaces, no line breaks)"


def check_size(field: str, value: str | bytes, most: int, what: str = "bytes") -> None:
    """Raise LimitExceeded when a value is longer than `most` bytes."""
    if 4 * len(value) <= most:
        return  # a character of UTF-8 has no more bytes
    size = len(value.encode()) if isinstance(value, str) else len(value)
    if size > most:
        raise LimitExceeded(field, f"is {size} {what} long", f"at most {most}")


def check_id(field: str, value: str, most: int) -> None:
    """Check an identifier: present, visible ASCII, at most that many bytes."""
    visible = value.isascii() and value.isprintable() and " " not in value
    if visible and 0 < len(value) <= most:
        return
    if not value:
        raise InvalidArgument(field, "is missing", f"1 to {most} {_VISIBLE_ALLOWED}")
    check_size(field, value, most)
    raise InvalidArgument(
        field, "has a character outside visible ASCII", f"1 to {most} {_VISIBLE_ALLOWED}"
    )


def check_xid(xid: str) -> None:
    """Check a transaction's id."""
    check_id("xid", xid, limits.XID_BYTES_MAX)


def check_participant(name: str) -> None:
    """Check a participant's name."""
    check_size("participant", name, limits.ACTION_HALF_BYTES_MAX)
    if not _PARTICIPANT.fullmatch(name):
        raise InvalidArgument("participant", f"{name!r} is no name", "a lower-case word")


def check_topic(field: str, topic: str) -> None:
    """Check the name of a topic."""
    check_size(field, topic, limits.TOPIC_BYTES_MAX)
    if not _TOPIC.fullmatch(topic):
        raise InvalidArgument(
            field, f"{topic!r} is no topic", "lower-case words with dots between, like order.paid"
        )


def check_spec(spec: Spec) -> None:
    """Check what describes a transaction beside its branches."""
    check_xid(spec.xid)
    if not spec.name:
        raise InvalidArgument(
            "name", "is missing", f"1 to {limits.NAME_BYTES_MAX} bytes, such as order.submit"
        )
    check_size("name", spec.name, limits.NAME_BYTES_MAX)
    if not spec.name.isprintable():
        raise InvalidArgument("name", "has a character that cannot be printed")
    if not limits.TIMEOUT_MS_MIN <= spec.timeout_ms <= limits.TIMEOUT_MS_MAX:
        raise InvalidArgument(
            "timeout_ms",
            f"is {spec.timeout_ms}",
            f"{limits.TIMEOUT_MS_MIN} to {limits.TIMEOUT_MS_MAX}",
        )
    if len(spec.labels) > limits.LABELS_MAX:
        raise LimitExceeded("labels", f"has {len(spec.labels)}", f"at most {limits.LABELS_MAX}")
    for key, value in spec.labels:
        check_id("labels", key, limits.LABEL_KEY_BYTES_MAX)
        check_size(f"labels[{key}]", value, limits.LABEL_VALUE_BYTES_MAX)
    check_size("trace_parent", spec.trace_parent, limits.TRACE_PARENT_BYTES_MAX)
    check_size("nonce", spec.nonce, limits.NONCE_BYTES_MAX)


def check_branches(
    new: Sequence[BranchSpec], known: Sequence[BranchSpec] = (), *, interactive: bool = False
) -> None:
    """Check branches that join those a transaction already has.

    Args:
        new: what joins.
        known: what it has; those of a one shot are all there from the beginning.
        interactive: whether the initiator decides, so that no pivot can.

    Raises InvalidArgument or LimitExceeded naming `branches[i].field`, `i` counting the new ones.
    """
    if len(new) + len(known) > limits.BRANCHES_MAX:
        raise LimitExceeded(
            "branches", f"would be {len(new) + len(known)}", f"at most {limits.BRANCHES_MAX}"
        )
    by_id: dict[str, BranchSpec] = {}
    total = 0
    for spec in known:
        by_id[spec.id] = spec
        total += len(spec.payload)
    ordered = False
    pivot: BranchSpec | None = None
    for index, spec in enumerate(new):
        try:
            _check_branch(spec)
            if spec.id in by_id:
                raise InvalidArgument("id", f"{spec.id!r} names another branch already")
            if spec.pivot:
                _check_sole_pivot(pivot, interactive=interactive)
                pivot = spec
        except InvalidArgument as error:
            raise error.within(f"branches[{index}]") from None
        by_id[spec.id] = spec
        total += len(spec.payload)
        if spec.after:
            ordered = True
    if ordered:
        for index, spec in enumerate(new):
            _check_after(f"branches[{index}].after", spec, by_id)
        if circle := find_circle(by_id.values()):
            raise InvalidArgument("branches.after", f"goes in a circle: {' -> '.join(circle)}")
    if pivot is not None:
        _check_around_pivot(pivot, new)
    if total > limits.TRANSACTION_BYTES_MAX:
        raise LimitExceeded(
            "branches.payload",
            f"is {total} bytes over all branches",
            f"at most {limits.TRANSACTION_BYTES_MAX}",
        )


def check_deliveries(specs: Sequence[BranchSpec]) -> None:
    """Check that what joins with a decision comes after it."""
    for index, spec in enumerate(specs):
        if not spec.is_delivery:
            raise InvalidArgument(
                f"deliveries[{index}].kind", "is decided before", "message or notice"
            )


def _check_branch(spec: BranchSpec) -> None:
    check_id("id", spec.id, limits.BRANCH_ID_BYTES_MAX)
    _check_action(spec.action)
    check_size("payload", spec.payload, limits.PAYLOAD_BYTES_MAX)
    if spec.delay_ms or spec.on is not _ON_CONFIRM:
        _check_delivery(spec)
    if spec.attempts_max or spec.retry_for_ms or spec.pivot:
        _check_pivot_and_budget(spec)


@lru_cache(4096)
def _check_action(action: str) -> None:
    """Check an action; there are few, and each is named by every transaction."""
    check_size("action", action, 2 * limits.ACTION_HALF_BYTES_MAX + 1)
    if not _ACTION.fullmatch(action):
        raise InvalidArgument(
            "action",
            f"{action!r} is no action",
            "participant.verb in lower case, such as inventory.reserve",
        )


def _check_delivery(spec: BranchSpec) -> None:
    """Check what only a message or a notice may ask for."""
    if not spec.is_delivery:
        field = "on" if spec.on is not _ON_CONFIRM else "delay_ms"
        raise InvalidArgument(field, "is for messages and notices only")
    if not 0 <= spec.delay_ms <= limits.DELAY_MS_MAX:
        raise InvalidArgument("delay_ms", f"is {spec.delay_ms}", f"0 to {limits.DELAY_MS_MAX}")


def _check_pivot_and_budget(spec: BranchSpec) -> None:
    if spec.pivot and spec.kind is not Kind.SAGA:
        raise InvalidArgument("pivot", "is for saga steps only")
    budget = _budget_field(spec)
    if spec.pivot and budget:
        why = "is not for a pivot, which is asked until its answer is known"
        raise InvalidArgument(budget, why)
    if spec.kind is Kind.MESSAGE:
        raise InvalidArgument(budget, "is not for a message, which is never given up")
    if not 0 <= spec.attempts_max <= limits.ATTEMPTS_MAX:
        raise InvalidArgument(
            "attempts_max", f"is {spec.attempts_max}", f"0 to {limits.ATTEMPTS_MAX}"
        )
    if not 0 <= spec.retry_for_ms <= limits.TIMEOUT_MS_MAX:
        raise InvalidArgument(
            "retry_for_ms", f"is {spec.retry_for_ms}", f"0 to {limits.TIMEOUT_MS_MAX}"
        )


def _budget_field(spec: BranchSpec) -> str:
    """Return the field that gives a branch a budget of its own; "" if none does."""
    return "attempts_max" if spec.attempts_max else "retry_for_ms" if spec.retry_for_ms else ""


def _check_sole_pivot(other: BranchSpec | None, *, interactive: bool) -> None:
    if interactive:
        raise InvalidArgument(
            "pivot", "decides by itself, and an interactive transaction is decided by its initiator"
        )
    if other is not None:
        raise InvalidArgument("pivot", f"is set, and {other.id!r} is the pivot already", "one")


def _check_around_pivot(pivot: BranchSpec, specs: Sequence[BranchSpec]) -> None:
    """Check that every Try comes before the pivot, or after it and can only go forward."""
    preceding, following = comes_before(pivot.id, specs), comes_after(pivot.id, specs)
    for index, spec in enumerate(specs):
        if spec.is_delivery or spec is pivot or spec.id in preceding:
            continue
        where = f"branches[{index}]"
        if spec.id not in following:
            raise InvalidArgument(
                f"{where}.after",
                f"puts {spec.id!r} neither before nor after the pivot {pivot.id!r}: name it in "
                "the pivot's `after`, or the pivot in its own",
            )
        if spec.kind is not Kind.SAGA:
            raise InvalidArgument(
                f"{where}.after",
                f"puts a tcc branch after the pivot {pivot.id!r}, where nothing is refused or "
                "undone any more",
                "saga steps, messages and notices",
            )
        if budget := _budget_field(spec):
            raise InvalidArgument(
                f"{where}.{budget}",
                f"is not for a step after the pivot {pivot.id!r}, which is asked until it is done",
            )


def _check_after(field: str, spec: BranchSpec, by_id: dict[str, BranchSpec]) -> None:
    if len(set(spec.after)) != len(spec.after):
        raise InvalidArgument(field, "names a branch twice")
    for named in spec.after:
        if named not in by_id:
            raise InvalidArgument(field, f"names {named!r}, which is no branch of the transaction")
        if by_id[named].is_delivery and not spec.is_delivery:
            raise InvalidArgument(
                field,
                f"names {named!r}, a {by_id[named].kind.name.lower()}, which comes after the "
                f"decision; a {spec.kind.name.lower()} comes before it",
                "tcc and saga branches",
            )


def fingerprint(name: str, timeout_ms: int, branches: Sequence[BranchSpec]) -> bytes:
    """Return the identity of a transaction's content: 16 bytes of BLAKE2b over its msgpack.

    Covers name, timeout and every field of every branch, in an encoding that no two contents
    share. Labels and trace context are not part of it. Fields that came later count only where
    they are set, so that whoever asks again after an upgrade still finds his transaction.
    """
    content: list[tuple[object, ...]] = [
        (b.id, b.kind, b.action, b.payload, b.after, b.on, b.delay_ms) for b in branches
    ]
    for index, b in enumerate(branches):
        if b.pivot or b.attempts_max or b.retry_for_ms or b.topic:
            content[index] += (b.pivot, b.attempts_max, b.retry_for_ms)
        if b.topic:
            content[index] += (b.topic,)
    return hashlib.blake2b(_encode((name, timeout_ms, content)), digest_size=16).digest()
