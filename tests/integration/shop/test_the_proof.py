"""The demo's proof: it holds over an honest shop, and breaks when a database is tampered with."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from trypact_shop import seed
from trypact_shop.demo import orders, proof
from trypact_shop.demo.orders import Answers
from trypact_shop.demo.world import World, until
from trypact_shop.launcher import Children


@dataclass
class Sold:
    """A shop that has sold something, and what its buyers were told."""

    world: World
    folder: Path
    answers: Answers

    def broken(self) -> list[str]:
        """The claims that do not hold."""
        return [
            f"{section.subject}: {claim.what}"
            for section in proof.sections(self.world, self.answers)
            for claim in section.claims
            if not claim.holds
        ]


@pytest.fixture(scope="module")
def sold(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sold]:
    folder = tmp_path_factory.mktemp("sold")
    with Children(folder) as children:
        world = World(children, folder)
        world.open()
        seed.stock_goods(world.channels["inventory"])
        for buyer in seed.buyers(4):
            seed.open_account(world.channels["balance"], buyer)
            seed.issue_coupons(world.channels["coupon"], buyer)
        answers = Answers()
        for request in orders.planned(12, buyers=4):
            answers.add(request, orders.place(world, request))
        until("all is done", lambda: not world.transactions("list", "--unfinished"), 20)
        yield Sold(world, folder, answers)
        world.close()


def test_every_claim_holds_over_an_honest_shop(sold: Sold) -> None:
    assert len(sold.answers.confirmed) > 3
    assert len(sold.answers.refused) > 1
    assert sold.broken() == []


@pytest.mark.parametrize(
    ("database", "tampering", "broken"),
    [
        ("order", "UPDATE orders SET status_ex = 1 WHERE status = 0", "half-way"),
        ("order", "UPDATE orders SET status = 1, visible = 0", "as the buyers were told"),
        (
            "order",
            (
                "UPDATE orders SET money_paid_cents = money_paid_cents - 1,"
                " pay_amount_cents = pay_amount_cents + 1 WHERE status = 0 AND money_paid_cents > 0"
            ),
            "spent = paid for confirmed orders",
        ),
        ("order", "UPDATE orders SET quantity = quantity + 1", "reserved = in confirmed orders"),
        ("inventory", "UPDATE stock SET total = total + 1 WHERE sku_id = 1002", "Green tea, 250 g"),
        (
            "inventory",
            "UPDATE stock_work_detail SET state = 'reserved' WHERE state = 'locked'",
            "reserved, and undecided",
        ),
        (
            "coupon",
            "UPDATE coupon SET is_used = 2, used_time = NULL WHERE is_used = 1",
            "locked, and undecided",
        ),
        (
            "coupon",
            "UPDATE coupon SET is_used = 0, used_time = NULL, order_id = NULL WHERE is_used = 1",
            "used = confirmed orders with one",
        ),
        (
            "balance",
            "UPDATE account SET money_available_cents = money_available_cents - 1",
            "available + frozen + spent",
        ),
        (
            "balance",
            (
                "UPDATE account SET money_available_cents = money_available_cents - 1,"
                " money_frozen_cents = 1"
            ),
            "frozen, and undecided",
        ),
        (
            "balance",
            "UPDATE money_log SET use_money_cents = use_money_cents + 1",
            "debits in the log = spent",
        ),
        ("member", "DELETE FROM points_log WHERE id = 1", "deliveries = confirmed orders"),
        ("member", "UPDATE member SET points = points + 1", "the members' points = the log's"),
    ],
)
def test_a_shop_that_was_tampered_with_does_not_add_up(
    sold: Sold, database: str, tampering: str, broken: str
) -> None:
    file = sold.folder / f"{database}.db"
    with sqlite3.connect(file) as live, sqlite3.connect(":memory:") as kept:
        live.backup(kept)
        live.execute("PRAGMA ignore_check_constraints = ON")
        assert live.execute(tampering).rowcount > 0
        live.commit()
        try:
            assert any(claim.endswith(f": {broken}") for claim in sold.broken())
        finally:
            kept.backup(live)
    assert sold.broken() == []
