"""The gRPC server: where it listens, what it serves, and how it starts and stops.

It is bound before the coordinator owns its journal, so that a port that is taken is found before
anything is touched, and refuses every call until `open` says that the coordinator is ready.
"""

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from trypact.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    initiator_pb2,
    initiator_pb2_grpc,
    registry_pb2,
    registry_pb2_grpc,
)

from trypact_coordinator.runtime.coordinator import Coordinator
from trypact_coordinator.server.admin import AdminService
from trypact_coordinator.server.errors import Guard, Starting
from trypact_coordinator.server.initiator import TransactionService
from trypact_coordinator.server.listening import (
    CannotListen,
    bracketed,
    listen_on,
    require_loopback,
    split_address,
)
from trypact_coordinator.server.registry import RegistryService

SERVICES: tuple[str, ...] = (
    initiator_pb2.DESCRIPTOR.services_by_name["TransactionService"].full_name,
    registry_pb2.DESCRIPTOR.services_by_name["RegistryService"].full_name,
    admin_pb2.DESCRIPTOR.services_by_name["AdminService"].full_name,
)
_HEALTH = "/grpc.health.v1.Health/"

# The largest transaction (limits.TRANSACTION_BYTES_MAX of payloads) with room for its names.
REQUEST_BYTES_MAX = 4 * 1024 * 1024
# What an initiator may send ahead of our reading, on each stream; a larger message comes all the
# same, a round trip later.
UNREAD_BYTES_MAX = 16 * 1024

_OPTIONS: tuple[tuple[str, int], ...] = (
    # A second server on the same port must fail, not share it.
    ("grpc.so_reuseport", 0),
    # What came and was not read is a queue that nobody counts: it is kept short. An initiator that
    # is quicker than we are keeps the rest, which then comes in fewer and larger messages.
    ("grpc.http2.lookahead_bytes", UNREAD_BYTES_MAX),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.max_receive_message_length", REQUEST_BYTES_MAX),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Clients may ping every 10 s, with or without calls; who does so more often is cut off.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 3),
)


class Server:
    """Serves one coordinator on one address.

    Args:
        listen: `HOST:PORT`; port 0 takes a free one.
        insecure: allow addresses that others can reach.
        rpcs_max: calls at once, waiting ones included; further ones are refused.
    """

    def __init__(self, listen: str, *, insecure: bool, rpcs_max: int) -> None:
        host, port = split_address(listen)
        if not insecure:
            require_loopback(listen, host, "anyone could decide transactions")
        self._ready = False
        self._server = grpc.aio.server(
            interceptors=(Guard(self._admit),),
            options=_OPTIONS,
            maximum_concurrent_rpcs=rpcs_max,
        )
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]
        self.address = f"{bracketed(host)}:{self._bind(host, port)}"

    async def start(self, coordinator: Coordinator) -> None:
        """Take calls, and answer them that the coordinator is starting."""
        server = self._server
        initiator_pb2_grpc.add_TransactionServiceServicer_to_server(
            TransactionService(coordinator), server
        )
        registry_pb2_grpc.add_RegistryServiceServicer_to_server(
            RegistryService(coordinator), server
        )
        admin_pb2_grpc.add_AdminServiceServicer_to_server(AdminService(coordinator), server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection(
            (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server
        )
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        await server.start()

    async def open(self) -> None:
        """Serve: the coordinator is ready."""
        self._ready = True
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)

    async def drain(self) -> None:
        """Tell load balancers to go elsewhere; calls are still answered."""
        await self._health.enter_graceful_shutdown()

    async def stop(self, grace_ms: int) -> None:
        """Answer what is under way, for a while, and close the port."""
        await self._server.stop(grace_ms / 1_000)

    def _admit(self, method: str) -> None:
        if not self._ready and not method.startswith(_HEALTH):
            raise Starting

    async def _set_health(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        for service in ("", *SERVICES):
            await self._health.set(service, status)

    def _bind(self, host: str, port: int) -> int:
        address = f"{bracketed(host)}:{port}"
        # gRPC does not say why it cannot listen, and writes to stderr.
        listen_on(host, port).close()
        try:
            return self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise CannotListen(f"{address} cannot be listened on: {error}.") from error
