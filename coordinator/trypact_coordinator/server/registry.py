"""RegistryService: how participants make themselves and their actions known."""

# ruff: noqa: N802 - gRPC names the methods

from trypact.v1 import registry_pb2, registry_pb2_grpc

from trypact_coordinator.ports import Instance
from trypact_coordinator.runtime.coordinator import Coordinator
from trypact_coordinator.runtime.registry import ParticipantView
from trypact_coordinator.server import wire


class RegistryService(registry_pb2_grpc.RegistryServiceServicer):
    """Reads each request, asks the registry, writes the answer."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self._registry = coordinator.registry

    async def Register(
        self, request: registry_pb2.RegisterRequest, context: object
    ) -> registry_pb2.RegisterResponse:
        """Make an instance known, durably."""
        instance = wire.instance_of(request, self._coordinator.clock.now())
        warning = await self._registry.register(instance)
        return registry_pb2.RegisterResponse(
            renew_every_ms=self._registry.renew_every_ms, warning=warning
        )

    async def Renew(
        self, request: registry_pb2.RenewRequest, context: object
    ) -> registry_pb2.RenewResponse:
        """Take a heartbeat."""
        known = await self._registry.renew(request.participant, request.instance)
        return registry_pb2.RenewResponse(known=known)

    async def Deregister(
        self, request: registry_pb2.DeregisterRequest, context: object
    ) -> registry_pb2.DeregisterResponse:
        """Drain an instance."""
        await self._registry.deregister(request.participant, request.instance)
        return registry_pb2.DeregisterResponse()

    async def ListParticipants(
        self, request: registry_pb2.ListParticipantsRequest, context: object
    ) -> registry_pb2.ListParticipantsResponse:
        """List every participant, its instances and how its lane stands."""
        return registry_pb2.ListParticipantsResponse(
            participants=[self._participant(view) for view in self._registry.overview()],
            now=wire.timestamp(self._coordinator.clock.now()),
        )

    def _participant(self, view: ParticipantView) -> registry_pb2.Participant:
        lane = self._coordinator.lane(view.name)
        return registry_pb2.Participant(
            name=view.name,
            actions=[
                registry_pb2.Action(
                    verb=verb,
                    kinds=[wire.number(kind) for kind in kinds],
                    topics=[topic for topic, by in view.topics if by == verb],
                )
                for verb, kinds in view.actions
            ],
            instances=[_instance(row, row.instance in view.live) for row in view.instances],
            breaker=wire.number(lane.breaker),
            calls_in_flight=lane.in_flight,
            calls_queued=lane.queued,
        )


def _instance(row: Instance, live: bool) -> registry_pb2.Instance:
    if row.draining:
        state = registry_pb2.INSTANCE_STATE_DRAINING
    elif live:
        state = registry_pb2.INSTANCE_STATE_LIVE
    else:
        state = registry_pb2.INSTANCE_STATE_LAPSED
    return registry_pb2.Instance(
        instance=row.instance,
        endpoint=row.endpoint,
        state=state,
        renewed_at=wire.timestamp(row.renewed_at),
    )
