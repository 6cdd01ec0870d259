"""The cases that are loads on no-op participants, on the product and on the bare loop."""

from collections.abc import Iterator

from tests.bench.client import Order
from tests.bench.findings import Findings, Load
from tests.bench.plan import Plan, Step
from tests.bench.rig import Rig, load_of, pids_of, started

# Case -> the kind of its client.
KIND = {"tcc": "one shot", "saga": "one shot", "rollback": "one shot", "interactive": "interactive"}
# Name in the findings -> journal and wire of a bare loop.
BARE = {
    "bare": ("postgresql", "messagepack"),
    "bare, our wire": ("postgresql", "protobuf"),
    "bare, sqlite": ("sqlite", "messagepack"),
}


def tcc(plan: Plan) -> Iterator[Step]:
    """TCC of 4 branches, all confirmed."""
    return _product(plan, "tcc", plan.clients)


def saga(plan: Plan) -> Iterator[Step]:
    """A saga of 4 steps, one after the other."""
    return _product(plan, "saga", plan.clients_of_the_rest)


def rollback(plan: Plan) -> Iterator[Step]:
    """TCC of 4 branches, the third of which refuses."""
    return _product(plan, "rollback", plan.clients_of_the_rest)


def interactive(plan: Plan) -> Iterator[Step]:
    """TCC of 4 branches, each Try by itself."""
    return _product(plan, "interactive", plan.clients_of_the_rest)


def bare(plan: Plan) -> Iterator[Step]:
    """The bare loop: the limit we measure ourselves against."""
    for system in BARE:
        for clients in plan.clients:
            yield _step(f"{system}, {clients} clients", plan, _Bare(plan, system, clients))


def _product(plan: Plan, case: str, every: tuple[int, ...]) -> Iterator[Step]:
    for journal in plan.journals:
        for clients in every:
            what = f"{case} on {journal}, {clients} clients"
            yield _step(what, plan, _Product(plan, case, journal, clients))


class _Loaded:
    """A step that is one load."""

    def __init__(self, plan: Plan, case: str, system: str, clients: int) -> None:
        self._plan, self._case, self._system = plan, case, system
        self.clients = clients

    def __call__(self, rig: Rig, findings: Findings) -> str:
        load = self.run(rig)
        findings.loads.append(load)
        return f"{load.rate:,.0f} tx/s, p50 {load.p50_ms:.1f} ms"

    def run(self, rig: Rig) -> Load:
        raise NotImplementedError

    def _order(self, kind: str, address: str, shape: str) -> Order:
        plan = self._plan
        return Order(kind, address, self.clients, plan.warm_up_seconds, plan.seconds, shape)


class _Product(_Loaded):
    def run(self, rig: Rig) -> Load:
        participant, _ = rig.shared("noop")
        with rig.journal(self._system) as journal:
            with rig.coordinator(journal) as (coordinator, address):
                order = self._order(KIND[self._case], address, self._case)
                pids = pids_of({"coordinator": coordinator, "participant": participant})
                seen, usage = rig.watch(order, pids, journal)
            return load_of(self._case, self._system, self.clients, seen, usage, coordinator.output)


class _Bare(_Loaded):
    def __init__(self, plan: Plan, system: str, clients: int) -> None:
        super().__init__(plan, "tcc", system, clients)

    def run(self, rig: Rig) -> Load:
        kind, wire = BARE[self._system]
        participant, endpoint = rig.shared("bare.participant", wire)
        with rig.journal(kind) as journal:
            coordinator, address = started("bare.coordinator", endpoint, journal, wire)
            try:
                order = self._order("bare", address, wire)
                pids = pids_of({"coordinator": coordinator, "participant": participant})
                seen, usage = rig.watch(order, pids, journal)
            finally:
                coordinator.stop()
            return load_of("tcc", self._system, self.clients, seen, usage, coordinator.output)


def _step(what: str, plan: Plan, run: _Loaded) -> Step:
    return Step(what, plan.load_seconds, run, run.clients)
