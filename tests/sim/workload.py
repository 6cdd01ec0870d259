"""What the initiators of a run ask for: transactions of all kinds, drawn from the seed."""

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from trypact_coordinator.core.admission import fingerprint
from trypact_coordinator.core.outcome import Reply
from trypact_coordinator.core.transaction import BranchSpec, Kind, On, Spec

from tests.sim.participants import plan

SITES = ("inventory", "balance", "member")
TOPIC = "order.paid"
# The transaction of each run that has everything.
MIXED = "mixed"
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

    def sent_with(self, tried: Sequence[BranchSpec]) -> tuple[BranchSpec, ...]:
        """Return the deliveries that go with the latest Try: wanted after Cancel, in order."""
        known = {branch.id for branch in tried}
        sent = []
        for delivery in self.deliveries:
            if delivery.on is not On.CONFIRM and known.issuperset(delivery.after):
                known.add(delivery.id)
                sent.append(delivery)
        return tuple(sent)


def draw_jobs(rng: random.Random, count: int, busy_us: int) -> list[Job]:
    """Draw the jobs of one run. One of them has everything, whatever the others are."""
    drawn = [_draw_job(rng, f"x{n}", busy_us) for n in range(count)]
    charge = rng.choice(("ok", "ok", "refused", "pending"))
    return [*drawn, draw_mixed(rng, charge, busy_us)]


def _draw_job(rng: random.Random, xid: str, busy_us: int) -> Job:
    interactive = rng.random() < 0.35
    branches: list[BranchSpec] = []
    for n in range(rng.randint(1, 4)):
        kind = rng.choice((Kind.TCC, Kind.TCC, Kind.SAGA, Kind.SAGA, Kind.MESSAGE, Kind.NOTICE))
        branches.append(_draw_branch(rng, f"b{n}", kind, branches))
    if not interactive and rng.random() < 0.35:
        branches = _with_pivot(rng, branches)
    timeout_ms = rng.choice((50, 300, 2_000, 10_000))
    return _job(rng, xid, branches, timeout_ms, busy_us, interactive=interactive)


def _job(
    rng: random.Random,
    xid: str,
    branches: Sequence[BranchSpec],
    timeout_ms: int,
    busy_us: int,
    *,
    interactive: bool = False,
) -> Job:
    tried = tuple(b for b in branches if not (interactive and b.is_delivery))
    late = tuple(b for b in branches if interactive and b.is_delivery)
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


def draw_mixed(rng: random.Random, charge: str, busy_us: int) -> Job:
    """Draw a transaction of all four kinds, whose pivot answers as `charge` says.

    It has a reservation that may end, budgets, a pivot and what follows it, a topic and a timer.
    """

    def one(branch_id: str, kind: Kind, *after: str, amount: int = 0, **more: Any) -> BranchSpec:
        will = more.pop("will", "ok")
        action = "" if "topic" in more else f"{rng.choice(SITES)}.do"
        return BranchSpec(branch_id, kind, action, plan(amount, will), after, **more)

    branches = (
        one("seat", Kind.TCC, amount=2, will=rng.choice(("ok", "brief")), retry_for_ms=1_500),
        one("rent", Kind.SAGA, "seat", amount=1, attempts_max=6),
        one("charge", Kind.SAGA, "seat", "rent", amount=1, will=charge, pivot=True),
        one("stamp", Kind.SAGA, "charge", will=rng.choice(("ok", "refused"))),
        one("paid", Kind.MESSAGE, "stamp", topic=TOPIC),
        one("close", Kind.MESSAGE, "seat", delay_ms=700, on=On.ANY),
        one("sorry", Kind.MESSAGE, "rent", on=On.CANCEL),
        one("hint", Kind.NOTICE, "close", on=On.ANY, attempts_max=rng.choice((1, 6))),
    )
    return _job(rng, MIXED, branches, 2_000, busy_us)


def _draw_branch(
    rng: random.Random, branch_id: str, kind: Kind, before: list[BranchSpec]
) -> BranchSpec:
    delivery = kind in (Kind.MESSAGE, Kind.NOTICE)
    names = [b.id for b in before if (delivery or not b.is_delivery) and not b.topic]
    topic = TOPIC if kind is Kind.MESSAGE and rng.random() < 0.4 else ""
    # Only what is reserved can be held for so long; other kinds have nothing that ends.
    brief = ("brief",) * 2 if kind is Kind.TCC else ()
    will = rng.choice(("ok",) * 10 + ("refused", "pending") + brief)
    return BranchSpec(
        id=branch_id,
        kind=kind,
        action="" if topic else f"{rng.choice(SITES)}.do",
        topic=topic,
        payload=plan(rng.randint(1, 4), will),
        after=tuple(rng.sample(names, k=min(len(names), rng.choice((0, 1, 1, 2))))),
        on=rng.choice(tuple(On)) if delivery else On.CONFIRM,
        delay_ms=rng.choice((0, 0, 30, 700)) if delivery else 0,
        attempts_max=rng.choice((0, 0, 0, 2, 6)) if kind is not Kind.MESSAGE else 0,
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
