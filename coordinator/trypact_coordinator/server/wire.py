"""Between the wire contract and the core: the only module that knows both vocabularies.

Enum numbers are the same on both sides by design; what the core has no number for (unspecified,
or a value of a newer contract) is refused here, by the name of its field.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Any, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp
from trypact.v1 import initiator_pb2, registry_pb2, transaction_pb2

from trypact_coordinator.core import limits
from trypact_coordinator.core.admission import check_id, check_size, check_xid, fingerprint
from trypact_coordinator.core.errors import InvalidArgument, LimitExceeded
from trypact_coordinator.core.events import Ok, Refused
from trypact_coordinator.core.outcome import Reply
from trypact_coordinator.core.transaction import (
    NEVER,
    Branch,
    BranchSpec,
    Decision,
    Kind,
    On,
    Operation,
    Spec,
    Transaction,
)
from trypact_coordinator.ports import Instance

_EnumT = TypeVar("_EnumT", bound=Enum)


# ---------------------------------------------------------------- from the wire


def xid_of(xid: str) -> str:
    """Return an xid that may be asked for. Raises InvalidArgument."""
    check_xid(xid)
    return xid


def branch_id_of(branch_id: str) -> str:
    """Return a branch id that may be asked for. Raises InvalidArgument."""
    check_id("branch_id", branch_id, limits.BRANCH_ID_BYTES_MAX)
    return branch_id


def member_of(enum: type[_EnumT], number: int, field: str) -> _EnumT:
    """Return the member of that number. Raises InvalidArgument naming the field."""
    try:
        return enum(number)
    except ValueError:
        why = f"is {number}, which this coordinator does not know" if number else "is missing"
        raise InvalidArgument(field, why, ", ".join(m.name for m in enum)) from None


_KINDS = {kind.value: kind for kind in Kind}
_CONFIRM = On.CONFIRM


def branch_spec(branch: transaction_pb2.Branch, where: str) -> BranchSpec:
    """Read one branch; `where` begins the names of its fields in errors."""
    try:
        return _branch_spec(branch)
    except InvalidArgument as error:
        raise error.within(where) from None


def _branch_spec(branch: transaction_pb2.Branch) -> BranchSpec:
    # The usual numbers are looked up here, the others judged by `member_of`.
    return BranchSpec(
        branch.id,
        _KINDS.get(branch.kind) or member_of(Kind, branch.kind, "kind"),
        branch.action,
        branch.payload,
        tuple(after) if (after := branch.after) else (),
        _CONFIRM if not branch.on else member_of(On, branch.on, "on"),
        branch.delay_ms,
        branch.pivot,
        branch.attempts_max,
        branch.retry_for_ms,
        _topic(branch) if branch.topic else "",
    )


def _topic(branch: transaction_pb2.Branch) -> str:
    if branch.kind != transaction_pb2.BRANCH_KIND_MESSAGE:
        raise InvalidArgument("topic", "is for messages only")
    if branch.action:
        raise InvalidArgument("topic", "stands beside an action", "the one or the other")
    return branch.topic


def branch_specs(
    branches: Sequence[transaction_pb2.Branch], field: str = "branches"
) -> tuple[BranchSpec, ...]:
    """Read a list of branches. A list over its limit is refused before it costs anything."""
    if len(branches) > limits.BRANCHES_MAX:
        raise LimitExceeded(field, f"has {len(branches)}", f"at most {limits.BRANCHES_MAX}")
    specs: list[BranchSpec] = []
    for branch in branches:
        try:
            specs.append(_branch_spec(branch))
        except InvalidArgument as error:
            raise error.within(f"{field}[{len(specs)}]") from None
    return tuple(specs)


def execution_of(
    request: initiator_pb2.ExecuteRequest, default_timeout_ms: int
) -> tuple[Spec, tuple[BranchSpec, ...], Reply]:
    """Read what is to be executed, and when its caller wants to be answered."""
    branches = branch_specs(request.branches)
    spec = spec_of(request.begin, branches, default_timeout_ms, interactive=False)
    return spec, branches, reply_of(request.wait_until)


def spec_of(
    begin: initiator_pb2.Begin,
    branches: tuple[BranchSpec, ...],
    default_timeout_ms: int,
    *,
    interactive: bool,
) -> Spec:
    """Read the description of a transaction. No timeout means the coordinator's default."""
    timeout_ms = begin.timeout_ms or default_timeout_ms
    return Spec(
        xid=xid_of(begin.xid),
        name=begin.name,
        timeout_ms=timeout_ms,
        fingerprint=fingerprint(begin.name, timeout_ms, branches),
        interactive=interactive,
        nonce=begin.nonce,
        labels=tuple(sorted(labels.items())) if (labels := begin.labels) else (),
        trace_parent=begin.trace_parent,
    )


def reply_of(wait_until: int) -> Reply:
    """Read when a caller wants to be answered."""
    if wait_until == initiator_pb2.WAIT_UNTIL_DECIDED:
        return Reply.DECIDED
    if wait_until in (initiator_pb2.WAIT_UNTIL_SETTLED, initiator_pb2.WAIT_UNTIL_UNSPECIFIED):
        return Reply.SETTLED
    raise InvalidArgument("wait_until", f"is {wait_until}", "SETTLED, DECIDED")


def operation_of(number: int) -> Operation:
    """Read which operation is meant."""
    return member_of(Operation, number, "operation")


def verdict_of(number: int) -> Decision:
    """Read the decision an operator asks for: CONFIRM or CANCEL."""
    if number not in (Decision.CONFIRM.value, Decision.CANCEL.value):
        raise InvalidArgument("decision", "is neither CONFIRM nor CANCEL", "CONFIRM, CANCEL")
    return Decision(number)


def reported_answer(answer: transaction_pb2.Answer) -> Ok | Refused:
    """Read the answer that completes a PENDING operation: OK or REFUSED."""
    kind = answer.WhichOneof("kind")
    if kind == "ok":
        check_size("answer.ok.result", answer.ok.result, limits.RESULT_BYTES_MAX)
        if (expires_at_us := answer.ok.expires_at_us) < 0:
            raise InvalidArgument("answer.ok.expires_at_us", f"is {expires_at_us}", "at least 0")
        return Ok(answer.ok.result, expires_at_us)
    if kind == "refused":
        check_size("answer.refused.reason", answer.refused.reason, limits.REASON_BYTES_MAX)
        return Refused(answer.refused.reason)
    raise InvalidArgument("answer", f"is {kind or 'missing'}", "ok, refused")


def instance_of(request: registry_pb2.RegisterRequest, renewed_at: int) -> Instance:
    """Read the registration of one instance."""
    return Instance(
        participant=request.participant,
        instance=request.instance,
        endpoint=request.endpoint,
        actions=tuple(
            (
                action.verb,
                tuple(
                    member_of(Kind, kind, f"actions[{index}].kinds[{place}]")
                    for place, kind in enumerate(action.kinds)
                ),
            )
            for index, action in enumerate(request.actions)
        ),
        renewed_at=renewed_at,
        topics=tuple((topic, action.verb) for action in request.actions for topic in action.topics),
    )


# ---------------------------------------------------------------- to the wire


def number(member: Enum) -> Any:
    """Return the number both sides use; generated stubs have a type of their own for each enum."""
    return member.value


def timestamp(at: int) -> Timestamp | None:
    """Write an instant; what the core uses for "not yet" and for "never" is left unset."""
    if not 0 < at < NEVER:
        return None
    seconds, micros = divmod(at, 1_000_000)
    return Timestamp(seconds=seconds, nanos=micros * 1_000)


def branch_outcome(branch: Branch) -> transaction_pb2.BranchOutcome:
    """Write how a branch stands, for its initiator."""
    outcome = transaction_pb2.BranchOutcome()
    _write_branch(outcome, branch)
    return outcome


def transaction_outcome(tx: Transaction) -> transaction_pb2.TransactionOutcome:
    """Write how a transaction stands, for its initiator."""
    outcome = transaction_pb2.TransactionOutcome()
    write_outcome(outcome, tx)
    return outcome


def write_outcome(outcome: Any, tx: Transaction) -> None:
    """Write how a transaction stands into a TransactionOutcome that is part of another message.

    Field by field, and none that is empty: it is on the way of every transaction.
    """
    outcome.xid = tx.spec.xid
    outcome.name = tx.spec.name
    outcome.state = tx.state
    outcome.decision = tx.decision
    if tx.reason:
        outcome.reason = tx.reason
    if tx.refused_branch_id:
        outcome.refused_branch_id = tx.refused_branch_id
    add = outcome.branches.add
    for branch in tx.branches:
        _write_branch(add(), branch)


def _write_branch(outcome: Any, branch: Branch) -> None:
    spec = branch.spec
    outcome.id = spec.id
    outcome.kind = spec.kind
    outcome.action = spec.action
    outcome.state = branch.state
    if branch.result:
        outcome.result = branch.result
    if branch.reason:
        outcome.reason = branch.reason
