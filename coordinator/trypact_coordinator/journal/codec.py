"""How a transaction is written: two blobs of msgpack, each behind one byte that names its format.

`spec` is what the initiator described. It is written at the beginning and when branches join, and
never otherwise, so that payloads are written once. `progress` is everything that changes, the
timeline included, and goes with every record. This is on the hot path: tuples instead of maps,
and no copy of the transaction.

A new format gets a new number and a new entry in the tables at the end; the old entries stay, for
rows are never rewritten by a migration.
"""

from collections.abc import Callable

import msgspec

from trypact_coordinator.core.errors import UnreadableRow
from trypact_coordinator.core.order import roles_of
from trypact_coordinator.core.transaction import (
    Branch,
    BranchSpec,
    BranchState,
    Entry,
    Spec,
    State,
    Transaction,
)


class _Description(msgspec.Struct, frozen=True, array_like=True):
    spec: Spec
    branches: tuple[BranchSpec, ...]
    created_at: int
    deadline_at: int


class _BranchProgress(msgspec.Struct, frozen=True, array_like=True):
    """The fields of `Branch` after its role, in the same order."""

    state: BranchState
    attempt: int
    in_flight: bool
    due_at: int
    quiet_at: int
    result: bytes
    reason: str
    stuck: bool
    give_up_at: int = 0
    failures: int = 0


class _Progress(msgspec.Struct, frozen=True, array_like=True):
    branches: tuple[_BranchProgress, ...]
    state: State
    version: int
    epoch: int
    auto_commit: bool
    resumed: bool
    paused: bool
    frozen: str
    due_at: int | None
    decided_at: int
    finished_at: int
    reason: str
    refused_branch_id: str
    timeline: tuple[Entry, ...]
    # Where it has changed since the description was written; 0 in rows that are older than that.
    deadline_at: int = 0


_FORMAT = b"\x01"
_encode = msgspec.msgpack.Encoder().encode
_decode_description = msgspec.msgpack.Decoder(_Description).decode
_decode_progress = msgspec.msgpack.Decoder(_Progress).decode


def encode_spec(tx: Transaction) -> bytes:
    """Return what the initiator described: the spec, every branch's spec, and the two instants."""
    branches = [branch.spec for branch in tx.branches]
    return _FORMAT + _encode((tx.spec, branches, tx.created_at, tx.deadline_at))


def encode_progress(tx: Transaction) -> bytes:
    """Return everything that changes."""
    branches = [
        (
            b.state,
            b.attempt,
            b.in_flight,
            b.due_at,
            b.quiet_at,
            b.result,
            b.reason,
            b.stuck,
            b.give_up_at,
            b.failures,
        )
        for b in tx.branches
    ]
    return _FORMAT + _encode(
        (
            branches,
            tx.state,
            tx.version,
            tx.epoch,
            tx.auto_commit,
            tx.resumed,
            tx.paused,
            tx.frozen,
            tx.due_at,
            tx.decided_at,
            tx.finished_at,
            tx.reason,
            tx.refused_branch_id,
            tx.timeline,
            tx.deadline_at,
        )
    )


def decode(xid: str, spec: bytes, progress: bytes) -> Transaction:
    """Return the transaction that was encoded. Raises UnreadableRow."""
    try:
        description = _DESCRIPTIONS[spec[0]](memoryview(spec)[1:])
        current = _PROGRESSES[progress[0]](memoryview(progress)[1:])
        return _join(description, current)
    except KeyError as error:
        raise UnreadableRow(
            f"transaction {xid} is written in format {error.args[0]}, and this trypact reads "
            f"{', '.join(map(str, _DESCRIPTIONS))}. Use the version that wrote it."
        ) from None
    except (msgspec.MsgspecError, IndexError, ValueError) as error:
        raise UnreadableRow(f"the row of transaction {xid} is damaged: {error}") from error


def _join(description: _Description, current: _Progress) -> Transaction:
    branches = tuple(
        Branch(
            spec,
            role,
            b.state,
            b.attempt,
            b.in_flight,
            b.due_at,
            b.quiet_at,
            b.result,
            b.reason,
            b.stuck,
            b.give_up_at,
            b.failures,
        )
        for spec, role, b in zip(
            description.branches, roles_of(description.branches), current.branches, strict=True
        )
    )
    return Transaction(
        spec=description.spec,
        branches=branches,
        created_at=description.created_at,
        deadline_at=current.deadline_at or description.deadline_at,
        state=current.state,
        version=current.version,
        epoch=current.epoch,
        auto_commit=current.auto_commit,
        resumed=current.resumed,
        paused=current.paused,
        frozen=current.frozen,
        due_at=current.due_at,
        decided_at=current.decided_at,
        finished_at=current.finished_at,
        reason=current.reason,
        refused_branch_id=current.refused_branch_id,
        timeline=current.timeline,
    )


_DESCRIPTIONS: dict[int, Callable[[memoryview], _Description]] = {1: _decode_description}
_PROGRESSES: dict[int, Callable[[memoryview], _Progress]] = {1: _decode_progress}
