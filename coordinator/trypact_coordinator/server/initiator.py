"""TransactionService: what a service that opens transactions calls."""

# ruff: noqa: N802 - gRPC names the methods

from collections.abc import AsyncIterator

from trypact.v1 import initiator_pb2, initiator_pb2_grpc

from trypact_coordinator.runtime.coordinator import Coordinator
from trypact_coordinator.server import wire
from trypact_coordinator.server.execute_stream import ExecuteStream, Plain


class TransactionService(initiator_pb2_grpc.TransactionServiceServicer):
    """Reads each request, asks the coordinator, writes the answer."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator

    async def Execute(
        self, request: initiator_pb2.ExecuteRequest, context: object
    ) -> initiator_pb2.ExecuteResponse:
        """Run a one-shot transaction."""
        default_timeout_ms = self._coordinator.policy.default_timeout_ms
        tx = await self._coordinator.execute(*wire.execution_of(request, default_timeout_ms))
        return initiator_pb2.ExecuteResponse(outcome=wire.transaction_outcome(tx))

    async def ExecuteStream(
        self,
        request_iterator: AsyncIterator[initiator_pb2.ExecuteStreamRequest],
        context: object,
    ) -> AsyncIterator[initiator_pb2.ExecuteStreamResponse]:
        """Serve requests about many transactions at once."""
        plain: dict[str, Plain] = {
            "begin": self.Begin,
            "try_branch": self.Try,
            "commit": self.Commit,
            "rollback": self.Rollback,
        }
        async for response in ExecuteStream(self._coordinator, plain).serve(request_iterator):
            yield response

    async def Begin(
        self, request: initiator_pb2.BeginRequest, context: object
    ) -> initiator_pb2.BeginResponse:
        """Open an interactive transaction."""
        default_timeout_ms = self._coordinator.policy.default_timeout_ms
        spec = wire.spec_of(request.begin, (), default_timeout_ms, interactive=True)
        tx = await self._coordinator.begin(spec)
        return initiator_pb2.BeginResponse(outcome=wire.transaction_outcome(tx))

    async def Try(
        self, request: initiator_pb2.TransactionServiceTryRequest, context: object
    ) -> initiator_pb2.TransactionServiceTryResponse:
        """Register a branch and have it tried."""
        xid = wire.xid_of(request.xid)
        spec = None
        if request.HasField("begin"):
            default_timeout_ms = self._coordinator.policy.default_timeout_ms
            spec = wire.spec_of(request.begin, (), default_timeout_ms, interactive=True)
        branch = wire.branch_spec(request.branch, "branch")
        deliveries = wire.branch_specs(request.deliveries, "deliveries")
        tried = await self._coordinator.try_branch(xid, spec, branch, deliveries)
        return initiator_pb2.TransactionServiceTryResponse(branch=wire.branch_outcome(tried))

    async def Commit(
        self, request: initiator_pb2.CommitRequest, context: object
    ) -> initiator_pb2.CommitResponse:
        """Decide Confirm."""
        tx = await self._coordinator.commit(
            wire.xid_of(request.xid),
            wire.branch_specs(request.deliveries, "deliveries"),
            wire.reply_of(request.wait_until),
        )
        return initiator_pb2.CommitResponse(outcome=wire.transaction_outcome(tx))

    async def Rollback(
        self, request: initiator_pb2.RollbackRequest, context: object
    ) -> initiator_pb2.RollbackResponse:
        """Decide Cancel."""
        tx = await self._coordinator.rollback(
            wire.xid_of(request.xid),
            request.reason,
            wire.branch_specs(request.deliveries, "deliveries"),
            wire.reply_of(request.wait_until),
        )
        return initiator_pb2.RollbackResponse(outcome=wire.transaction_outcome(tx))

    async def Get(
        self, request: initiator_pb2.GetRequest, context: object
    ) -> initiator_pb2.GetResponse:
        """Tell how a transaction stands."""
        tx = await self._coordinator.get(wire.xid_of(request.xid))
        return initiator_pb2.GetResponse(outcome=wire.transaction_outcome(tx))

    async def Wait(
        self, request: initiator_pb2.WaitRequest, context: object
    ) -> initiator_pb2.WaitResponse:
        """Tell how a transaction stands once it is decided or settled."""
        xid = wire.xid_of(request.xid)
        tx = await self._coordinator.wait(xid, wire.reply_of(request.wait_until))
        return initiator_pb2.WaitResponse(outcome=wire.transaction_outcome(tx))

    async def GetDecision(
        self, request: initiator_pb2.GetDecisionRequest, context: object
    ) -> initiator_pb2.GetDecisionResponse:
        """Tell the decision for an xid."""
        xid = wire.xid_of(request.xid)
        decided = await self._coordinator.decision(xid, request.settle)
        return initiator_pb2.GetDecisionResponse(
            decision=wire.number(decided.decision), final=decided.final, closed=decided.closed
        )

    async def ReportBranch(
        self, request: initiator_pb2.ReportBranchRequest, context: object
    ) -> initiator_pb2.ReportBranchResponse:
        """Take a participant's report on a PENDING operation."""
        decision, accepted = await self._coordinator.report(
            wire.xid_of(request.xid),
            wire.branch_id_of(request.branch_id),
            wire.operation_of(request.operation),
            wire.reported_answer(request.answer),
        )
        return initiator_pb2.ReportBranchResponse(decision=wire.number(decision), accepted=accepted)
