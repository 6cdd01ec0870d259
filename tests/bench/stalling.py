"""A participant that answers late or never: `python -m tests.bench.stalling SECONDS`.

It answers OK to every operation after that many seconds; with 0 it takes calls and never answers.
"""

import asyncio
import sys
from typing import Any

import grpc
import grpc.aio
from trypact.v1 import participant_pb2, transaction_pb2
from trypact_coordinator.bootstrap import run

OK = transaction_pb2.Answer(ok=transaction_pb2.Answer.Ok())


class Stalling:
    """Says OK, later.

    Args:
        seconds: how much later; 0 is never.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def drive(self, request_iterator: Any, context: Any) -> Any:
        """Take calls, and answer them when it is time."""
        answers: asyncio.Queue[participant_pb2.DriveResponse] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        async def read() -> None:
            async for request in request_iterator:
                if self._seconds:
                    loop.call_later(self._seconds, answers.put_nowait, answered(request))

        reading = asyncio.create_task(read())
        try:
            while True:
                yield await answers.get()
        finally:
            reading.cancel()


def answered(request: participant_pb2.DriveRequest) -> participant_pb2.DriveResponse:
    """Return OK to each call of a batch."""
    response = participant_pb2.DriveResponse()
    for item in request.items:
        response.items.add(
            xid=item.call.xid,
            branch_id=item.call.branch_id,
            operation=item.operation,
            attempt=item.call.attempt,
            answer=OK,
        )
    return response


async def main() -> None:
    server = grpc.aio.server()
    method = grpc.stream_stream_rpc_method_handler(
        Stalling(float(sys.argv[1])).drive,
        request_deserializer=participant_pb2.DriveRequest.FromString,
        response_serializer=participant_pb2.DriveResponse.SerializeToString,
    )
    service = participant_pb2.DESCRIPTOR.services_by_name["ParticipantService"].full_name
    handler = grpc.method_handlers_generic_handler(service, {"Drive": method})
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stderr.write(f"listening on 127.0.0.1:{port}\n")
    await server.wait_for_termination()


if __name__ == "__main__":
    run(main())
