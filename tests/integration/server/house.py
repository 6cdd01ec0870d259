"""One coordinator behind its real server, one scripted participant, and stubs that call it."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2
from trypact.v1 import (
    admin_pb2_grpc,
    initiator_pb2,
    initiator_pb2_grpc,
    registry_pb2,
    registry_pb2_grpc,
    transaction_pb2,
)
from trypact_coordinator.core.policy import Policy
from trypact_coordinator.journal.memory import MemoryJournal, MemoryStore
from trypact_coordinator.runtime.clock import JournalClock
from trypact_coordinator.runtime.coordinator import Coordinator
from trypact_coordinator.runtime.ids import Uuid7
from trypact_coordinator.runtime.settings import RuntimeSettings
from trypact_coordinator.server.serving import Server
from trypact_coordinator.transport.grpc import GrpcTransport

from tests.integration.server.scripted_participant import ScriptedParticipant

TCC, SAGA, MESSAGE, NOTICE = 1, 2, 3, 4
ALL_KINDS = (TCC, SAGA, MESSAGE, NOTICE)

# Fast enough that a test waits for nothing, slow enough to be told apart.
POLICY = Policy(
    call_timeout_ms=300,
    backoff_base_ms=5,
    backoff_cap_ms=20,
    slow_retry_ms=60_000,
    attempts_until_stuck=3,
    pending_poll_ms=60_000,
)


class House:
    """What a test talks to."""

    def __init__(
        self, server: Server, coordinator: Coordinator, participant: ScriptedParticipant
    ) -> None:
        self.server = server
        self.coordinator = coordinator
        self.participant = participant
        self.channel = grpc.aio.insecure_channel(
            server.address,
            options=[("grpc.enable_retries", 0), ("grpc.max_receive_message_length", 64 << 20)],
        )
        self.transactions: Any = initiator_pb2_grpc.TransactionServiceStub(self.channel)
        self.registry: Any = registry_pb2_grpc.RegistryServiceStub(self.channel)
        self.admin: Any = admin_pb2_grpc.AdminServiceStub(self.channel)

    async def register(self, endpoint: str, participant: str = "inventory") -> None:
        await self.registry.Register(
            registry_pb2.RegisterRequest(
                participant=participant,
                instance=f"{participant}-1",
                endpoint=endpoint,
                actions=[
                    registry_pb2.Action(verb="reserve", kinds=[TCC, SAGA]),
                    registry_pb2.Action(verb="tell", kinds=[MESSAGE, NOTICE]),
                ],
            )
        )

    async def execute(
        self, *branches: transaction_pb2.Branch, xid: str = "x", wait_until: int = 0, **begin: Any
    ) -> transaction_pb2.TransactionOutcome:
        begin.setdefault("name", "test")
        answer = await self.transactions.Execute(
            initiator_pb2.ExecuteRequest(
                begin=initiator_pb2.Begin(xid=xid, **begin),
                branches=branches,
                wait_until=wait_until,
            )
        )
        return answer.outcome

    async def begin(self, xid: str = "x", **begin: Any) -> transaction_pb2.TransactionOutcome:
        begin.setdefault("name", "test")
        request = initiator_pb2.BeginRequest(begin=initiator_pb2.Begin(xid=xid, **begin))
        return (await self.transactions.Begin(request)).outcome

    async def try_(
        self, branch: transaction_pb2.Branch, xid: str = "x"
    ) -> transaction_pb2.BranchOutcome:
        request = initiator_pb2.TransactionServiceTryRequest(xid=xid, branch=branch)
        return (await self.transactions.Try(request)).branch


def branch(branch_id: str = "b", kind: int = TCC, **fields: Any) -> transaction_pb2.Branch:
    verb = "reserve" if kind in (TCC, SAGA) else "tell"
    fields.setdefault("action", f"inventory.{verb}")
    return transaction_pb2.Branch(id=branch_id, kind=kind, **fields)


@contextlib.asynccontextmanager
async def keep_house(
    store: MemoryStore | None = None, policy: Policy = POLICY
) -> AsyncIterator[House]:
    server = Server("127.0.0.1:0", insecure=False, rpcs_max=1_000)
    coordinator = Coordinator(
        journal=MemoryJournal(store),
        transport=GrpcTransport(),
        ids=Uuid7(),
        clock=JournalClock(),
        policy=policy,
        settings=RuntimeSettings(sweep_every_ms=10),
    )
    async with ScriptedParticipant() as participant:
        await server.start(coordinator)
        await coordinator.start("test")
        await server.open()
        house = House(server, coordinator, participant)
        try:
            await house.register(participant.endpoint)
            yield house
        finally:
            await coordinator.stop(0)
            await house.channel.close()
            await server.stop(0)


class Error:
    """A gRPC error with its google.rpc details unpacked."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self.status = error.code().name
        self.message = error.details() or ""
        self.reason = ""
        self.fields: list[str] = []
        self.retry_after_ms = 0
        self.reference = ""
        for key, value in error.trailing_metadata() or ():
            if key == "grpc-status-details-bin":
                self._read(status_pb2.Status.FromString(value))

    def _read(self, status: status_pb2.Status) -> None:
        assert status.message == self.message
        info = error_details_pb2.ErrorInfo()
        bad = error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        for detail in status.details:
            if detail.Unpack(info):
                assert info.domain == "trypact"
                self.reason = info.reason
                self.reference = info.metadata.get("reference", "")
            elif detail.Unpack(bad):
                self.fields = [violation.field for violation in bad.field_violations]
            elif detail.Unpack(retry):
                self.retry_after_ms = retry.retry_delay.ToMilliseconds()


@contextlib.contextmanager
def refused(status: str, reason: str) -> Any:
    """Expect an error of that status and reason; gives it once the block is left."""
    found: list[Error] = []
    try:
        yield found
    except grpc.aio.AioRpcError as raised:
        error = Error(raised)
        assert (error.status, error.reason) == (status, reason), error.message
        found.append(error)
    else:
        raise AssertionError(f"nothing was refused; expected {reason}")
