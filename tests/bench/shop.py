"""The shop's real order: six participants, each a process with a database of its own.

Order, stock and balance by TCC, points by a message, a text by a notice. What it costs is mostly
their local commits.
"""

import contextlib
import sys
from collections.abc import Iterator

import grpc
from trypact_shop.endpoints import ENDPOINTS, variable_of
from trypact_shop.v1 import balance_pb2, balance_pb2_grpc, inventory_pb2, inventory_pb2_grpc

from tests.bench.client import Order
from tests.bench.findings import Findings, Load
from tests.bench.plan import Plan, Step
from tests.bench.rig import Rig, load_of, path_of, pids_of, scratch
from tests.servers.process import ServerProcess, start_coordinator

BUYERS = 64
PIECES = 1_000_000
MONEY_CENTS = 100_000_000
_CALL_SECONDS = 10.0


def shop(plan: Plan) -> Iterator[Step]:
    """The shop's order, with real participants and their databases."""
    for kind in plan.journals:
        yield Step(f"shop on {kind}, {BUYERS} buyers", plan.load_seconds + 6.0, _Bought(plan, kind))


class _Bought:
    def __init__(self, plan: Plan, kind: str) -> None:
        self._plan, self._kind = plan, kind

    def __call__(self, rig: Rig, findings: Findings) -> str:
        load = self._run(rig)
        findings.loads.append(load)
        return f"{load.rate:,.0f} orders/s, p50 {load.p50_ms:.1f} ms"

    def _run(self, rig: Rig) -> Load:
        plan = self._plan
        with contextlib.ExitStack() as stack:
            journal = stack.enter_context(rig.journal(self._kind))
            coordinator, address = start_coordinator(journal)
            stack.callback(coordinator.kill)
            participants = opened(rig, stack, self._kind, address)
            fill(participants)
            order = Order(
                "shop",
                endpoint_of(participants["order"]),
                BUYERS,
                plan.warm_up_seconds,
                plan.seconds,
            )
            seen, usage = rig.watch(
                order, pids_of({"coordinator": coordinator, **participants}), journal
            )
            coordinator.stop()
        load = load_of("shop", self._kind, BUYERS, seen, usage, coordinator.output)
        return merged(load, set(participants))


def opened(
    rig: Rig, stack: contextlib.ExitStack, kind: str, coordinator: str
) -> dict[str, ServerProcess]:
    """Start the participants, the order service once it can be told where the others are."""
    folder = stack.enter_context(scratch())
    processes: dict[str, ServerProcess] = {}

    def start(name: str, environment: dict[str, str]) -> None:
        database = f"sqlite:///{path_of(folder, name)}.db"
        if kind == "postgresql":
            database = stack.enter_context(rig.journal(kind))
        command = [sys.executable, "-m", f"trypact_shop.{name}", "--database", database]
        command += ["--coordinator", coordinator, "--listen", "127.0.0.1:0"]
        processes[name] = ServerProcess(command, environment)
        stack.callback(processes[name].kill)

    for name in ENDPOINTS:
        if name != "order":
            start(name, {})
    start("order", {variable_of(name): endpoint_of(one) for name, one in processes.items()})
    return processes


def endpoint_of(process: ServerProcess) -> str:
    """Return where a participant listens."""
    return process.wait_for(r"listening on (\S+)")[1]


def fill(participants: dict[str, ServerProcess]) -> None:
    """Give the shop goods, and its buyers money."""
    with (
        grpc.insecure_channel(endpoint_of(participants["inventory"])) as inventory,
        grpc.insecure_channel(endpoint_of(participants["balance"])) as balance,
    ):
        goods = inventory_pb2.Goods(
            sku_id=1, goods_name="Tea", list_price_cents=100, price_cents=100
        )
        inventory_pb2_grpc.InventoryServiceStub(inventory).AddStock(
            inventory_pb2.AddStockRequest(goods=goods, warehouse_id=1, quantity=PIECES),
            timeout=_CALL_SECONDS,
        )
        accounts = balance_pb2_grpc.BalanceServiceStub(balance)
        for user_id in range(1, BUYERS + 1):
            deposit = balance_pb2.DepositRequest(user_id=user_id, money_cents=MONEY_CENTS)
            accounts.Deposit(deposit, timeout=_CALL_SECONDS)


def merged(load: Load, participants: set[str]) -> Load:
    """Return the load with all participants' CPU as one; the order service is one of them."""
    cpu = {name: ms for name, ms in load.cpu_ms.items() if name not in participants}
    cpu["participant"] = sum(ms for name, ms in load.cpu_ms.items() if name in participants)
    return Load(**{**{f: getattr(load, f) for f in load.__struct_fields__}, "cpu_ms": cpu})
