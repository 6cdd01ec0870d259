"""Transactions that grow step by step, without I/O: in the initiator's block, and joined by others.

Both follow one rule. What leaves the block by an exception, or leaves it while something that was
asked has given no result, is cancelled; only the initiator's block confirms.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import Any, TypeVar

from google.protobuf.message import Message

from trypact import _exchange, errors
from trypact._carried import Carried, carrying
from trypact._conversations import concluded, get, until
from trypact._exchange import Conversation, Exchange, ResponseT, Rpc
from trypact.action import Action
from trypact.branches import Branch, branch_of, message, notice, to_wire
from trypact.kinds import BranchState, On, Until
from trypact.limits import shortened
from trypact.observed import InitiatorObserver, asking
from trypact.outcome import BranchOutcome, Outcome, branch_outcome_of, outcome_of
from trypact.outgoing import OutgoingCall
from trypact.payload import decode
from trypact.v1 import initiator_pb2

logger = logging.getLogger("trypact.client")

RequestT = TypeVar("RequestT")

# A block that is left by an exception should not hold it up for long: if the coordinator does not
# answer meanwhile, the deadline cancels.
ROLLBACK_PATIENCE_S = 5.0
# Refusals of a Rollback that are about the transaction, not about its deliveries.
_FINAL = (errors.UnknownTransaction, errors.AlreadyConfirmed, errors.AlreadyCancelled)


class Tries:
    """Registers branches of one transaction and has them tried."""

    def __init__(self, exchange: Exchange, carried: Carried) -> None:
        self._exchange = exchange
        self._carried = carried
        self._outcome: Outcome | None = None
        self._inside = ExitStack()
        # Whether the block takes branches; None before it is entered.
        self._open: bool | None = None

    def _enter(self) -> None:
        """Bind what is known inside of the block. Raises InvalidRequest for a second time."""
        if self._open is not None:
            raise errors.InvalidRequest(
                f"transaction {self.xid}: its block was entered before; allowed: once, so take a "
                "new one from the client"
            )
        self._open = True
        with ExitStack() as inside:
            for surrounding in self._surroundings():
                inside.enter_context(surrounding)
            # All of it is there, and stays until the block is left.
            self._inside = inside.pop_all()

    def _surroundings(self) -> Iterator[AbstractContextManager[None]]:
        """Yield what is bound inside of the block."""
        yield carrying(self._carried)

    def _leave(self, error: BaseException | None) -> None:
        """Undo `_enter`; the block ended with that error, or well."""
        # Left in another context than it was entered in, what was bound there is gone with it.
        with suppress(ValueError):
            self._inside.__exit__(type(error) if error else None, error, None)

    @property
    def xid(self) -> str:
        """The transaction's id."""
        return self._carried.xid

    def _try(
        self,
        action: Action[Any, Any] | str,
        payload: Any,
        returns: Any,
        **described: Any,
    ) -> Conversation[Any]:
        branch = branch_of(action=action, payload=payload, **described)
        if branch.is_delivery:
            raise errors.InvalidRequest(
                f"kind: a {branch.kind} has no Try; use {branch.kind}() of the transaction"
            )
        branch = self._named(branch)
        # From now on, not from its first step on: what nobody awaits takes none.
        self._carried.unsettled[branch.id] = f"Try {branch.id} was never awaited"
        return self._tried(branch, action.result if isinstance(action, Action) else returns)

    def _tried(self, branch: Branch, returns: Any) -> Conversation[Any]:
        # A task may take its first step when the block is over.
        self._require_open(branch.action)
        unsettled = self._carried.unsettled
        try:
            outcome = yield from self._register(branch)
        except errors.AlreadyCancelled as error:
            raise (yield from self._cancelled(error)) from error
        finally:
            # Until it is read, below.
            unsettled[branch.id] = f"the Try of {branch.id} gave no result"
        if outcome.state is BranchState.REFUSED:
            unsettled[branch.id] = f"{branch.action} refused branch {branch.id!r}: {outcome.reason}"
            raise errors.BranchRefused(self.xid, branch.id, branch.action, outcome.reason)
        result = decode(outcome.result, returns)
        del unsettled[branch.id]
        return result

    def _register(self, branch: Branch) -> Conversation[BranchOutcome]:
        """Have a branch registered and tried."""
        raise NotImplementedError

    def _outgoing(self, name: str) -> Conversation[OutgoingCall]:
        """Let a call take the transaction along, which the coordinator must know by then."""
        self._require_open(name)
        yield from self._make_sure_it_is_begun()
        return OutgoingCall(self._carried, name)

    def _make_sure_it_is_begun(self) -> Conversation[None]:
        """Begin it, where that is for this block to do."""
        yield from ()

    def _named(self, branch: Branch) -> Branch:
        """Return the branch with its id. Raises InvalidRequest where nobody would decide it."""
        self._require_open(branch.action)
        return self._carried.named(branch)

    def _require_open(self, what: str) -> None:
        if not self._open:
            when = "not entered yet" if self._open is None else "left"
            raise errors.InvalidRequest(
                f"transaction {self.xid}: its block is {when}; allowed: {what} inside it"
            )

    def _left(self, error: BaseException | None) -> Conversation[None]:
        """End the block, which takes nothing more: nobody would decide about it."""
        self._open = False
        self._carried.begin = None
        return self._ending(error)

    def _ending(self, error: BaseException | None) -> Conversation[None]:
        """Commit or roll back, as its rules say."""
        raise NotImplementedError

    def _cancelled(self, error: errors.AlreadyCancelled) -> Conversation[errors.TrypactError]:
        """Return what tells the caller that the transaction was cancelled meanwhile."""
        try:
            outcome = yield from get(self._exchange, self.xid)
        except errors.TrypactError:
            return error
        self._outcome = outcome
        return errors.TransactionCancelled(outcome) if outcome.cancelled else error

    def _unsettled(self) -> errors.TryUnsettled | None:
        """Return what is wrong with going on, if anything has given no result."""
        if not self._carried.unsettled:
            return None
        whys = "; ".join(self._carried.unsettled.values())
        return errors.TryUnsettled(f"transaction {self.xid} is rolled back: {whys}")

    def _ask_rollback(self, why: str, deliveries: Iterable[Branch]) -> Conversation[None]:
        """Ask for Cancel. Raises UnknownTransaction; anything else is logged."""
        wanted = [to_wire(branch) for branch in deliveries]
        request = initiator_pb2.RollbackRequest(
            xid=self.xid,
            reason=shortened(why),
            deliveries=wanted,
            wait_until=Until.DECIDED.wire,
        )
        patience = self._rollback_patience
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
            raise
        except errors.TrypactError as error:
            logger.warning("transaction %s could not be rolled back: %s", self.xid, error)

    @property
    def _rollback_patience(self) -> float:
        return min(self._exchange.patience, ROLLBACK_PATIENCE_S)


class OpenTransaction(Tries):
    """An interactive transaction, from the first line of its block to the last."""

    def __init__(
        self,
        exchange: Exchange,
        begin: initiator_pb2.Begin,
        wait: str,
        observer: InitiatorObserver | None = None,
    ) -> None:
        super().__init__(exchange, Carried(begin.xid))
        self._begin = begin
        self._observer = observer
        self._wait = wait
        # The coordinator has this transaction, and it is ours.
        self._begun = False
        # Requests under way, or without an answer, that may have begun it. What was refused did
        # not, and may have met a transaction of somebody else, which is not ours to roll back.
        self._in_doubt = 0
        # Branches and deliveries that were sent with a Try.
        self._registered: set[str] = set()
        self._deliveries: list[Branch] = []

    def __repr__(self) -> str:
        state = "trying" if self._begun else "not begun"
        if self._outcome is not None:
            state = str(self._outcome.state)
        return f"<{type(self).__name__} {self.xid} {self._begin.name!r}: {state}>"

    def _surroundings(self) -> Iterator[AbstractContextManager[None]]:
        yield from super()._surroundings()
        yield asking(self._observer, self._begin)

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
        action: Action[RequestT, Any] | str = "",
        payload: RequestT | None = None,
        *,
        topic: str = "",
        id: str = "",  # noqa: A002
        after: Sequence[str] = (),
        on: On | str = On.CONFIRM,
        delay: float = 0.0,
    ) -> str:
        """Deliver a message with the decision; returns its branch id. See `trypact.message`.

        What is `on="cancel"` or `on="any"` is known to the coordinator from the next Try on, so
        that a refusal or the deadline cannot decide without it; the rest travels with Commit.
        """
        return self._collect(
            message(action, payload, topic=topic, id=id, after=after, on=on, delay=delay)
        )

    def notice(
        self,
        action: Action[RequestT, Any] | str,
        payload: RequestT | None = None,
        *,
        id: str = "",  # noqa: A002
        after: Sequence[str] = (),
        on: On | str = On.CONFIRM,
        delay: float = 0.0,
        attempts: int = 0,
        retry_for: float = 0.0,
    ) -> str:
        """Deliver a notice with the decision; returns its branch id.

        See `trypact.notice`, and `message` for when the coordinator knows of it.
        """
        return self._collect(
            notice(
                action,
                payload,
                id=id,
                after=after,
                on=on,
                delay=delay,
                attempts=attempts,
                retry_for=retry_for,
            )
        )

    def _collect(self, branch: Branch) -> str:
        branch = self._named(branch)
        self._deliveries.append(branch)
        return branch.id

    def _register(self, branch: Branch) -> Conversation[BranchOutcome]:
        request = initiator_pb2.TransactionServiceTryRequest(
            xid=self.xid,
            begin=None if self._begun else self._begin,
            branch=to_wire(branch),
            deliveries=[to_wire(delivery) for delivery in self._travelling(branch)],
        )
        reply = yield from self._ask_and_begin(_exchange.TRY, request)
        return branch_outcome_of(reply.branch)

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
        except errors.CoordinatorUnavailable as error:
            self._in_doubt -= not error.sent
            raise
        self._in_doubt -= 1
        self._begun = True
        return reply

    def _make_sure_it_is_begun(self) -> Conversation[None]:
        """Begin it, where no Try has: it leaves for a service that will join it."""
        if not self._begun:
            begin = initiator_pb2.BeginRequest(begin=self._begin)
            yield from self._ask_and_begin(_exchange.BEGIN, begin)

    def _commit(self) -> Conversation[None]:
        """Ask for Confirm; a transaction that asked for nothing is none."""
        if unsettled := self._unsettled():
            yield from self._rollback(str(unsettled))
            raise unsettled
        if not self._begun and not self._deliveries:
            return
        request = initiator_pb2.CommitRequest(
            xid=self.xid,
            deliveries=[to_wire(branch) for branch in self._deliveries],
            wait_until=until(self._wait).wire,
        )
        try:
            yield from self._make_sure_it_is_begun()
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
        wanted = [branch for branch in self._deliveries if branch.on is not On.CONFIRM]
        try:
            yield from self._ask_rollback(why, wanted)
        except errors.UnknownTransaction:
            yield from self._settle_unknown()

    def _settle_unknown(self) -> Conversation[None]:
        """Cancel what the coordinator has not seen: a Try may still be on its way there."""
        request = initiator_pb2.GetDecisionRequest(xid=self.xid, settle=True)
        try:
            yield from self._exchange.ask(_exchange.GET_DECISION, request, self._rollback_patience)
        except errors.TrypactError as error:
            logger.warning("transaction %s could not be settled: %s", self.xid, error)

    def _ending(self, error: BaseException | None) -> Conversation[None]:
        return self._commit() if error is None else self._rollback(why_left(error))


class Joining(Tries):
    """A transaction of another service, inside the block that joins it."""

    def __init__(self, exchange: Exchange, carried: Carried) -> None:
        super().__init__(exchange, carried)
        self._joined = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.xid} in call {self._carried.call_id!r}>"

    def _register(self, branch: Branch) -> Conversation[BranchOutcome]:
        request = initiator_pb2.TransactionServiceTryRequest(xid=self.xid, branch=to_wire(branch))
        joined, self._joined = self._joined, True
        try:
            reply = yield from self._exchange.ask_and_wait(_exchange.TRY, request, self.xid)
        except (errors.RequestRefused, errors.Overloaded):
            self._joined = joined
            raise
        return branch_outcome_of(reply.branch)

    def _ending(self, error: BaseException | None) -> Conversation[None]:
        """Cancel the transaction if what was joined here did not go well."""
        unsettled = self._unsettled()
        if self._joined and (error is not None or unsettled is not None):
            why = why_left(error) if error is not None else str(unsettled)
            try:
                yield from self._ask_rollback(f"in call {self._carried.call_id}: {why}", ())
            except errors.UnknownTransaction as unknown:
                logger.warning("transaction %s could not be rolled back: %s", self.xid, unknown)
        if error is None and unsettled is not None:
            raise unsettled


def why_left(error: BaseException) -> str:
    """Say, for operators, what ended a block."""
    name = type(error).__name__
    if name == "CancelledError":
        return "the initiator's task was cancelled"
    return f"{name}: {error}" if str(error) else name
