"""All initiators of a load, in one process: `python -m tests.bench.client ORDER`, a JSON object.

A process of its own, so that what it costs is told apart, and nothing of the benchmark's runs in
its event loop. It says when the watched time begins and ends, and in the end what it saw.
"""

import contextlib
import itertools
import sys
from collections.abc import AsyncIterator, Iterator

import grpc.aio
import msgspec
import trypact
from trypact_shop.v1 import order_pb2, order_pb2_grpc

from tests.bench.bare.client import BareClient
from tests.bench.bare.stream import run
from tests.bench.load import (
    PARTICIPANTS,
    SHAPES,
    Execute,
    Measured,
    closed_loop,
    quantile,
    xids_of_this_run,
)

SHARES = {"p50_ms": 0.50, "p99_ms": 0.99, "p999_ms": 0.999}
SUBMIT_SECONDS = 60.0


class Order(msgspec.Struct, frozen=True):
    """What is to be run."""

    # One of KINDS.
    kind: str
    address: str
    clients: int
    warm_up_seconds: float
    seconds: float
    # Of the real client's one-shot transactions: one of SHAPES; of a bare loop: its wire.
    shape: str = ""
    # Into how many parts the watched time is cut, for whoever wants to see it pass.
    parts: int = 0


class Part(msgspec.Struct, frozen=True):
    """What was seen in a part of the watched time."""

    at_s: float
    rate: float
    p50_ms: float
    p99_ms: float


class Seen(msgspec.Struct, frozen=True):
    """What was seen."""

    watched: int
    transactions: int
    rate: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    parts: list[Part]


@contextlib.asynccontextmanager
async def one_shot(order: Order) -> AsyncIterator[Execute]:
    """Yield `Client.execute`, with the branches of a shape."""
    branches, xids = SHAPES[order.shape](), xids_of_this_run()
    async with trypact.Client(order.address) as client:

        async def execute() -> None:
            try:
                await client.execute("bench", branches, xid=next(xids))
            except trypact.TransactionCancelled:
                if order.shape != "rollback":
                    raise

        yield execute


@contextlib.asynccontextmanager
async def interactive(order: Order) -> AsyncIterator[Execute]:
    """Yield the interactive form: each Try by itself, then the commit."""
    xids = xids_of_this_run()
    async with trypact.Client(order.address) as client:

        async def execute() -> None:
            async with client.transaction("bench", xid=next(xids)) as transaction:
                for name in PARTICIPANTS:
                    await transaction.try_(f"{name}.run", id=name)

        yield execute


@contextlib.asynccontextmanager
async def bare(order: Order) -> AsyncIterator[Execute]:
    """Yield the bare loop's client."""
    branches = [(name, f"{name}.run", b"") for name in PARTICIPANTS]
    xids = xids_of_this_run()
    async with BareClient(order.address, order.shape) as client:
        yield lambda: client.execute(next(xids), branches)


@contextlib.asynccontextmanager
async def shop(order: Order) -> AsyncIterator[Execute]:
    """Yield an order of the shop, each buyer's after the one before."""
    numbers = itertools.count()
    async with grpc.aio.insecure_channel(order.address) as channel:
        stub = order_pb2_grpc.OrderServiceStub(channel)

        async def execute() -> None:
            number = next(numbers)
            request = order_pb2.SubmitOrderRequest(
                request_id=f"bench-{number}",
                buyer_user_id=number % order.clients + 1,
                lines=[order_pb2.SubmitOrderLine(sku_id=1, quantity=1)],
            )
            response = await stub.SubmitOrder(request, timeout=SUBMIT_SECONDS)
            if response.order.HasField("refusal"):
                raise RuntimeError(f"order refused: {response.order.refusal.reason}")

        yield execute


KINDS = {"one shot": one_shot, "interactive": interactive, "bare": bare, "shop": shop}


async def main(order: Order) -> None:
    """Run the load and say what was seen."""
    async with KINDS[order.kind](order) as execute:
        measured = await closed_loop(
            execute, order.clients, order.warm_up_seconds, order.seconds, say
        )
    say(f"seen {msgspec.json.encode(summed_up(measured, order.parts)).decode()}")


def summed_up(measured: Measured, parts: int) -> Seen:
    """Return the figures of a load, and of each part of its time."""
    ordered = sorted(measured.latencies_ms)
    return Seen(
        watched=len(ordered),
        transactions=measured.transactions,
        rate=measured.rate,
        parts=list(parts_of(measured, parts)),
        **{name: quantile(ordered, share) for name, share in SHARES.items()},
    )


def parts_of(measured: Measured, parts: int) -> Iterator[Part]:
    """Yield the figures of each part of the watched time."""
    if not parts:
        return
    span = measured.seconds / parts
    latencies: list[list[float]] = [[] for _ in range(parts)]
    for at, ms in zip(measured.done_at, measured.latencies_ms, strict=True):
        latencies[min(int(at / span), parts - 1)].append(ms)
    for number, part in enumerate(latencies, 1):
        part.sort()
        yield Part(
            at_s=number * span,
            rate=len(part) / span,
            p50_ms=quantile(part, 0.50),
            p99_ms=quantile(part, 0.99),
        )


def say(what: str) -> None:
    """Tell the benchmark's own process."""
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    run(main(msgspec.json.decode(sys.argv[1], type=Order)))
