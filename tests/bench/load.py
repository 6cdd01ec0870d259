"""The load: initiators that each open one transaction after the other with the real client."""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import grpc
import trypact
from trypact.ids import new_xid
from trypact.v1 import registry_pb2, transaction_pb2
from trypact.v1.registry_pb2_grpc import RegistryServiceStub

PARTICIPANTS = ("alpha", "beta", "gamma", "delta")
# Name of a load -> the branches of each of its transactions.
SHAPES: dict[str, Callable[[], list[trypact.Branch]]] = {
    "tcc": lambda: [trypact.tcc(f"{name}.run", id=name) for name in PARTICIPANTS],
    "saga": lambda: [
        trypact.saga(f"{name}.run", id=name, after=PARTICIPANTS[max(number - 1, 0) : number])
        for number, name in enumerate(PARTICIPANTS)
    ],
    "rollback": lambda: [
        trypact.tcc(f"{name}.run", "refuse" if name == "gamma" else None, id=name)
        for name in PARTICIPANTS
    ],
}


@dataclass
class Measured:
    """What the initiators saw while they were watched."""

    seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    # Transactions in all, those before and after the watched time included.
    transactions: int = 0

    @property
    def rate(self) -> float:
        """Transactions a second."""
        return len(self.latencies_ms) / self.seconds

    def quantile(self, share: float) -> float:
        """The latency that this share of the transactions stays within, in milliseconds."""
        ordered = sorted(self.latencies_ms)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def register(coordinator: str, endpoint: str) -> None:
    """Make the no-op participants known to a coordinator that has just started."""
    kinds = [transaction_pb2.BRANCH_KIND_TCC, transaction_pb2.BRANCH_KIND_SAGA]
    with grpc.insecure_channel(coordinator) as channel:
        registry = RegistryServiceStub(channel)
        for name in PARTICIPANTS:
            request = registry_pb2.RegisterRequest(
                participant=name,
                instance="noop",
                endpoint=endpoint,
                actions=[registry_pb2.Action(verb="run", kinds=kinds)],
            )
            registry.Register(request, timeout=10, wait_for_ready=True)


async def drive(
    coordinator: str,
    shape: str,
    clients: int,
    warm_up_seconds: float,
    seconds: float,
    started: Callable[[], None],
    ended: Callable[[], None],
) -> Measured:
    """Run a load.

    Args:
        coordinator: its address.
        shape: one of SHAPES.
        clients: initiators at once; each waits for its outcome before it goes on.
        warm_up_seconds: how long before it is watched.
        seconds: how long it is watched.
        started: called when the watched time begins.
        ended: called when it ends, before the initiators stop.
    """
    measured = Measured()
    watching = stopping = False
    branches = SHAPES[shape]()
    xids = xids_of_this_run()

    async def initiator(client: trypact.Client) -> None:
        while not stopping:
            began = time.perf_counter()
            try:
                await client.execute("bench", branches, xid=next(xids))
            except trypact.TransactionCancelled:
                if shape != "rollback":
                    raise
            measured.transactions += 1
            if watching:
                measured.latencies_ms.append((time.perf_counter() - began) * 1000)

    async def watch() -> None:
        nonlocal watching, stopping
        await passed(warm_up_seconds)
        watching = True
        started()
        began = time.perf_counter()
        await passed(seconds)
        watching = False
        measured.seconds = time.perf_counter() - began
        ended()
        stopping = True

    async with trypact.Client(coordinator) as client, asyncio.TaskGroup() as tasks:
        for _ in range(clients):
            tasks.create_task(initiator(client))
        tasks.create_task(watch())
    return measured


def xids_of_this_run() -> Iterator[str]:
    prefix = new_xid()
    return (f"{prefix}-{number}" for number in itertools.count())


async def passed(seconds: float) -> None:
    """Let time pass while the load runs; the one thing here that is about time itself."""
    loop = asyncio.get_running_loop()
    over = loop.create_future()
    loop.call_later(seconds, over.set_result, None)
    await over
