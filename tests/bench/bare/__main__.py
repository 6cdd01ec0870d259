"""Measures the bare loop alone: `python -m tests.bench.bare --clients 1,16,64 --seconds 3`."""

import argparse
import asyncio
import itertools
import sys
import time

from trypact.ids import new_xid

from tests.bench.bare.client import BareClient
from tests.bench.bare.stream import run
from tests.bench.cases import DURABLE, Usage
from tests.bench.load import PARTICIPANTS, Measured, passed
from tests.servers.postgres import PostgresServer
from tests.servers.process import ServerProcess
from tests.tidy.repository import ROOT

BRANCHES = [(name, f"{name}.run", b"") for name in PARTICIPANTS]
LINE = "{clients:4} clients {rate:8,.0f} tx/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms, us/tx: {cpu}\n"


async def drive(coordinator: str, clients: int, seconds: float, usage: Usage) -> Measured:
    """Run the load, a second of warming up first."""
    measured = Measured()
    watching, stopping = False, False
    prefix, numbers = new_xid(), itertools.count()

    async def initiator(client: BareClient) -> None:
        while not stopping:
            began = time.perf_counter()
            await client.execute(f"{prefix}-{next(numbers)}", BRANCHES)
            measured.transactions += 1
            if watching:
                measured.latencies_ms.append((time.perf_counter() - began) * 1000)

    async with BareClient(coordinator) as client, asyncio.TaskGroup() as tasks:
        for _ in range(clients):
            tasks.create_task(initiator(client))
        await passed(min(seconds, 1.0))
        usage.start()
        watching, began = True, time.perf_counter()
        await passed(seconds)
        watching, measured.seconds = False, time.perf_counter() - began
        usage.end()
        stopping = True
    return measured


def start(module: str, *arguments: str) -> tuple[ServerProcess, str]:
    """Start one of the loop's processes; return it with its address."""
    command = [sys.executable, "-m", f"tests.bench.bare.{module}", *arguments]
    process = ServerProcess(command, folder=ROOT)
    return process, process.wait_for(r"listening on (\S+)")[1]


def main() -> None:
    """Measure each number of clients on a fresh coordinator and an empty database."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", default="1,8,16,64,256")
    parser.add_argument("--seconds", type=float, default=3.0)
    asked = parser.parse_args()
    postgres = PostgresServer(DURABLE)
    participant, endpoint = start("participant")
    try:
        for clients in map(int, asked.clients.split(",")):
            coordinator, address = start("coordinator", endpoint, postgres.create_database())
            pids = {"coordinator": coordinator.pid, "participant": participant.pid}
            usage = Usage(pids, postgres)
            measured = run(drive(address, clients, asked.seconds, usage))
            coordinator.kill()
            count = len(measured.latencies_ms)
            cpu = {name: round(ms * 1000 / count) for name, ms in usage.used.items()}
            sys.stdout.write(
                LINE.format(
                    clients=clients,
                    rate=measured.rate,
                    p50=measured.quantile(0.5),
                    p99=measured.quantile(0.99),
                    cpu=cpu,
                )
            )
    finally:
        participant.kill()
        postgres.remove()


if __name__ == "__main__":
    main()
