"""Between the transport's wire and the core: calls are written, answers are read."""

import re
from typing import Any

import grpc
from trypact.v1 import participant_pb2, transaction_pb2

from trypact_coordinator.core import limits
from trypact_coordinator.core.events import Answer, Ok, Pending, Refused, Retry, Unknown
from trypact_coordinator.core.outcome import Call
from trypact_coordinator.core.transaction import Operation
from trypact_coordinator.text import shorten

SERVICE = participant_pb2.DESCRIPTOR.services_by_name["ParticipantService"].full_name

CLOSED = Unknown("CANCELLED: the coordinator is stopping")
EMPTY_ANSWER = Unknown("DATA_LOSS: an answer that says none of ok, refused, retry, pending")


_DELIVER = Operation.DELIVER
_OK = Ok()


def fill(body: participant_pb2.BranchCall, call: Call) -> None:
    """Write what every operation's request carries."""
    spec = call.branch
    kind: Any = spec.kind
    body.xid = call.xid
    body.branch_id = spec.id
    body.kind = kind
    body.action = spec.action
    body.attempt = call.attempt
    # A field that has its default costs nothing on the wire; setting it costs all the same.
    if spec.payload:
        body.payload = spec.payload
    if call.not_after:
        body.not_after_us = call.not_after
    if call.trace_parent:
        body.trace_parent = call.trace_parent


def drive_request(batch: list[Call]) -> participant_pb2.DriveRequest:
    """Write a batch of calls."""
    request = participant_pb2.DriveRequest()
    add = request.items.add
    for call in batch:
        item = add()
        operation: Any = call.operation
        item.operation = operation
        item.timeout_ms = call.timeout_ms
        if operation is _DELIVER:
            decision: Any = call.decision
            item.decision = decision
        fill(item.call, call)
    return request


def decode(answer: transaction_pb2.Answer) -> Answer:
    """Read a participant's answer; what breaks the contract is Unknown."""
    kind = answer.WhichOneof("kind")
    if kind == "ok":
        ok = answer.ok
        result, expires_at_us = ok.result, ok.expires_at_us
        if not (result or expires_at_us):
            return _OK
        if len(result) > limits.RESULT_BYTES_MAX:
            most = limits.RESULT_BYTES_MAX
            return Unknown(
                f"OUT_OF_RANGE: a result of {len(result)} bytes; at most {most} are allowed"
            )
        return Ok(result, max(expires_at_us, 0))
    if kind == "refused":
        return Refused(shorten(answer.refused.reason, limits.REASON_BYTES_MAX))
    if kind == "retry":
        reason = shorten(answer.retry.reason, limits.REASON_BYTES_MAX)
        return Retry(max(answer.retry.after_ms, 0), reason)
    if kind == "pending":
        return Pending()
    return EMPTY_ANSWER


# gRPC's ways of saying that nobody listens at an address: the event engine's, and the classic
# poller's with the number of the error at its end.
_CONNECTING = re.compile(
    r"failed to connect to all addresses; last error: (?:[A-Z_]+: )?(?:ipv[46]:)?(?P<where>\S+): "
    r"(?:Failed to connect to remote host: )?(?:connect: )?(?P<why>[^()]+?)(?: \(\d+\))?$"
)
# What it says of a process that the system takes connections for and that never speaks.
_SILENT = "connection attempt timed out before receiving SETTINGS frame"


def failed(code: grpc.StatusCode, details: str | None) -> Unknown:
    """Say with what status a call ended."""
    said = _CONNECTING.sub(r"\g<where>: \g<why>", details or "no details")
    said = said.replace(_SILENT, "takes connections, but does not answer: is it hung?")
    return Unknown(shorten(f"{code.name}: {said}", limits.REASON_BYTES_MAX))


def unknown(error: BaseException) -> Unknown:
    """Say what went wrong with a call."""
    if isinstance(error, grpc.aio.AioRpcError):
        return failed(error.code(), error.details())
    return Unknown(shorten(f"{type(error).__name__}: {error}", limits.REASON_BYTES_MAX))
