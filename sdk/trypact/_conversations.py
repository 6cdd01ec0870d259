"""What an initiator says to the coordinator, without I/O: all of the client but its faces."""

import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from trypact import _exchange, errors
from trypact._exchange import Conversation, Exchange, ResponseT, Rpc
from trypact.branches import Branch, branch_of, message, notice, to_wire, with_ids, write
from trypact.ids import new_xid
from trypact.kinds import BranchState, Kind, On, Operation, Until
from trypact.limits import shortened
from trypact.outcome import (
    BranchOutcome,
    Outcome,
    Reported,
    Standing,
    branch_outcome_of,
    decision_of,
    outcome_of,
)
from trypact.payload import decode, encode
from trypact.v1 import initiator_pb2, transaction_pb2

logger = logging.getLogger("trypact.client")

Wait = Literal["settled", "decided"]
# A block that is left by an exception should not hold it up for long: if the coordinator does not
# answer meanwhile, the deadline cancels.
ROLLBACK_PATIENCE_S = 5.0
# Refusals of a Rollback that are about the transaction, not about its deliveries.
_FINAL = (errors.UnknownTransaction, errors.AlreadyConfirmed, errors.AlreadyCancelled)


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
    if timeout is not None and not 0.001 <= timeout < math.inf:
        raise errors.InvalidRequest(f"timeout: is {timeout} s; allowed: at least 0.001")
    for key, value in (labels or {}).items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise errors.InvalidRequest(f"labels: {key!r}: {value!r}; allowed: strings")
    try:
        begin = initiator_pb2.Begin(xid=new_xid() if xid is None else xid, name=name)
        if timeout is not None:
            begin.timeout_ms = round(timeout * 1000)
        if labels:
            begin.labels.update(labels)
        if trace_parent:
            begin.trace_parent = trace_parent
        if nonce:
            begin.nonce = nonce
        return begin
    except (TypeError, ValueError) as error:
        # No text at all, or none that UTF-8 can say.
        raise errors.InvalidRequest(f"xid {xid!r}, name {name!r}: {error}") from None


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
) -> Conversation[Outcome]:
    """Run a one-shot transaction to its end."""
    request = initiator_pb2.ExecuteRequest(begin=begin, wait_until=until(wait).wire)
    for branch in with_ids(branches):
        write(branch, request.branches.add())
    reply = yield from exchange.ask_to_decide(_exchange.EXECUTE, request, begin.xid)
    return concluded(outcome_of(reply.outcome))


def get(exchange: Exchange, xid: str) -> Conversation[Outcome]:
    """Ask how a transaction stands."""
    reply = yield from exchange.ask(_exchange.GET, initiator_pb2.GetRequest(xid=xid))
    return outcome_of(reply.outcome)


def wait_for(
    exchange: Exchange, xid: str, wait: str, patience: float | None
) -> Conversation[Outcome]:
    """Ask how a transaction ended, once it has."""
    request = initiator_pb2.WaitRequest(xid=xid, wait_until=until(wait).wire)
    reply = yield from exchange.ask_to_decide(_exchange.WAIT, request, xid, patience)
    return outcome_of(reply.outcome)


def decision(exchange: Exchange, xid: str, settle: bool) -> Conversation[Standing]:
    """Ask what is decided; with `settle`, make sure that something is."""
    request = initiator_pb2.GetDecisionRequest(xid=xid, settle=settle)
    reply = yield from exchange.ask(_exchange.GET_DECISION, request)
    return Standing(decision_of(reply.decision), reply.final)


def report(
    exchange: Exchange,
    xid: str,
    branch_id: str,
    operation: Operation | str,
    ok: Any,
    refused: str | None,
) -> Conversation[Reported]:
    """Tell the coordinator how a PENDING operation ended."""
    if refused is None:
        answer = transaction_pb2.Answer(ok=transaction_pb2.Answer.Ok(result=encode(ok)))
    elif ok is None:
        answer = transaction_pb2.Answer(
            refused=transaction_pb2.Answer.Refused(reason=shortened(refused))
        )
    else:
        raise errors.InvalidRequest("ok, refused: both are given; allowed: one of them")
    request = initiator_pb2.ReportBranchRequest(
        xid=xid, branch_id=branch_id, operation=Operation(operation).wire, answer=answer
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


# ---------------------------------------------------------------- interactive


@dataclass(eq=False, repr=False)
class OpenTransaction:
    """An interactive transaction, from the first line of its block to the last."""

    _exchange: Exchange
    _begin: initiator_pb2.Begin
    _wait: str
    # The coordinator has this transaction, and it is ours.
    _begun: bool = False
    # Requests under way, or without an answer, that may have begun it. What was refused did not,
    # and may have met a transaction of somebody else, which is not ours to roll back.
    _in_doubt: int = 0
    # Branches whose Try gave no result to the block, and what it did instead.
    _unsettled: dict[str, str] = field(default_factory=dict)
    _ids: set[str] = field(default_factory=set)
    # Branches and deliveries that were sent with a Try.
    _registered: set[str] = field(default_factory=set)
    _deliveries: list[Branch] = field(default_factory=list)
    _outcome: Outcome | None = None

    def __repr__(self) -> str:
        state = "trying" if self._begun else "not begun"
        if self._outcome is not None:
            state = str(self._outcome.state)
        return f"<{type(self).__name__} {self.xid} {self._begin.name!r}: {state}>"

    @property
    def xid(self) -> str:
        """The transaction's id."""
        return self._begin.xid

    @property
    def outcome(self) -> Outcome:
        """How it ended, once the block is left.

        Raises NotDecided before that, and for a block that asked for nothing at all.
        """
        if self._outcome is None:
            raise errors.NotDecided(
                f"transaction {self.xid} has no outcome: its block is not left yet, or asked for "
                "nothing"
            )
        return self._outcome

    def message(
        self,
        action: str,
        payload: Any = None,
        *,
        id: str = "",  # noqa: A002
        after: Iterable[str] = (),
        on: On | str = On.CONFIRM,
        delay: float = 0.0,
    ) -> str:
        """Deliver a message with the decision; returns its branch id. See `trypact.message`.

        What is `on="cancel"` or `on="any"` is known to the coordinator from the next Try on, so
        that a refusal or the deadline cannot decide without it; the rest travels with Commit.
        """
        return self._collect(message(action, payload, id=id, after=list(after), on=on, delay=delay))

    def notice(
        self,
        action: str,
        payload: Any = None,
        *,
        id: str = "",  # noqa: A002
        after: Iterable[str] = (),
        on: On | str = On.CONFIRM,
        delay: float = 0.0,
    ) -> str:
        """Deliver a notice with the decision; returns its branch id. See `message`."""
        return self._collect(notice(action, payload, id=id, after=list(after), on=on, delay=delay))

    def _collect(self, branch: Branch) -> str:
        branch = self._named(branch)
        self._deliveries.append(branch)
        return branch.id

    def _named(self, branch: Branch) -> Branch:
        (named,) = with_ids([branch], self._ids)
        if named.id in self._ids:
            raise errors.BranchConflict(
                f"branch id {named.id!r} is used twice in transaction {self.xid}"
            )
        self._ids.add(named.id)
        return named

    def _try(
        self,
        action: str,
        payload: Any,
        kind: Kind | str,
        id: str,  # noqa: A002
        after: Iterable[str],
        returns: Any,
    ) -> Conversation[Any]:
        branch = branch_of(kind, action, payload, id=id, after=list(after))
        if branch.is_delivery:
            raise errors.InvalidRequest(
                f"kind: a {branch.kind} has no Try; use {branch.kind}() of the transaction"
            )
        branch = self._named(branch)
        self._unsettled[branch.id] = f"the Try of {branch.id} gave no result"
        request = initiator_pb2.TransactionServiceTryRequest(
            xid=self.xid,
            begin=None if self._begun else self._begin,
            branch=to_wire(branch),
            deliveries=[to_wire(delivery) for delivery in self._travelling(branch)],
        )
        try:
            reply = yield from self._ask_and_begin(_exchange.TRY, request)
        except errors.AlreadyCancelled as error:
            raise (yield from self._cancelled(error)) from error
        outcome: BranchOutcome = branch_outcome_of(reply.branch)
        if outcome.state is BranchState.REFUSED:
            refused = f"{action} refused branch {branch.id!r}: {outcome.reason}"
            self._unsettled[branch.id] = refused
            raise errors.BranchRefused(self.xid, branch.id, action, outcome.reason)
        result = decode(outcome.result, returns)
        del self._unsettled[branch.id]
        return result

    def _travelling(self, branch: Branch) -> list[Branch]:
        """Return the deliveries that go with a Try: wanted after a Cancel, and after nothing new.

        The coordinator knows again those that it has already.
        """
        self._registered.add(branch.id)
        travelling = []
        for delivery in self._deliveries:
            if delivery.on is not On.CONFIRM and self._registered.issuperset(delivery.after):
                travelling.append(delivery)
                self._registered.add(delivery.id)
        return travelling

    def _ask_and_begin(self, rpc: Rpc[ResponseT], request: Message) -> Conversation[ResponseT]:
        """Ask what begins the transaction where it is not begun yet."""
        self._in_doubt += 1
        try:
            reply = yield from self._exchange.ask_and_wait(rpc, request, self.xid)
        except (errors.RequestRefused, errors.Overloaded):
            self._in_doubt -= 1
            raise
        self._in_doubt -= 1
        self._begun = True
        return reply

    def _cancelled(self, error: errors.AlreadyCancelled) -> Conversation[errors.TrypactError]:
        """Return what tells the caller that the transaction was cancelled meanwhile."""
        try:
            outcome = yield from get(self._exchange, self.xid)
        except errors.TrypactError:
            return error
        self._outcome = outcome
        return errors.TransactionCancelled(outcome) if outcome.cancelled else error

    def _commit(self) -> Conversation[None]:
        """Ask for Confirm; a transaction that asked for nothing is none."""
        if self._unsettled:
            whys = "; ".join(self._unsettled.values())
            error = errors.TryUnsettled(f"transaction {self.xid} is rolled back: {whys}")
            yield from self._rollback(str(error))
            raise error
        if not self._begun and not self._deliveries:
            return
        request = initiator_pb2.CommitRequest(
            xid=self.xid,
            deliveries=[to_wire(branch) for branch in self._deliveries],
            wait_until=until(self._wait).wire,
        )
        try:
            if not self._begun:
                begin = initiator_pb2.BeginRequest(begin=self._begin)
                yield from self._ask_and_begin(_exchange.BEGIN, begin)
            reply = yield from self._exchange.ask_to_decide(_exchange.COMMIT, request, self.xid)
        except errors.AlreadyCancelled as error:
            raise (yield from self._cancelled(error)) from error
        except errors.RequestRefused as error:
            yield from self._rollback(str(error))
            raise
        self._outcome = outcome_of(reply.outcome)
        concluded(self._outcome)

    def _rollback(self, why: str) -> Conversation[None]:
        """Ask for Cancel. Never raises: if it cannot be asked for, the deadline cancels."""
        if not self._begun and not self._in_doubt:
            return
        patience = min(self._exchange.patience, ROLLBACK_PATIENCE_S)
        wanted = [to_wire(branch) for branch in self._deliveries if branch.on is not On.CONFIRM]
        request = initiator_pb2.RollbackRequest(
            xid=self.xid,
            reason=shortened(why),
            deliveries=wanted,
            wait_until=Until.DECIDED.wire,
        )
        try:
            try:
                reply = yield from self._exchange.ask(_exchange.ROLLBACK, request, patience)
            except errors.RequestRefused as error:
                if not wanted or isinstance(error, _FINAL):
                    raise
                # Giving back what is reserved matters more than telling others about it.
                logger.warning("transaction %s drops its deliveries: %s", self.xid, error)
                del request.deliveries[:]
                reply = yield from self._exchange.ask(_exchange.ROLLBACK, request, patience)
            self._outcome = outcome_of(reply.outcome)
        except errors.UnknownTransaction:
            yield from self._settle_unknown(patience)
        except errors.TrypactError as error:
            logger.warning("transaction %s could not be rolled back: %s", self.xid, error)

    def _settle_unknown(self, patience: float) -> Conversation[None]:
        """Cancel what the coordinator has not seen: a Try may still be on its way there."""
        request = initiator_pb2.GetDecisionRequest(xid=self.xid, settle=True)
        try:
            yield from self._exchange.ask(_exchange.GET_DECISION, request, patience)
        except errors.TrypactError as error:
            logger.warning("transaction %s could not be settled: %s", self.xid, error)


def why_left(error: BaseException) -> str:
    """Say, for operators, what ended a block."""
    name = type(error).__name__
    if name == "CancelledError":
        return "the initiator's task was cancelled"
    return f"{name}: {error}" if str(error) else name
