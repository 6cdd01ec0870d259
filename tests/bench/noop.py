"""A participant that does nothing, as fast as Python can: `python -m tests.bench.noop`.

It has no database and no fence, so what a benchmark against it measures is the coordinator and the
wire. It answers OK to everything, except that a Try with the payload `refuse` is refused.
"""

import sys
from typing import Any

import grpc
import grpc.aio
from grpc.aio import EOF  # type: ignore[attr-defined]
from trypact.v1 import participant_pb2, transaction_pb2
from trypact_coordinator.bootstrap import run

OK = transaction_pb2.Answer(ok=transaction_pb2.Answer.Ok())
REFUSED = transaction_pb2.Answer(refused=transaction_pb2.Answer.Refused(reason="asked to refuse"))
TRY = transaction_pb2.OPERATION_TRY
REFUSE = b'"refuse"'


async def try_(request: participant_pb2.TryRequest, context: Any) -> participant_pb2.TryResponse:
    refused = request.call.payload == REFUSE
    return participant_pb2.TryResponse(answer=REFUSED if refused else OK)


async def confirm(request: Any, context: Any) -> participant_pb2.ConfirmResponse:
    return participant_pb2.ConfirmResponse(answer=OK)


async def cancel(request: Any, context: Any) -> participant_pb2.CancelResponse:
    return participant_pb2.CancelResponse(answer=OK)


async def deliver(request: Any, context: Any) -> participant_pb2.DeliverResponse:
    return participant_pb2.DeliverResponse(answer=OK)


async def drive(requests: Any, context: Any) -> None:
    """Answer batch by batch, in bytes: nothing is built that was built before."""
    replies: dict[tuple[str, int, int, bool], Reply] = {}
    while (data := await context.read()) is not EOF:
        answers = []
        for item in participant_pb2.DriveRequest.FromString(data).items:
            call = item.call
            refused = item.operation == TRY and call.payload == REFUSE
            key = (call.branch_id, item.operation, call.attempt, refused)
            reply = replies.get(key) or replies.setdefault(key, Reply(*key))
            answers.append(reply.to(call.xid))
        # Encoded messages in a row are one message with the items of each.
        await context.write(b"".join(answers))


class Reply:
    """What is answered to one operation of one branch, whatever the transaction."""

    def __init__(self, branch_id: str, operation: int, attempt: int, refused: bool) -> None:
        self._batch: Any = participant_pb2.DriveResponse()
        self._item: Any = self._batch.items.add(
            branch_id=branch_id,
            operation=operation,
            attempt=attempt,
            answer=REFUSED if refused else OK,
        )

    def to(self, xid: str) -> bytes:
        """Return it as a batch of its own."""
        self._item.xid = xid
        data: bytes = self._batch.SerializeToString()
        return data


def handlers() -> Any:
    unary = {
        name: grpc.unary_unary_rpc_method_handler(
            method,
            request_deserializer=getattr(participant_pb2, f"{name}Request").FromString,
            response_serializer=getattr(participant_pb2, f"{name}Response").SerializeToString,
        )
        for name, method in (
            ("Try", try_),
            ("Confirm", confirm),
            ("Cancel", cancel),
            ("Deliver", deliver),
        )
    }
    return grpc.method_handlers_generic_handler(
        "trypact.v1.ParticipantService",
        {**unary, "Drive": grpc.stream_stream_rpc_method_handler(drive)},
    )


async def main() -> None:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((handlers(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stderr.write(f"listening on 127.0.0.1:{port}\n")
    await server.wait_for_termination()


if __name__ == "__main__":
    run(main())
