"""What the wire says, as plain values: the shape of `-o json`, which scripts rely on.

Enums are their names without prefix, instants are RFC 3339 in UTC or null, nothing is left out.
"""

from datetime import UTC, datetime
from typing import Any

from trypact.v1 import admin_pb2, registry_pb2, transaction_pb2


def instant(message: Any, field: str) -> str | None:
    """Return a timestamp field as RFC 3339, None when it is unset."""
    at = micros(message, field)
    if not at:
        return None
    return datetime.fromtimestamp(at / 1_000_000, UTC).isoformat().replace("+00:00", "Z")


def micros(message: Any, field: str) -> int:
    """Return a timestamp field in microseconds; 0 when it is unset."""
    if not message.HasField(field):
        return 0
    at = getattr(message, field)
    return int(at.seconds) * 1_000_000 + int(at.nanos) // 1_000


def enum_name(enum: Any, number: int, prefix: str) -> str:
    """Return the short name of an enum's value; its number if a newer contract sent it."""
    try:
        return str(enum.Name(number)).removeprefix(prefix)
    except ValueError:
        return str(number)


def state_name(number: int) -> str:
    """Name a transaction's state."""
    return enum_name(transaction_pb2.TransactionState, number, "TRANSACTION_STATE_")


def branch_state_name(number: int) -> str:
    """Name a branch's state."""
    return enum_name(transaction_pb2.BranchState, number, "BRANCH_STATE_")


def kind_name(number: int) -> str:
    """Name a kind of branch."""
    return enum_name(transaction_pb2.BranchKind, number, "BRANCH_KIND_").lower()


def branch_view(branch: admin_pb2.BranchDetail) -> dict[str, Any]:
    """Return a branch."""
    return {
        "id": branch.id,
        "kind": kind_name(branch.kind),
        "action": branch.action,
        "participant": branch.action.partition(".")[0],
        "state": branch_state_name(branch.state),
        "attempts": branch.attempts,
        "reason": branch.reason,
        "failing_since": instant(branch, "failing_since"),
        "next_attempt_at": instant(branch, "next_attempt_at"),
        "after": list(branch.after),
        "on": enum_name(transaction_pb2.DeliverOn, branch.on, "DELIVER_ON_").lower(),
        "pivot": branch.pivot,
        "attempts_max": branch.attempts_max,
        "retry_for_ms": branch.retry_for_ms,
        "topic": branch.topic,
        "payload_bytes": branch.payload_bytes,
        "result": branch.result.decode(errors="replace"),
    }


_OPERATIONS = {"TRYING": "Try", "CONFIRMING": "Confirm", "CANCELLING": "Cancel"}


def awaited(tx: admin_pb2.TransactionSummary) -> str:
    """Say whom a transaction waits for: `balance: Confirm money`; "" if for nobody."""
    if not tx.HasField("waiting_for"):
        return ""
    branch = tx.waiting_for
    delivery = branch.kind in (
        transaction_pb2.BRANCH_KIND_MESSAGE,
        transaction_pb2.BRANCH_KIND_NOTICE,
    )
    operation = "Deliver" if delivery else _OPERATIONS.get(state_name(tx.state), "")
    return f"{branch.action.partition('.')[0]}: {operation} {branch.id}"


def summary_view(tx: admin_pb2.TransactionSummary) -> dict[str, Any]:
    """Return one line of a listing."""
    return {
        "xid": tx.xid,
        "name": tx.name,
        "state": state_name(tx.state),
        "paused": tx.paused,
        "stuck_reason": tx.stuck_reason,
        "created_at": instant(tx, "created_at"),
        "finished_at": instant(tx, "finished_at"),
        "labels": dict(sorted(tx.labels.items())),
        "branches": tx.branches,
        "waiting_for": branch_view(tx.waiting_for) if tx.HasField("waiting_for") else None,
    }


def detail_view(tx: admin_pb2.TransactionDetail, explanation: str = "") -> dict[str, Any]:
    """Return a transaction whole."""
    view = summary_view(tx.summary)
    view |= {
        "decision": enum_name(transaction_pb2.Decision, tx.decision, "DECISION_"),
        "reason": tx.reason,
        "refused_branch_id": tx.refused_branch_id,
        "deadline_at": instant(tx, "deadline_at"),
        "decided_at": instant(tx, "decided_at"),
        "interactive": tx.interactive,
        "version": tx.version,
        "epoch": tx.epoch,
        "branches": [branch_view(branch) for branch in tx.branches],
        "timeline": [
            {
                "at": instant(entry, "at"),
                "event": entry.event,
                "branch_id": entry.branch_id,
                "detail": entry.detail,
            }
            for entry in tx.timeline
        ],
    }
    if explanation:
        view["explanation"] = explanation
    return view


def participant_view(participant: registry_pb2.Participant) -> dict[str, Any]:
    """Return a registered participant."""
    return {
        "name": participant.name,
        "actions": {
            action.verb: [kind_name(kind) for kind in action.kinds]
            for action in participant.actions
        },
        "topics": {topic: action.verb for action in participant.actions for topic in action.topics},
        "instances": [
            {
                "instance": row.instance,
                "endpoint": row.endpoint,
                "state": enum_name(registry_pb2.InstanceState, row.state, "INSTANCE_STATE_"),
                "renewed_at": instant(row, "renewed_at"),
            }
            for row in participant.instances
        ],
        "breaker": enum_name(registry_pb2.BreakerState, participant.breaker, "BREAKER_STATE_"),
        "calls_in_flight": participant.calls_in_flight,
        "calls_queued": participant.calls_queued,
    }


def ping_view(ping: admin_pb2.Ping) -> dict[str, Any]:
    """Return what one instance's health service said."""
    return {
        "instance": ping.instance,
        "endpoint": ping.endpoint,
        "status": ping.status,
        "round_trip_us": ping.round_trip_us,
    }
