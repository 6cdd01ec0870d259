"""The bare loop's participant: says OK to every call. `python -m tests.bench.bare.participant`."""

from typing import Any

from grpc.aio import EOF  # type: ignore[attr-defined]

from tests.bench.bare.stream import CALLS, ENCODER, run, serve

OK = b""


async def attend(context: Any) -> None:
    """Answer the calls of one coordinator, those of a message in one message."""
    while (data := await context.read()) is not EOF:
        await context.write(ENCODER.encode([(call[0], OK) for call in CALLS.decode(data)]))


if __name__ == "__main__":
    run(serve(attend))
