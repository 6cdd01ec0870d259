"""AdminService: what operators see and do."""

# ruff: noqa: N802 - gRPC names the methods

import base64
import binascii
import hashlib

from trypact.v1 import admin_pb2, admin_pb2_grpc

from trypact_coordinator.core.errors import InvalidArgument
from trypact_coordinator.core.events import DecideAct, PauseAct, ResumeAct, RetryAct, SkipAct
from trypact_coordinator.core.limits import PAGE_SIZE_MAX
from trypact_coordinator.core.transaction import Branch, Transaction
from trypact_coordinator.runtime.coordinator import Coordinator
from trypact_coordinator.server import wire
from trypact_coordinator.server.explain import explain
from trypact_coordinator.server.filter import parse_filter
from trypact_coordinator.server.standing import (
    failing_since,
    held_up_by,
    next_attempt_at,
    stuck_reason,
)

PAGE_SIZE_DEFAULT = 50
ACTOR_DEFAULT = "operator"


class AdminService(admin_pb2_grpc.AdminServiceServicer):
    """Reads each request, asks the coordinator, writes the answer."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator

    async def ListTransactions(
        self, request: admin_pb2.ListTransactionsRequest, context: object
    ) -> admin_pb2.ListTransactionsResponse:
        """List transactions, newest first."""
        if not 0 <= request.page_size <= PAGE_SIZE_MAX:
            raise InvalidArgument("page_size", f"is {request.page_size}", f"0 to {PAGE_SIZE_MAX}")
        now, cursor = _open_token(request.page_token, request.filter, self._coordinator.clock.now())
        page = await self._coordinator.find(
            parse_filter(request.filter, now), cursor, request.page_size or PAGE_SIZE_DEFAULT
        )
        return admin_pb2.ListTransactionsResponse(
            transactions=[summary(tx) for tx in page.transactions],
            next_page_token=_token(page.next_cursor, request.filter, now),
            now=wire.timestamp(self._coordinator.clock.now()),
        )

    async def ShowTransaction(
        self, request: admin_pb2.ShowTransactionRequest, context: object
    ) -> admin_pb2.ShowTransactionResponse:
        """Show one transaction whole, and explain it."""
        tx = await self._coordinator.get(wire.xid_of(request.xid))
        now = self._coordinator.clock.now()
        return admin_pb2.ShowTransactionResponse(
            transaction=detail(tx),
            explanation=explain(tx, now, self._coordinator.writer.stall()),
            now=wire.timestamp(now),
        )

    async def RetryTransaction(
        self, request: admin_pb2.RetryTransactionRequest, context: object
    ) -> admin_pb2.RetryTransactionResponse:
        """Make everything that waits for a back-off due now."""
        act = RetryAct(actor=request.actor or ACTOR_DEFAULT, reason=request.reason)
        tx = await self._coordinator.act(wire.xid_of(request.xid), act)
        return admin_pb2.RetryTransactionResponse(transaction=detail(tx))

    async def PauseTransaction(
        self, request: admin_pb2.PauseTransactionRequest, context: object
    ) -> admin_pb2.PauseTransactionResponse:
        """Stop a transaction's calls."""
        act = PauseAct(actor=request.actor or ACTOR_DEFAULT, reason=request.reason)
        tx = await self._coordinator.act(wire.xid_of(request.xid), act)
        return admin_pb2.PauseTransactionResponse(transaction=detail(tx))

    async def ResumeTransaction(
        self, request: admin_pb2.ResumeTransactionRequest, context: object
    ) -> admin_pb2.ResumeTransactionResponse:
        """Let a transaction's calls leave again."""
        act = ResumeAct(actor=request.actor or ACTOR_DEFAULT, reason=request.reason)
        tx = await self._coordinator.act(wire.xid_of(request.xid), act)
        return admin_pb2.ResumeTransactionResponse(transaction=detail(tx))

    async def DecideTransaction(
        self, request: admin_pb2.DecideTransactionRequest, context: object
    ) -> admin_pb2.DecideTransactionResponse:
        """Decide an undecided transaction."""
        act = DecideAct(
            actor=request.actor or ACTOR_DEFAULT,
            reason=request.reason,
            decision=wire.verdict_of(request.decision),
        )
        tx = await self._coordinator.act(wire.xid_of(request.xid), act)
        return admin_pb2.DecideTransactionResponse(transaction=detail(tx))

    async def SkipBranch(
        self, request: admin_pb2.SkipBranchRequest, context: object
    ) -> admin_pb2.SkipBranchResponse:
        """Mark a branch as settled by hand."""
        act = SkipAct(
            actor=request.actor or ACTOR_DEFAULT,
            reason=request.reason,
            branch_id=wire.branch_id_of(request.branch_id),
        )
        tx = await self._coordinator.act(wire.xid_of(request.xid), act)
        return admin_pb2.SkipBranchResponse(transaction=detail(tx))

    async def PingParticipant(
        self, request: admin_pb2.PingParticipantRequest, context: object
    ) -> admin_pb2.PingParticipantResponse:
        """Ask every instance of a participant for its health."""
        pings = await self._coordinator.ping(request.participant)
        return admin_pb2.PingParticipantResponse(
            pings=[
                admin_pb2.Ping(
                    instance=ping.instance,
                    endpoint=ping.endpoint,
                    status=ping.status,
                    round_trip_us=ping.round_trip_us,
                )
                for ping in pings
            ]
        )


# ---------------------------------------------------------------- page tokens


def _token(cursor: str, filter_: str, now: int) -> str:
    """Wrap a cursor with the filter it belongs to and the instant its ages are counted from."""
    if not cursor:
        return ""
    parts = _filter_mark(filter_) + now.to_bytes(8, "big") + cursor.encode()
    return base64.urlsafe_b64encode(parts).decode()


def _open_token(token: str, filter_: str, now: int) -> tuple[int, str]:
    """Return the instant and the cursor in a token; without one, this instant and the start."""
    if not token:
        return now, ""
    try:
        parts = base64.b64decode(token, altchars=b"-_", validate=True)
        mark, began, cursor = parts[:8], parts[8:16], parts[16:].decode()
    except (binascii.Error, ValueError):
        raise _no_token() from None
    if mark != _filter_mark(filter_) or not cursor:
        raise _no_token()
    return int.from_bytes(began, "big"), cursor


def _no_token() -> InvalidArgument:
    return InvalidArgument(
        "page_token", "is not the next_page_token of the same filter", "start without one"
    )


def _filter_mark(filter_: str) -> bytes:
    return hashlib.blake2b(filter_.encode(), digest_size=8).digest()


# ---------------------------------------------------------------- what operators see


def summary(tx: Transaction) -> admin_pb2.TransactionSummary:
    """Write a transaction as one line of a listing."""
    waiting = held_up_by(tx)
    return admin_pb2.TransactionSummary(
        xid=tx.xid,
        name=tx.spec.name,
        state=wire.number(tx.state),
        paused=tx.paused,
        stuck_reason=stuck_reason(tx),
        created_at=wire.timestamp(tx.created_at),
        finished_at=wire.timestamp(tx.finished_at),
        labels=dict(tx.spec.labels),
        branches=len(tx.branches),
        waiting_for=branch_detail(tx, waiting[0], whole=False) if waiting else None,
    )


def branch_detail(tx: Transaction, branch: Branch, *, whole: bool) -> admin_pb2.BranchDetail:
    """Write a branch for operators; its result only when the whole is wanted."""
    return admin_pb2.BranchDetail(
        id=branch.spec.id,
        kind=wire.number(branch.spec.kind),
        action=branch.spec.action,
        state=wire.number(branch.state),
        attempts=branch.attempt,
        reason=branch.reason,
        next_attempt_at=wire.timestamp(next_attempt_at(tx, branch)),
        after=branch.spec.after,
        on=wire.number(branch.spec.on),
        payload_bytes=len(branch.spec.payload),
        result=branch.result if whole else b"",
        failing_since=wire.timestamp(failing_since(tx, branch)),
        pivot=branch.spec.pivot,
        attempts_max=branch.spec.attempts_max,
        retry_for_ms=branch.spec.retry_for_ms,
        topic=branch.spec.topic,
    )


def detail(tx: Transaction) -> admin_pb2.TransactionDetail:
    """Write a transaction whole, with its timeline."""
    return admin_pb2.TransactionDetail(
        summary=summary(tx),
        decision=wire.number(tx.decision),
        reason=tx.reason,
        refused_branch_id=tx.refused_branch_id,
        deadline_at=wire.timestamp(tx.deadline_at),
        decided_at=wire.timestamp(tx.decided_at),
        interactive=tx.spec.interactive,
        version=tx.version,
        epoch=tx.epoch,
        branches=[branch_detail(tx, branch, whole=True) for branch in tx.branches],
        timeline=[
            admin_pb2.TimelineEntry(
                at=wire.timestamp(entry.at),
                event=entry.event,
                branch_id=entry.branch_id,
                detail=entry.detail,
            )
            for entry in tx.timeline
        ],
    )
