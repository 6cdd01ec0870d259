"""What an initiator asks the coordinator in one go, without I/O; blocks are in `_interactive`."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from grpc_health.v1 import health_pb2

from trypact import _exchange, errors
from trypact._arguments import require_number, require_text
from trypact._exchange import Conversation, Exchange
from trypact._framing import read
from trypact.branches import Branch, with_ids, word, write
from trypact.ids import new_xid
from trypact.kinds import Operation, Until
from trypact.limits import TIMEOUT_S_MAX, shortened
from trypact.outcome import Outcome, Reported, Standing, decision_of, outcome_of
from trypact.v1 import initiator_pb2, transaction_pb2

Wait = Literal["settled", "decided"]


def until(value: str) -> Until:
    """Return when the caller wants to be answered. Raises InvalidRequest."""
    try:
        return _UNTIL[value]
    except (KeyError, TypeError):
        raise errors.InvalidRequest(f"wait: is {value!r}; allowed: settled, decided") from None


_UNTIL = {str(word): word for word in Until}


def begin_of(
    name: str,
    xid: str | None,
    timeout: float | None,
    labels: Mapping[str, str] | None,
    trace_parent: str,
    nonce: str = "",
) -> initiator_pb2.Begin:
    """Describe a transaction; chooses the xid if there is none. Raises InvalidRequest."""
    xid = new_xid() if xid is None else xid
    for field, text in (("xid", xid), ("name", name), ("trace_parent", trace_parent)):
        require_text(field, text)
    if timeout is not None:
        require_number("timeout", timeout, 0.001, TIMEOUT_S_MAX, "seconds")
    if labels is not None and not isinstance(labels, Mapping):
        raise errors.InvalidRequest(f"labels: is {labels!r}; allowed: a dict of strings")
    for key, value in (labels or {}).items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise errors.InvalidRequest(f"labels: {key!r}: {value!r}; allowed: strings")
        require_text("labels", key)
        require_text(f"labels[{key}]", value)
    begin = initiator_pb2.Begin(xid=xid, name=name, trace_parent=trace_parent, nonce=nonce)
    if timeout is not None:
        begin.timeout_ms = round(timeout * 1000)
    if labels:
        begin.labels.update(labels)
    return begin


def concluded(outcome: Outcome) -> Outcome:
    """Return an outcome that is no cancel. Raises TransactionCancelled."""
    if outcome.cancelled:
        raise errors.TransactionCancelled(outcome)
    return outcome


def execute(
    exchange: Exchange,
    name: str,
    branches: Iterable[Branch],
    begin: initiator_pb2.Begin,
    wait: str,
    fresh: bool,
) -> Conversation[Outcome]:
    """Run a one-shot transaction to its end; `fresh` if nobody else can know its xid."""
    request = initiator_pb2.ExecuteRequest(begin=begin, wait_until=until(wait).wire, fresh=fresh)
    for branch in with_ids(branches):
        write(branch, request.branches.add())
    reply = yield from exchange.ask_to_decide(_exchange.EXECUTE, request, begin.xid)
    return concluded(outcome_of(reply.outcome))


def get(exchange: Exchange, xid: str) -> Conversation[Outcome]:
    """Ask how a transaction stands."""
    require_text("xid", xid)
    reply = yield from exchange.ask(_exchange.GET, initiator_pb2.GetRequest(xid=xid))
    return outcome_of(reply.outcome)


def wait_for(
    exchange: Exchange, xid: str, wait: str, patience: float | None
) -> Conversation[Outcome]:
    """Ask how a transaction ended, once it has."""
    require_text("xid", xid)
    request = initiator_pb2.WaitRequest(xid=xid, wait_until=until(wait).wire)
    reply = yield from exchange.ask_to_decide(_exchange.WAIT, request, xid, patience)
    return outcome_of(reply.outcome)


def decision(exchange: Exchange, xid: str, settle: bool) -> Conversation[Standing]:
    """Ask what is decided; with `settle`, make sure that something is."""
    require_text("xid", xid)
    request = initiator_pb2.GetDecisionRequest(xid=xid, settle=settle)
    reply = yield from exchange.ask(_exchange.GET_DECISION, request)
    return Standing(decision_of(reply.decision), reply.final, reply.closed)


def report(
    exchange: Exchange,
    xid: str,
    branch_id: str,
    operation: Operation | str,
    ok: Any,
    refused: str | None,
) -> Conversation[Reported]:
    """Tell the coordinator how a PENDING operation ended."""
    require_text("xid", xid)
    require_text("branch_id", branch_id)
    asked: Operation = word(Operation, "operation", operation)
    if refused is None:
        reserves = asked is Operation.TRY
        result, expires_at_us = read(ok, f"a report of {asked}", reserves=reserves)
        told = transaction_pb2.Answer.Ok(result=result, expires_at_us=expires_at_us)
        answer = transaction_pb2.Answer(ok=told)
    elif ok is None:
        answer = transaction_pb2.Answer(
            refused=transaction_pb2.Answer.Refused(reason=shortened(refused))
        )
    else:
        raise errors.InvalidRequest("ok, refused: both are given; allowed: one of them")
    request = initiator_pb2.ReportBranchRequest(
        xid=xid, branch_id=branch_id, operation=asked.wire, answer=answer
    )
    reply = yield from exchange.ask(_exchange.REPORT_BRANCH, request)
    return Reported(decision_of(reply.decision), reply.accepted)


def ping(exchange: Exchange) -> Conversation[float]:
    """Ask the coordinator whether it serves; return the seconds that took."""
    asked_at = exchange.clock()
    reply = yield from exchange.ask(_exchange.HEALTH, health_pb2.HealthCheckRequest())
    if reply.status != health_pb2.HealthCheckResponse.SERVING:
        status = health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status)
        raise errors.CoordinatorUnavailable(f"the coordinator at {exchange.endpoint} is {status}")
    return exchange.clock() - asked_at
