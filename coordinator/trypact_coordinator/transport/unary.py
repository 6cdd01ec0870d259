"""The plain way to call a participant: one unary gRPC call for each operation."""

from typing import Any

import grpc
from google.protobuf.message import DecodeError
from trypact.v1 import participant_pb2

from trypact_coordinator.core.events import Answer, Unknown
from trypact_coordinator.core.outcome import Call
from trypact_coordinator.core.transaction import Operation
from trypact_coordinator.transport import wire

_MESSAGES: dict[Operation, tuple[Any, Any]] = {
    Operation.TRY: (participant_pb2.TryRequest, participant_pb2.TryResponse),
    Operation.CONFIRM: (participant_pb2.ConfirmRequest, participant_pb2.ConfirmResponse),
    Operation.CANCEL: (participant_pb2.CancelRequest, participant_pb2.CancelResponse),
    Operation.DELIVER: (participant_pb2.DeliverRequest, participant_pb2.DeliverResponse),
}


class Unary:
    """The unary methods of one endpoint."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        # Answers are read here and not by gRPC, which would log a traceback for each bad one.
        self._methods = {
            operation: channel.unary_unary(
                f"/{wire.SERVICE}/{operation.name.capitalize()}",
                request_serializer=request.SerializeToString,
                response_deserializer=None,
            )
            for operation, (request, _) in _MESSAGES.items()
        }

    async def call(self, call: Call) -> Answer:
        """Make one call within its time-out. Raises AioRpcError."""
        request_type, response_type = _MESSAGES[call.operation]
        request = request_type()
        wire.fill(request.call, call)
        if call.operation is Operation.DELIVER:
            request.decision = call.decision.value
        data = await self._methods[call.operation](request, timeout=call.timeout_ms / 1_000)
        try:
            answer = response_type.FromString(data).answer
        except DecodeError:
            return Unknown(
                f"DATA_LOSS: {len(data)} bytes that are no {response_type.DESCRIPTOR.name}"
            )
        return wire.decode(answer)
