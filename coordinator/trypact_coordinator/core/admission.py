"""The door: what a transaction and its branches must be before anything is written.

Every refusal names the field, says why, and says what is allowed. Whether a participant and its
action exist is the registry's question, not this module's.
"""

import hashlib
import re
from collections.abc import Sequence

from trypact_coordinator.core import limits
from trypact_coordinator.core.errors import InvalidArgument, LimitExceeded
from trypact_coordinator.core.order import find_circle
from trypact_coordinator.core.transaction import BranchSpec, On, Spec

_VISIBLE = re.compile(r"[!-~]+")
_ACTION = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")
_PARTICIPANT = re.compile(r"[a-z][a-z0-9_]*")
_VISIBLE_ALLOWED = "visible ASCII characters (no spaces, no line breaks)"


def check_size(field: str, value: str | bytes, most: int, what: str = "bytes") -> None:
    """Raise LimitExceeded when a value is longer than `most` bytes."""
    size = len(value.encode()) if isinstance(value, str) else len(value)
    if size > most:
        raise LimitExceeded(field, f"is {size} {what} long", f"at most {most}")


def check_id(field: str, value: str, most: int) -> None:
    """Check an identifier: present, visible ASCII, at most that many bytes."""
    if not value:
        raise InvalidArgument(field, "is missing", f"1 to {most} {_VISIBLE_ALLOWED}")
    check_size(field, value, most)
    if not _VISIBLE.fullmatch(value):
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


def check_text(field: str, value: str, most: int) -> None:
    """Check free text: at most that many bytes."""
    check_size(field, value, most)


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


def check_branches(new: Sequence[BranchSpec], known: Sequence[BranchSpec] = ()) -> None:
    """Check branches that join those a transaction already has.

    Raises InvalidArgument or LimitExceeded naming `branches[i].field`, `i` counting the new ones.
    """
    if len(new) + len(known) > limits.BRANCHES_MAX:
        raise LimitExceeded(
            "branches", f"would be {len(new) + len(known)}", f"at most {limits.BRANCHES_MAX}"
        )
    by_id = {spec.id: spec for spec in known}
    for index, spec in enumerate(new):
        where = f"branches[{index}]"
        check_id(f"{where}.id", spec.id, limits.BRANCH_ID_BYTES_MAX)
        if spec.id in by_id:
            raise InvalidArgument(f"{where}.id", f"{spec.id!r} names another branch already")
        by_id[spec.id] = spec
        _check_branch(where, spec)
    ordered = False
    for index, spec in enumerate(new):
        if spec.after:
            ordered = True
            _check_after(f"branches[{index}].after", spec, by_id)
    if ordered and (circle := find_circle(by_id.values())):
        raise InvalidArgument("branches.after", f"goes in a circle: {' -> '.join(circle)}")
    total = sum(len(spec.payload) for spec in by_id.values())
    if total > limits.TRANSACTION_BYTES_MAX:
        raise LimitExceeded(
            "branches.payload",
            f"is {total} bytes over all branches",
            f"at most {limits.TRANSACTION_BYTES_MAX}",
        )


def _check_branch(where: str, spec: BranchSpec) -> None:
    check_size(f"{where}.action", spec.action, 2 * limits.ACTION_HALF_BYTES_MAX + 1)
    if not _ACTION.fullmatch(spec.action):
        raise InvalidArgument(
            f"{where}.action",
            f"{spec.action!r} is no action",
            "participant.verb in lower case, such as inventory.reserve",
        )
    check_size(f"{where}.payload", spec.payload, limits.PAYLOAD_BYTES_MAX)
    if not spec.is_delivery:
        if spec.on is not On.CONFIRM:
            raise InvalidArgument(f"{where}.on", "is for messages and notices only")
        if spec.delay_ms:
            raise InvalidArgument(f"{where}.delay_ms", "is for messages and notices only")
    if not 0 <= spec.delay_ms <= limits.DELAY_MS_MAX:
        raise InvalidArgument(
            f"{where}.delay_ms", f"is {spec.delay_ms}", f"0 to {limits.DELAY_MS_MAX}"
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
    """Return the identity of a transaction's content: 16 bytes of BLAKE2b.

    Covers name, timeout and every field of every branch, each with its length before it, so that
    no two contents share an encoding. Labels and trace context are not part of it.
    """
    digest = hashlib.blake2b(digest_size=16)

    def add(part: bytes) -> None:
        digest.update(len(part).to_bytes(4, "big"))
        digest.update(part)

    add(name.encode())
    add(timeout_ms.to_bytes(8, "big", signed=True))
    for spec in branches:
        add(spec.id.encode())
        add(bytes((spec.kind.value, spec.on.value, len(spec.after) & 0xFF)))
        add(spec.action.encode())
        for named in spec.after:
            add(named.encode())
        add(spec.delay_ms.to_bytes(8, "big", signed=True))
        add(spec.payload)
    return digest.digest()
