"""The load: initiators that each open one transaction after the other."""

import asyncio
import itertools
import time
from array import array
from collections.abc import Awaitable, Callable, Iterator, Sequence
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
_LONGER_SECONDS = 0.05
# Runs one transaction to its end.
Execute = Callable[[], Awaitable[object]]


@dataclass
class Measured:
    """What the initiators saw while they were watched."""

    seconds: float = 0.0
    # Arrays, since an hour's load has tens of millions.
    latencies_ms: "array[float]" = field(default_factory=lambda: array("d"))
    # When each of those was done, in seconds since the watched time began.
    done_at: "array[float]" = field(default_factory=lambda: array("d"))
    # Transactions in all, those before and after the watched time included.
    transactions: int = 0

    @property
    def rate(self) -> float:
        """Transactions a second."""
        return len(self.latencies_ms) / self.seconds


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return what this share of sorted values stays within; 0 if there are none."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


def register(coordinator: str, endpoint: str, participants: Sequence[str] = PARTICIPANTS) -> None:
    """Make participants known to a coordinator that has just started."""
    kinds = [transaction_pb2.BRANCH_KIND_TCC, transaction_pb2.BRANCH_KIND_SAGA]
    with grpc.insecure_channel(coordinator) as channel:
        registry = RegistryServiceStub(channel)
        for name in participants:
            request = registry_pb2.RegisterRequest(
                participant=name,
                instance="noop",
                endpoint=endpoint,
                actions=[registry_pb2.Action(verb="run", kinds=kinds)],
            )
            registry.Register(request, timeout=10, wait_for_ready=True)


async def closed_loop(
    execute: Execute,
    clients: int,
    warm_up_seconds: float,
    seconds: float,
    say: Callable[[str], None],
) -> Measured:
    """Run a load.

    Args:
        execute: runs a transaction.
        clients: initiators at once; each waits for its outcome before it goes on.
        warm_up_seconds: how long before it is watched.
        seconds: how long it is watched; longer where nothing was done by then.
        say: told "watching" when the watched time begins, "second N" after each second of it,
            "watched" when it ends, before the initiators stop.
    """
    measured = Measured()
    watching = stopping = False
    watched_from = 0.0

    async def initiator() -> None:
        while not stopping:
            began = time.perf_counter()
            await execute()
            measured.transactions += 1
            if watching:
                now = time.perf_counter()
                measured.latencies_ms.append((now - began) * 1000)
                measured.done_at.append(now - watched_from)

    async def watch() -> None:
        nonlocal watching, stopping, watched_from
        await passed(warm_up_seconds)
        say("watching")
        watching, watched_from = True, time.perf_counter()
        for second in range(1, int(seconds) + 1):
            await passed(watched_from + second - time.perf_counter())
            say(f"second {second}")
        await passed(watched_from + seconds - time.perf_counter())
        while not measured.latencies_ms:
            await passed(_LONGER_SECONDS)
        watching = False
        measured.seconds = time.perf_counter() - watched_from
        say("watched")
        stopping = True

    async with asyncio.TaskGroup() as tasks:
        for _ in range(clients):
            tasks.create_task(initiator())
        tasks.create_task(watch())
    return measured


def xids_of_this_run() -> Iterator[str]:
    prefix = new_xid()
    return (f"{prefix}-{number}" for number in itertools.count())


async def passed(seconds: float) -> None:
    """Let time pass while the load runs; the one thing here that is about time itself."""
    loop = asyncio.get_running_loop()
    over = loop.create_future()
    loop.call_later(max(seconds, 0.0), over.set_result, None)
    await over
