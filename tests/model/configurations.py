"""What is explored: every kind and mixture of branches, small enough to visit every state."""

from trypact_coordinator.core.transaction import BranchSpec, Kind, On

from tests.model.world import Config


def tcc(branch_id: str, *after: str) -> BranchSpec:
    return BranchSpec(branch_id, Kind.TCC, "p.do", after=after)


def saga(branch_id: str, *after: str, attempts: int = 0, retry_for_ms: int = 0) -> BranchSpec:
    return BranchSpec(
        branch_id,
        Kind.SAGA,
        "p.do",
        after=after,
        attempts_max=attempts,
        retry_for_ms=retry_for_ms,
    )


def pivot(branch_id: str, *after: str) -> BranchSpec:
    return BranchSpec(branch_id, Kind.SAGA, "p.do", after=after, pivot=True)


def message(branch_id: str, *after: str, on: On = On.CONFIRM) -> BranchSpec:
    return BranchSpec(branch_id, Kind.MESSAGE, "p.do", after=after, on=on)


def notice(branch_id: str, *after: str, delay_ms: int = 0) -> BranchSpec:
    return BranchSpec(branch_id, Kind.NOTICE, "p.do", after=after, on=On.ANY, delay_ms=delay_ms)


def configurations(branches: int) -> dict[str, Config]:
    """Return the configurations of so many branches, by name."""
    # Two faults where the state space allows it.
    more = 2 if branches == 3 else 1
    return {
        "tcc in parallel": Config((tcc("a"), tcc("b"), tcc("c"), tcc("d"))[:branches], faults=1),
        "tcc in a row": Config(
            (tcc("a"), tcc("b", "a"), tcc("c", "b"), tcc("d", "c"))[:branches], faults=1
        ),
        "saga in a row": Config(
            (saga("a"), saga("b", "a"), saga("c", "b"), saga("d", "c"))[:branches], faults=more
        ),
        "saga through a tcc": Config(
            (saga("a"), tcc("b", "a"), saga("c", "b"), message("d", on=On.ANY))[:branches], faults=1
        ),
        "all kinds": Config(
            (tcc("a"), saga("b", "a"), message("c", "a", on=On.ANY), notice("d", delay_ms=1))[
                :branches
            ],
            faults=more,
        ),
        "an operator": Config(
            (tcc("a"), saga("b"), message("c"))[:branches], faults=1, operator=True
        ),
        "interactive": Config(
            (tcc("a"), saga("b"), tcc("d"))[: branches - 1],
            faults=1,
            interactive=True,
            deliveries=(message("c", "a"),),
        ),
        "a pivot": Config(
            (tcc("a"), pivot("p", "a"), saga("f", "p"), message("c", "f", on=On.ANY))[:branches],
            faults=more,
        ),
        "a pivot and an operator": Config(
            (saga("a"), pivot("p", "a"), saga("f", "p"), saga("g", "p"))[:branches],
            faults=1,
            operator=True,
            pending=True,
        ),
        "budgets": Config((saga("a", attempts=1), saga("b", "a", retry_for_ms=2)), faults=3),
        "pending": Config((tcc("a"), saga("b", "a")), faults=1, pending=True),
        "reservations that end": Config((tcc("a"), tcc("b")), faults=2, expires=True),
        "many faults": Config((tcc("a"), notice("b", "a", delay_ms=1)), faults=3, pending=True),
    }
