"""What the initiators of a run ask for: transactions of all kinds, drawn from the seed."""

import random
from typing import NamedTuple

from trypact_coordinator.core.admission import fingerprint
from trypact_coordinator.core.outcome import Reply
from trypact_coordinator.core.transaction import BranchSpec, Kind, On, Spec

from tests.sim.participants import plan

SITES = ("inventory", "balance", "member")
TOPIC = "order.paid"
SUBSCRIBERS = ("balance", "member")


class Job(NamedTuple):
    """One transaction that a client wants."""

    spec: Spec
    branches: tuple[BranchSpec, ...]
    # Interactive only: what joins with Commit, and how it ends.
    deliveries: tuple[BranchSpec, ...]
    ending: str
    until: Reply
    starts_us: int
    # Faults after which the client vanishes.
    patience: int


def draw_jobs(rng: random.Random, count: int, busy_us: int) -> list[Job]:
    """Draw the jobs of one run."""
    return [_draw_job(rng, f"x{n}", busy_us) for n in range(count)]


def _draw_job(rng: random.Random, xid: str, busy_us: int) -> Job:
    interactive = rng.random() < 0.35
    branches: list[BranchSpec] = []
    for n in range(rng.randint(1, 4)):
        kind = rng.choice((Kind.TCC, Kind.TCC, Kind.SAGA, Kind.SAGA, Kind.MESSAGE, Kind.NOTICE))
        branches.append(_draw_branch(rng, f"b{n}", kind, branches))
    if not interactive and rng.random() < 0.35:
        branches = _with_pivot(rng, branches)
    tried = tuple(b for b in branches if not b.is_delivery) if interactive else tuple(branches)
    late = tuple(b for b in branches if b.is_delivery) if interactive else ()
    timeout_ms = rng.choice((50, 300, 2_000, 10_000))
    name = "order.submit"
    spec = Spec(
        xid=xid,
        name=name,
        timeout_ms=timeout_ms,
        fingerprint=fingerprint(name, timeout_ms, () if interactive else tried),
        interactive=interactive,
        nonce=f"n-{xid}" if interactive else "",
    )
    return Job(
        spec=spec,
        branches=tried,
        deliveries=late,
        ending=rng.choice(("commit", "commit", "commit", "rollback", "vanish")),
        until=rng.choice((Reply.DECIDED, Reply.SETTLED)),
        starts_us=rng.randint(0, busy_us),
        patience=rng.choice((0, 1, 100, 100)),
    )


def _draw_branch(
    rng: random.Random, branch_id: str, kind: Kind, before: list[BranchSpec]
) -> BranchSpec:
    delivery = kind in (Kind.MESSAGE, Kind.NOTICE)
    names = [b.id for b in before if (delivery or not b.is_delivery) and not b.topic]
    topic = TOPIC if kind is Kind.MESSAGE and rng.random() < 0.4 else ""
    will = rng.choice(("ok",) * 10 + ("refused", "pending"))
    return BranchSpec(
        id=branch_id,
        kind=kind,
        action="" if topic else f"{rng.choice(SITES)}.do",
        topic=topic,
        payload=plan(rng.randint(1, 4), will),
        after=tuple(rng.sample(names, k=min(len(names), rng.choice((0, 1, 1, 2))))),
        on=rng.choice(tuple(On)) if delivery else On.CONFIRM,
        delay_ms=rng.choice((0, 0, 30, 700)) if delivery else 0,
        attempts_max=rng.choice((0, 0, 0, 2)) if kind is not Kind.MESSAGE else 0,
        retry_for_ms=rng.choice((0, 0, 0, 150)) if kind is not Kind.MESSAGE else 0,
    )


def _with_pivot(rng: random.Random, branches: list[BranchSpec]) -> list[BranchSpec]:
    """Put a pivot after all that is tried, and some steps after it; deliveries stay."""
    tried = tuple(b.id for b in branches if not b.is_delivery)
    will = rng.choice(("ok",) * 4 + ("refused", "pending"))
    pivot = BranchSpec(
        "pivot",
        Kind.SAGA,
        f"{rng.choice(SITES)}.do",
        plan(rng.randint(1, 4), will),
        after=tried,
        pivot=True,
    )
    branches = [*branches, pivot]
    for n in range(rng.randint(0, 2)):
        named = ("pivot", "forward0") if n and rng.random() < 0.5 else ("pivot",)
        # Takes nothing, so that what may not say no for good is never short of it.
        payload = plan(0, rng.choice(("ok", "ok", "refused", "pending")))
        action = f"{rng.choice(SITES)}.do"
        branches.append(BranchSpec(f"forward{n}", Kind.SAGA, action, payload, after=named))
    return branches
