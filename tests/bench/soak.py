"""One load for long: what grows, and whether the last tenth is as quick as the first."""

from collections.abc import Iterator

from tests.bench.client import Order
from tests.bench.findings import Findings, Moment, Soak
from tests.bench.plan import Plan, Step
from tests.bench.rig import Rig, pids_of
from tests.bench.usage import resident_mib

CLIENTS = 16
PARTS_MAX = 60


def soak(plan: Plan) -> Iterator[Step]:
    """TCC of 4 branches for long, with the coordinator's memory."""
    for journal in plan.journals[-1:]:
        what = f"soak on {journal}, {CLIENTS} clients, {plan.soak_seconds:.0f} s"
        yield Step(what, plan.soak_seconds + 3.0, _Soaked(plan, journal))


class _Soaked:
    def __init__(self, plan: Plan, kind: str) -> None:
        self._plan, self._kind = plan, kind

    def __call__(self, rig: Rig, findings: Findings) -> str:
        seconds = self._plan.soak_seconds
        parts = max(1, min(PARTS_MAX, int(seconds)))
        memory: list[float] = []
        with (
            rig.journal(self._kind) as journal,
            rig.coordinator(journal) as (coordinator, address),
        ):
            order = Order("one shot", address, CLIENTS, 1.0, seconds, "tcc", parts)
            pids = pids_of({"coordinator": coordinator})
            seen, _ = rig.watch(
                order, pids, journal, lambda second: memory.append(resident_mib(coordinator.pid))
            )
        moments = [
            Moment(part.at_s, part.rate, part.p50_ms, part.p99_ms, _at(memory, part.at_s))
            for part in seen.parts
        ]
        findings.soaks.append(Soak(self._kind, CLIENTS, seconds, moments))
        return f"{moments[0].coordinator_mib:.0f} MiB at first, {moments[-1].coordinator_mib:.0f}"


def _at(memory: list[float], second: float) -> float:
    """Return the memory at the end of a second; 0 if the load was shorter than one."""
    return memory[max(0, min(round(second), len(memory)) - 1)] if memory else 0.0
