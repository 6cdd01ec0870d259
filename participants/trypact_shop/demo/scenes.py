"""The five scenes: open, sell, lose a participant, lose the coordinator, add up."""

import time
from concurrent.futures import Future, ThreadPoolExecutor, as_completed

from trypact_shop import seed
from trypact_shop.demo import orders, proof
from trypact_shop.demo.orders import Answers
from trypact_shop.demo.show import Show
from trypact_shop.demo.world import DemoFailed, World, until
from trypact_shop.failpoint import VARIABLE as PARTICIPANT_FAILPOINT
from trypact_shop.v1 import inventory_pb2, order_pb2

COORDINATOR_FAILPOINT = "TRYPACT_FAILPOINT"
# Orders that are under way when somebody is killed.
UNDER_WAY = 4
# How long a crash may take to happen, to be noticed, and to be over, in seconds.
_CRASH_TIMEOUT = 30.0
_SETTLE_TIMEOUT = 30.0
# Those who must have refused something.
_REFUSERS = {"order", "inventory", "coupon", "balance"}

Pending = list[tuple[order_pb2.SubmitOrderRequest, "Future[order_pb2.Order]"]]


class Demo:
    """One run of the demo."""

    def __init__(
        self, world: World, show: Show, buyers: ThreadPoolExecutor, buyer_count: int
    ) -> None:
        self._world = world
        self._show = show
        self._buyers = buyers
        self._buyer_count = buyer_count
        self._answers = Answers()

    def run(self, order_count: int) -> bool:
        """Play all scenes; return whether everything adds up. Raises DemoFailed or ChildFailed."""
        self.open()
        self.sell(order_count)
        self.lose_a_participant()
        self.lose_the_coordinator()
        return self.add_up()

    # ------------------------------------------------------------ the scenes

    def open(self) -> None:
        """Start everything and fill the shop."""
        self._show.scene(
            "The shop opens",
            "One coordinator and six participants: seven processes, seven databases.",
        )
        world = self._world
        world.open()
        everyone = orders.buyers_of(self._buyer_count)
        seed.stock_goods(world.channels["inventory"])
        for buyer in everyone:
            seed.open_account(world.channels["balance"], buyer)
            seed.issue_coupons(world.channels["coupon"], buyer)
        world.order.BlockBuyer(
            order_pb2.BlockBuyerRequest(user_id=orders.BLOCKED_BUYER, reason="returned bricks")
        )
        coupons = sum(len(buyer.coupon_ids) for buyer in everyone)
        self._show.good(
            f"coordinator at {world.server}, {len(seed.GOODS)} goods,"
            f" {len(everyone)} buyers, {coupons} coupons"
        )

    def sell(self, count: int) -> None:
        """Let all buyers order at once."""
        self._show.scene(
            f"{self._buyer_count} buyers place {count} orders at once",
            "Each order is one transaction: order, stock, coupon and balance, or none.",
        )
        started_at = time.monotonic()
        with self._show.progress() as bar:
            task = bar.add_task("orders", total=count)
            pending = self._order_all(orders.planned(count, self._buyer_count))
            for _ in as_completed(future for _, future in pending):
                bar.advance(task)
        self._collect(pending)
        seconds = time.monotonic() - started_at
        answers = self._answers
        self._show.good(
            f"{len(answers.confirmed)} confirmed, {len(answers.refused)} refused"
            f" in {seconds:.1f} s; what refused orders had reserved went back"
        )
        self._show.refusals(answers.refusals())
        missing = _REFUSERS - {participant for participant, _, _ in answers.refusals()}
        if missing:
            raise DemoFailed(f"nothing was refused by {', '.join(sorted(missing))}")

    def lose_a_participant(self) -> None:
        """Kill the balance service when it has tried and is asked to confirm."""
        self._show.scene(
            "The balance service is killed between Try and Confirm",
            "Money is frozen and the decision made: it must be spent, whatever happens.",
        )
        world, balance = self._world, self._world.participants["balance"]
        balance.stop()
        balance.start(world.environment() | {PARTICIPANT_FAILPOINT: "balance.freeze:confirm"})
        pending = self._order_all(self._some("unlucky"))
        balance.wait_killed(_CRASH_TIMEOUT)
        self._show.killed(f"balance is dead (kill -9), with {len(pending)} orders under way")
        stuck = until(
            "the coordinator says what is stuck", lambda: self._stuck("balance"), _CRASH_TIMEOUT, 0
        )
        self._run("tx", "stuck")
        self._run("tx", "explain", stuck)
        self._sell_without_balance()
        started_at = time.monotonic()
        balance.start(world.environment())
        self._collect(pending)
        self._show.good(
            f"balance is back: {len(pending)} orders are confirmed"
            f" {time.monotonic() - started_at:.1f} s later"
        )

    def lose_the_coordinator(self) -> None:
        """Kill the coordinator when a decision is durable and nobody knows it."""
        self._show.scene(
            "The coordinator is killed between its decision and the first Confirm",
            "The decision is in its journal only; who comes back must carry it out.",
        )
        world, coordinator = self._world, self._world.coordinator
        coordinator.stop()
        coordinator.start({COORDINATOR_FAILPOINT: "after-decision"})
        pending = self._order_all(self._some("headless"))
        coordinator.wait_killed(_CRASH_TIMEOUT)
        stocks = world.inventory.GetStock(inventory_pb2.GetStockRequest(), timeout=10).stocks
        held = sum(stock.undecided for stock in stocks)
        self._show.killed(f"the coordinator is dead (kill -9); {held} pieces are held by Tries")
        started_at = time.monotonic()
        coordinator.start()
        self._collect(pending)
        self._show.good(
            f"a new one resumed from the journal: {len(pending)} orders are confirmed"
            f" {time.monotonic() - started_at:.1f} s later"
        )
        self._run("tx", "show", self._first_decided(pending))

    def add_up(self) -> bool:
        """Wait until nothing is left to do, and count."""
        self._show.scene(
            "Everything adds up",
            "Counted in the participants' databases and against what buyers were told.",
        )
        until(
            "nothing is left to do",
            lambda: not self._world.transactions("list", "--unfinished"),
            _SETTLE_TIMEOUT,
            0,
        )
        sections = proof.sections(self._world, self._answers)
        self._show.proof(sections)
        claims = [claim for section in sections for claim in section.claims]
        broken = sum(not claim.holds for claim in claims)
        if broken:
            self._show.killed(f"{broken} of {len(claims)} claims do not hold")
        else:
            self._show.good(f"all {len(claims)} hold: nothing lost, nothing twice, nothing half")
        return not broken

    # ------------------------------------------------------------ their steps

    def _run(self, *words: str) -> None:
        """Run a command of trypact's before everybody's eyes."""
        output = self._world.command(*words, width=self._show.terminal_width)
        self._show.terminal(" ".join(("trypact", *words)), output)

    def _sell_without_balance(self) -> None:
        request = orders.simple("unlucky-but-not-me", buyer=2)
        request.money_paid_cents = 0
        started_at = time.monotonic()
        order = orders.place(self._world, request)
        self._answers.add(request, order)
        milliseconds = (time.monotonic() - started_at) * 1000
        self._show.good(
            f"an order that needs no balance is confirmed in {milliseconds:.0f} ms meanwhile"
        )

    def _some(self, name: str) -> list[order_pb2.SubmitOrderRequest]:
        buyers = [1, 2, 3, 5]
        return [orders.simple(f"{name}-{n}", buyers[n % len(buyers)]) for n in range(UNDER_WAY)]

    def _order_all(self, requests: list[order_pb2.SubmitOrderRequest]) -> Pending:
        return [
            (request, self._buyers.submit(orders.place, self._world, request))
            for request in requests
        ]

    def _collect(self, pending: Pending) -> None:
        for request, future in pending:
            self._answers.add(request, future.result())

    def _first_decided(self, pending: Pending) -> str:
        """Return the transaction that was decided first: by the coordinator that died of it."""
        xids = [future.result().xid for _, future in pending]
        shown = self._world.transactions("show", *xids)
        return str(min(shown, key=lambda row: row["decided_at"])["xid"])

    def _stuck(self, participant: str) -> str:
        """Return a transaction that waits for the participant and needs a human."""
        for row in self._world.transactions("list", "--stuck", "--participant", participant):
            if row["stuck_reason"]:
                return str(row["xid"])
        return ""
