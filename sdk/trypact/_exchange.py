"""Requests, retries and errors without I/O: both faces of the client drive these generators.

A conversation yields what it wants done (`Send` a request, `Pause` for a while) and is sent what
came of it (the response, or a `Failure`); its return value is the result. It never touches a
socket, a clock or a random number of its own, so the async and the sync face cannot differ.

Every request may be repeated, because ids are chosen before the first send. Repeated is only
what did not arrive (UNAVAILABLE) or was turned away with a hint (RESOURCE_EXHAUSTED with
RetryInfo), until the caller's patience ends.
"""

import logging
import random
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Generic, NamedTuple, TypeVar

from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2

from trypact import errors
from trypact._address import require_target
from trypact._arguments import require_number
from trypact.outcome import outcome_of, standing
from trypact.v1 import initiator_pb2

logger = logging.getLogger("trypact.client")

ResponseT = TypeVar("ResponseT", bound=Message)
ResultT = TypeVar("ResultT")

BACKOFF_BASE_S = 0.05
BACKOFF_CAP_S = 2.0
# A hint is honoured up to here; whoever means longer than this means "not today".
HINT_CAP_S = 30.0
# How long methods may take unless told otherwise: a coordinator's transactions may stay undecided
# for 60 s unless told otherwise, and are to be settled then. Whoever gives up before that is left
# with an unknown outcome of a transaction that would have had one.
PATIENCE_S = 90.0
PATIENCE_S_MAX = 365 * 24 * 3600.0
# How long may be asked, once the patience is over, for what an answer was waited for.
LAST_QUESTION_S = 1.0

# gRPC's own retries would hide attempts from the patience; its reconnecting is made as quick as
# ours; keepalive finds a connection that is dead without having been closed.
CHANNEL_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", 32 * 1024 * 1024),
)


@dataclass(frozen=True)
class Rpc(Generic[ResponseT]):
    """One method of the coordinator."""

    path: str
    response: type[ResponseT]


def _of_transactions(name: str, response: type[ResponseT]) -> Rpc[ResponseT]:
    return Rpc(f"/trypact.v1.TransactionService/{name}", response)


EXECUTE = _of_transactions("Execute", initiator_pb2.ExecuteResponse)
BEGIN = _of_transactions("Begin", initiator_pb2.BeginResponse)
TRY = _of_transactions("Try", initiator_pb2.TransactionServiceTryResponse)
COMMIT = _of_transactions("Commit", initiator_pb2.CommitResponse)
ROLLBACK = _of_transactions("Rollback", initiator_pb2.RollbackResponse)
GET = _of_transactions("Get", initiator_pb2.GetResponse)
WAIT = _of_transactions("Wait", initiator_pb2.WaitResponse)
GET_DECISION = _of_transactions("GetDecision", initiator_pb2.GetDecisionResponse)
REPORT_BRANCH = _of_transactions("ReportBranch", initiator_pb2.ReportBranchResponse)
HEALTH = Rpc("/grpc.health.v1.Health/Check", health_pb2.HealthCheckResponse)


class Send(NamedTuple):
    """Send this request, and give it that many seconds."""

    rpc: Rpc[Any]
    request: Message
    timeout: float


class Pause(NamedTuple):
    """Do nothing for that many seconds."""

    seconds: float


@dataclass(frozen=True)
class Failure:
    """A request that ended with a gRPC error."""

    # The name of the gRPC status: "UNAVAILABLE".
    status: str
    message: str
    # The google.rpc.ErrorInfo reason; empty if something else than a coordinator answered.
    code: str = ""
    # google.rpc.RetryInfo, in seconds.
    retry_after: float | None = None
    violations: tuple[errors.FieldViolation, ...] = ()
    # What the coordinator said before it said nothing any more.
    earlier: "Failure | None" = None

    @property
    def unsent(self) -> bool:
        """Whether it is certain that the request has not left; False where nobody knows."""
        if self.status == "UNAVAILABLE":
            return not self.code and self.message.startswith(_NO_CONNECTION)
        return self.status == CLOSED.status


# What gRPC says, on this side, of a request that had no connection to leave by.
_NO_CONNECTION = ("failed to connect to all addresses", "errors resolving ", "DNS resolution")
# Of a request that is not sent any more; no status of gRPC's.
CLOSED = Failure("CLOSED", "this client is closed")
# Of one that was under way.
CLOSED_MEANWHILE = Failure("CANCELLED", "this client was closed meanwhile")


Conversation = Generator[Send | Pause, Any, ResultT]


@dataclass
class Exchange:
    """Asks one coordinator, patiently.

    Args:
        endpoint: the coordinator's address, HOST:PORT or another target of gRPC's.
        patience: seconds a question may take in all, when it names no other.
        clock: seconds that never run backwards.
        draw: a number between 0 and 1.
    """

    endpoint: str
    patience: float
    clock: Callable[[], float] = time.monotonic
    draw: Callable[[], float] = random.random
    # The log was told that nobody can be reached, and nobody was since.
    _away: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        require_target(self.endpoint, "endpoint")
        _require_patience(self.patience)

    def ask(
        self, rpc: Rpc[ResponseT], request: Message, patience: float | None = None
    ) -> Conversation[ResponseT]:
        """Send a request until it is answered or the patience ends. Raises TrypactError."""
        reply = yield from self._send(rpc, request, patience)
        if isinstance(reply, Failure):
            raise self.error(reply)
        return reply

    def _send(
        self, rpc: Rpc[ResponseT], request: Message, patience: float | None
    ) -> Conversation[ResponseT | Failure]:
        patience = self.patience if patience is None else patience
        _require_patience(patience)
        gives_up_at = self.clock() + patience
        attempt = 0
        doubt: Failure | None = None
        while True:
            reply = yield Send(rpc, request, timeout=max(gives_up_at - self.clock(), 0.001))
            if not isinstance(reply, Failure):
                self._away = False
                response: ResponseT = reply
                return response
            attempt += 1
            wait = retry_wait(reply, attempt, self.draw())
            if wait is None:
                return replace(reply, earlier=doubt)
            if reply.unsent:
                self._warn(reply, gives_up_at - self.clock())
            elif reply.code != errors.Overloaded.code:
                # Once a request may have arrived, being turned away later proves nothing.
                doubt = reply
                if isinstance(request, initiator_pb2.ExecuteRequest):
                    request.fresh = False
            if self.clock() + wait >= gives_up_at:
                return doubt or reply
            yield Pause(wait)

    def _warn(self, failure: Failure, left: float) -> None:
        """Log, once until somebody answers, that nobody can be reached."""
        if not self._away:
            self._away = True
            logger.warning(
                "the coordinator at %s cannot be reached (%s); asking again for %.3g s. Is it "
                "running, and is this its address?",
                self.endpoint,
                failure.message,
                left,
            )

    def ask_to_decide(
        self, rpc: Rpc[ResponseT], request: Message, xid: str, patience: float | None = None
    ) -> Conversation[ResponseT]:
        """Send a request that may decide a transaction.

        Raises OutcomeUnknown where `ask` would say that the coordinator failed or is away: it may
        have decided all the same, unless the xid is fresh and was never sent. What it says is how
        the transaction stands, where the coordinator answers that.
        """
        asked_at = self.clock()
        reply = yield from self._send(rpc, request, patience)
        if not isinstance(reply, Failure):
            return reply
        error = self.error(reply)
        if not isinstance(error, errors.CoordinatorUnavailable | errors.CoordinatorFault):
            raise error
        if isinstance(request, initiator_pb2.ExecuteRequest) and request.fresh and reply.unsent:
            # Nobody else can have begun what nobody else knows the xid of.
            raise _unavailable(f"{_said(error)}; nothing was begun", reply)
        if reply.status != "DEADLINE_EXCEEDED":
            raise errors.OutcomeUnknown(xid, _said(error)) from error
        took = f"after {round(self.clock() - asked_at, 1):g} s"
        raise (yield from self._too_late(xid, took, error, reply.earlier)) from error

    def ask_and_wait(
        self, rpc: Rpc[ResponseT], request: Message, xid: str
    ) -> Conversation[ResponseT]:
        """Send a request whose answer waits for participants.

        Raises what `ask` raises, and OutcomeUnknown where the patience ended while it waited: then
        the coordinator is there, and how the transaction stands says whom it waits for.
        """
        asked_at = self.clock()
        reply = yield from self._send(rpc, request, None)
        if not isinstance(reply, Failure):
            return reply
        error = self.error(reply)
        if reply.status != "DEADLINE_EXCEEDED":
            raise error
        took = f"after {round(self.clock() - asked_at, 1):g} s"
        raise (yield from self._too_late(xid, took, error, reply.earlier)) from error

    def _too_late(
        self, xid: str, took: str, error: errors.TrypactError, earlier: Failure | None
    ) -> Conversation[errors.OutcomeUnknown]:
        """Return what to say when the patience ended in the middle of a request."""
        request = initiator_pb2.GetRequest(xid=xid)
        reply = yield Send(GET, request, timeout=LAST_QUESTION_S)
        before = ""
        if earlier is not None and earlier.code:
            before = f" (the coordinator had said {_said(self.error(earlier))})"
        if not isinstance(reply, Failure):
            try:
                outcome = outcome_of(reply.outcome)
            except errors.CoordinatorFault as newer:
                return errors.OutcomeUnknown(xid, f"{newer}{before}")
            return errors.OutcomeUnknown(xid, f"{standing(outcome, took)}{before}", outcome)
        if reply.code == errors.UnknownTransaction.code:
            why = f"the coordinator at {self.endpoint} has not begun it {took}"
        else:
            why = _said(self.error(reply) if reply.code else error)
        return errors.OutcomeUnknown(xid, f"{why}{before}")

    def error(self, failure: Failure) -> errors.TrypactError:
        """Return the error that a failure means."""
        named = errors.by_code(failure.code)
        if named is errors.Overloaded:
            return errors.Overloaded(failure.message, failure.retry_after or BACKOFF_BASE_S)
        if named is not None and issubclass(named, errors.InvalidRequest):
            return named(failure.message, failure.violations)
        if named is not None:
            return named(failure.message)
        return self._error_of_status(failure)

    def _error_of_status(self, failure: Failure) -> errors.TrypactError:
        said = f"{failure.status}: {failure.message}" if failure.message else failure.status
        match failure.status:
            case CLOSED.status:
                return _unavailable(failure.message, failure)
            case "UNAVAILABLE" | "DEADLINE_EXCEEDED" | "CANCELLED":
                said = f"the coordinator at {self.endpoint} does not answer ({said})"
                return _unavailable(said, failure)
            case "UNIMPLEMENTED":
                return errors.CoordinatorUnavailable(
                    f"what listens at {self.endpoint} is no trypact coordinator ({said})"
                )
            case "RESOURCE_EXHAUSTED":
                return errors.LimitExceeded(f"the request is too large ({said})")
            case "INVALID_ARGUMENT":
                return errors.InvalidRequest(failure.message, failure.violations)
        return errors.CoordinatorFault(f"the coordinator at {self.endpoint} failed ({said})")


def _require_patience(seconds: float) -> None:
    require_number("patience", seconds, 0.001, PATIENCE_S_MAX, "seconds")


def _unavailable(message: str, failure: Failure) -> errors.CoordinatorUnavailable:
    error = errors.CoordinatorUnavailable(message)
    error.sent = failure.earlier is not None or not failure.unsent
    return error


def _said(error: errors.TrypactError) -> str:
    """Return an error as a part of a sentence, with its code, which tells whose fault it is."""
    sentence = str(error).rstrip(".")
    return f"{error.code}: {sentence}" if error.code else sentence


def retry_wait(failure: Failure, attempt: int, draw: float) -> float | None:
    """Return how long to wait before the next attempt, in seconds; None if there must be none.

    Exponential with full jitter, capped, and never less than the coordinator's hint.
    """
    if failure.code == errors.ParticipantUnavailable.code:
        return None  # the coordinator is there, and said no
    backoff = min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2.0 ** min(attempt - 1, 16)) * draw
    if failure.status == "UNAVAILABLE":
        return max(backoff, min(failure.retry_after or 0.0, HINT_CAP_S))
    if failure.status == "RESOURCE_EXHAUSTED" and failure.retry_after is not None:
        return min(failure.retry_after, HINT_CAP_S) + backoff
    return None


def failure_of(
    status: str, message: str | None, metadata: Iterable[tuple[str, str | bytes]] | None
) -> Failure:
    """Read a gRPC error, with the google.rpc details from its trailing metadata."""
    details = _details(metadata)
    code, retry_after, violations = "", None, []
    for detail in details:
        info = error_details_pb2.ErrorInfo()
        retry = error_details_pb2.RetryInfo()
        bad = error_details_pb2.BadRequest()
        if detail.Unpack(info):
            code = info.reason
        elif detail.Unpack(retry):
            retry_after = max(retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9, 0.0)
        elif detail.Unpack(bad):
            violations = [
                errors.FieldViolation(v.field, v.description) for v in bad.field_violations
            ]
    return Failure(status, message or "", code, retry_after, tuple(violations))


def _details(metadata: Iterable[tuple[str, str | bytes]] | None) -> list[Any]:
    for key, value in metadata or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            try:
                return list(status_pb2.Status.FromString(value).details)
            except DecodeError:
                return []  # the status itself says enough
    return []
