"""A participant that does nothing, as fast as Python can: `python -m tests.bench.noop`.

It has no database and no fence, so what a benchmark against it measures is the coordinator and the
wire. It answers OK to everything, except that a Try with the payload `refuse` is refused.
"""

import sys
from typing import Any

import grpc
import grpc.aio
from trypact.v1 import participant_pb2, transaction_pb2
from trypact.v1.participant_pb2_grpc import (
    ParticipantServiceServicer,
    add_ParticipantServiceServicer_to_server,
)
from trypact_coordinator.bootstrap import run

OK = transaction_pb2.Answer(ok=transaction_pb2.Answer.Ok())
REFUSED = transaction_pb2.Answer(refused=transaction_pb2.Answer.Refused(reason="asked to refuse"))
TRY = transaction_pb2.OPERATION_TRY
REFUSE = b'"refuse"'


class Noop(ParticipantServiceServicer):
    """Says OK."""

    async def Try(self, request: participant_pb2.TryRequest, context: Any) -> Any:  # noqa: N802
        refused = request.call.payload == REFUSE
        return participant_pb2.TryResponse(answer=REFUSED if refused else OK)

    async def Confirm(self, request: Any, context: Any) -> Any:  # noqa: N802
        return participant_pb2.ConfirmResponse(answer=OK)

    async def Cancel(self, request: Any, context: Any) -> Any:  # noqa: N802
        return participant_pb2.CancelResponse(answer=OK)

    async def Deliver(self, request: Any, context: Any) -> Any:  # noqa: N802
        return participant_pb2.DeliverResponse(answer=OK)

    async def Drive(self, request_iterator: Any, context: Any) -> Any:  # noqa: N802
        async for request in request_iterator:
            response = participant_pb2.DriveResponse()
            for item in request.items:
                call = item.call
                response.items.add(
                    xid=call.xid,
                    branch_id=call.branch_id,
                    operation=item.operation,
                    attempt=call.attempt,
                    answer=REFUSED if call.payload == REFUSE and item.operation == TRY else OK,
                )
            yield response


async def main() -> None:
    server = grpc.aio.server()
    add_ParticipantServiceServicer_to_server(Noop(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stderr.write(f"listening on 127.0.0.1:{port}\n")
    await server.wait_for_termination()


if __name__ == "__main__":
    run(main())
