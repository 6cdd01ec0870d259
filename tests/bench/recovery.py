"""kill -9 of the coordinator with many transactions in flight, and how long their end takes.

They really are in flight: the participant holds half of them in Try and half in Confirm until the
coordinator is dead. Its initiators die with it, so that what is measured is recovery alone.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator

import grpc
import msgspec
from trypact.v1 import admin_pb2
from trypact.v1.admin_pb2_grpc import AdminServiceStub

from tests.bench.client import Order
from tests.bench.findings import Findings, Recovery
from tests.bench.load import PARTICIPANTS, register
from tests.bench.plan import Plan, Step
from tests.bench.rig import Rig, started
from tests.bench.usage import resident_mib
from tests.servers.process import ServerProcess, start_coordinator
from tests.tidy.repository import ROOT

# So patient that nothing fails while the gate is closed, and no call waits for another.
_PATIENT = (
    *("--call-timeout", "5m", "--default-timeout", "10m", "--calls-max", "100000"),
    # Nobody renews what is registered here.
    *("--lapse-after", "24h"),
)
_OF_ONE_CLIENT = 5_000
_ASK_AGAIN_SECONDS = 0.01
_FINAL_SECONDS_MAX = 60.0


def recovery(plan: Plan) -> Iterator[Step]:
    """kill -9 with many in flight."""
    for journal in plan.journals:
        for in_flight in plan.in_flight:
            what = f"recovery on {journal}, {in_flight:,} in flight"
            yield Step(what, 6.0 + in_flight / 1000, _Recovered(journal, in_flight))


class _Recovered:
    def __init__(self, journal: str, in_flight: int) -> None:
        self._journal, self._in_flight = journal, in_flight

    def __call__(self, rig: Rig, findings: Findings) -> str:
        gate, endpoint = started("gate", str(self._in_flight * len(PARTICIPANTS)))
        try:
            with rig.journal(self._journal) as journal:
                found = self._run(journal, gate, endpoint)
        finally:
            gate.kill()
        findings.recoveries.append(found)
        return f"serving after {found.serving_s:.2f} s, all final after {found.final_s:.2f} s"

    def _run(self, journal: str, gate: ServerProcess, endpoint: str) -> Recovery:
        coordinator, address = start_coordinator(journal, arguments=_PATIENT)
        try:
            register(address, endpoint)
            idle = resident_mib(coordinator.pid)
            clients = [start_client(address, share) for share in shares(self._in_flight)]
            try:
                gate.wait_for("^holding$")
                in_flight = resident_mib(coordinator.pid)
            finally:
                for client in clients:
                    client.kill()
        finally:
            coordinator.kill()
        os.kill(gate.pid, signal.SIGUSR1)
        gate.wait_for("^open$")
        began = time.perf_counter()
        coordinator, _ = start_coordinator(journal, listen=address)
        try:
            serving = time.perf_counter() - began
            wait_until_final(address)
            final = time.perf_counter() - began
            recovered = resident_mib(coordinator.pid)
        finally:
            coordinator.stop()
        return Recovery(self._journal, self._in_flight, serving, final, idle, in_flight, recovered)


def shares(in_flight: int) -> list[int]:
    """Share the transactions out among initiators: one stream takes so many at once."""
    return [min(_OF_ONE_CLIENT, in_flight - first) for first in range(0, in_flight, _OF_ONE_CLIENT)]


def start_client(address: str, clients: int) -> ServerProcess:
    """Start initiators that each open a transaction."""
    order = Order("one shot", address, clients, 0.0, 600.0, "tcc")
    text = msgspec.json.encode(order).decode()
    return ServerProcess([sys.executable, "-m", "tests.bench.client", text], folder=ROOT)


def wait_until_final(address: str) -> None:
    """Ask until no transaction is unfinished, and see that none was lost to a time-out."""
    with grpc.insecure_channel(address) as channel:
        admin = AdminServiceStub(channel)
        rest = threading.Event()
        gives_up_at = time.perf_counter() + _FINAL_SECONDS_MAX
        while _first(admin, "unfinished=true"):
            if time.perf_counter() > gives_up_at:
                raise RuntimeError(f"not final after {_FINAL_SECONDS_MAX} s")
            rest.wait(_ASK_AGAIN_SECONDS)
        if cancelled := _first(admin, "state=CANCELLED"):
            raise RuntimeError(f"cancelled, which nobody asked for: {cancelled}")


def _first(admin: AdminServiceStub, text: str) -> str:
    request = admin_pb2.ListTransactionsRequest(page_size=1, filter=text)
    found = admin.ListTransactions(request, timeout=30, wait_for_ready=True).transactions
    return str(found[0].xid) if found else ""
