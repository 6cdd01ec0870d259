"""The bare loop's participant says OK: `python -m tests.bench.bare.participant WIRE`."""

import sys
from typing import Any

from grpc.aio import EOF  # type: ignore[attr-defined]

from tests.bench.bare.stream import run, serve
from tests.bench.bare.wire import WIRES


async def main(wire: str) -> None:
    """Serve until killed; the answers to a message are one message."""
    answer = WIRES[wire].answer

    async def attend(context: Any) -> None:
        while (data := await context.read()) is not EOF:
            await context.write(answer(data))

    await serve(attend)


if __name__ == "__main__":
    run(main(*sys.argv[1:]))
