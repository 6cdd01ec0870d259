"""`explain` in words: each test drives the real core to a state and reads what is said of it."""

import textwrap

import pytest
from trypact_coordinator.core.events import (
    Answer,
    Answered,
    CommitAsked,
    DecideAct,
    Ok,
    PauseAct,
    Pending,
    Refused,
    Retry,
    SkipAct,
    TimePassed,
    Unknown,
)
from trypact_coordinator.core.policy import Policy
from trypact_coordinator.core.step import begin, freeze, step, tombstone
from trypact_coordinator.core.transaction import (
    BranchSpec,
    Decision,
    Kind,
    On,
    Operation,
    Spec,
    Transaction,
)
from trypact_coordinator.server.explain import explain

SECOND = 1_000_000
BEGAN = 1_700_000_000 * SECOND
POLICY = Policy(attempts_until_stuck=3, backoff_base_ms=20_000, backoff_cap_ms=20_000)

STOCK = BranchSpec(id="stock", kind=Kind.TCC, action="inventory.reserve")
MONEY = BranchSpec(id="money", kind=Kind.TCC, action="balance.freeze")
POINTS = BranchSpec(id="points", kind=Kind.MESSAGE, action="member.add_points")
SMS = BranchSpec(id="sms", kind=Kind.NOTICE, action="notification.send", on=On.ANY)


class Story:
    """A transaction driven by the core, with the time of the last thing that happened to it."""

    def __init__(self, *branches: BranchSpec, interactive: bool = False) -> None:
        spec = Spec(
            xid="order-17",
            name="order.submit",
            timeout_ms=60_000,
            fingerprint=b"",
            interactive=interactive,
        )
        self.now = BEGAN
        self.tx: Transaction = begin(spec, branches, self.now, 1, POLICY).transaction

    def happens(self, event: object, after_s: float = 0) -> "Story":
        self.now += int(after_s * SECOND)
        self.tx = step(self.tx, event, self.now, POLICY).transaction  # type: ignore[arg-type]
        return self

    def answers(
        self, branch_id: str, operation: Operation, answer: Answer, after_s: float = 0
    ) -> "Story":
        branch = self.tx.branch(branch_id)
        assert branch is not None
        assert branch.in_flight, f"{branch_id} is not being called"
        return self.happens(Answered(branch_id, operation, branch.attempt, answer), after_s)

    def confirmed_tries(self) -> "Story":
        for branch in self.tx.branches:
            if not branch.spec.is_delivery:
                self.answers(branch.spec.id, Operation.TRY, Ok(), 0.5)
        return self

    def fails_until_stuck(self, branch_id: str, operation: Operation) -> "Story":
        for _ in range(POLICY.attempts_until_stuck):
            self.answers(branch_id, operation, Unknown("UNAVAILABLE: refused"), 1)
            branch = self.tx.branch(branch_id)
            assert branch is not None
            if not branch.stuck:
                self.now = branch.due_at
                self.happens(TimePassed())
        return self

    def told_after(self, seconds: float) -> str:
        return explain(self.tx, self.now + int(seconds * SECOND))


def said(text: str) -> str:
    """Fold a triple-quoted text as `explain` does: a line for each paragraph."""
    paragraphs = textwrap.dedent(text).strip().split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def test_tries_that_are_under_way() -> None:
    story = Story(STOCK, MONEY).answers("stock", Operation.TRY, Ok(), 1)

    assert story.told_after(1) == said("""
        Transaction order-17 (order.submit) began 2 seconds ago and is undecided. 1 of 2 Tries
        answered OK so far.

        Try of branch money (balance.freeze) was sent: the answer of balance is due in 3 seconds.

        Once every Try is OK it is confirmed; one refusal cancels it. If nothing decides before,
        its deadline cancels it in 58 seconds.

        What to do: nothing, it goes on by itself. `trypact tx cancel order-17 --reason ...`
        cancels it safely at any time; confirming it by hand is possible only once every Try is OK.
    """)


def test_a_try_that_fails_and_backs_off() -> None:
    story = Story(STOCK).answers("stock", Operation.TRY, Unknown("UNAVAILABLE: refused"), 1)
    stock = story.tx.branches[0]
    story.now = stock.due_at - 4 * SECOND

    text = story.told_after(0)

    assert "inventory holds it up: Try of branch stock (inventory.reserve) failed " in text
    assert " for the first time, and 1 call got no OK; the last said" in text
    assert "“UNAVAILABLE: refused”. It is asked again in 4 seconds." in text


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        (
            "UNAVAILABLE: 127.0.0.1:7101: Connection refused",
            "start inventory, or see why the coordinator cannot reach it",
        ),
        (
            "UNAVAILABLE: inventory.reserve try: the participant's database: gone",
            "see that the database of inventory answers; it goes on by itself then.",
        ),
        (
            "INTERNAL: inventory.reserve try: the handler raised KeyError; its log says more",
            "look for KeyError in the log of inventory, and mend its handler; it goes on by itself",
        ),
        ("DEADLINE_EXCEEDED: too late", "see in the log of inventory why it gives no answer; it"),
    ],
)
@pytest.mark.parametrize("operation", [Operation.TRY, Operation.CONFIRM])
def test_what_fails_again_and_again_is_no_nothing_to_do(
    reason: str, advice: str, operation: Operation
) -> None:
    story = Story(STOCK)
    if operation is Operation.CONFIRM:
        story.confirmed_tries()
    story.answers("stock", operation, Unknown(reason), 1)
    assert "What to do: nothing, it goes on by itself." in story.told_after(1)

    story.now = story.tx.branches[0].due_at
    story.happens(TimePassed()).answers("stock", operation, Unknown(reason), 1)
    assert f"What to do: {advice}" in story.told_after(1)


def test_whoever_asks_to_wait_needs_no_mending() -> None:
    story = Story(STOCK)
    for _ in range(2):
        story.answers("stock", Operation.TRY, Retry(2_000, "the office is closed"), 1)
        story.now = story.tx.branches[0].due_at
        story.happens(TimePassed())

    assert "What to do: nothing, it goes on by itself." in story.told_after(1)


def test_an_interactive_transaction_waits_for_its_initiator() -> None:
    story = Story(STOCK, interactive=True).confirmed_tries()

    assert story.told_after(3) == said("""
        Transaction order-17 (order.submit) began 3 seconds ago and is undecided. Every Try
        answered OK; it waits for its initiator to commit or to roll back.

        If nothing decides before, its deadline cancels it in 56 seconds.

        What to do: nothing, unless its initiator is gone: then
        `trypact tx confirm order-17 --reason ...` confirms it, or
        `trypact tx cancel order-17 --reason ...` cancels it safely at any time.
    """)


def test_confirms_that_are_under_way() -> None:
    story = Story(STOCK, MONEY).confirmed_tries().answers("money", Operation.CONFIRM, Ok(), 1)

    assert story.told_after(1) == said("""
        Transaction order-17 (order.submit) was decided Confirm 2 seconds ago, and that never
        changes. 1 of 2 branches are confirmed.

        Confirm of branch stock (inventory.reserve) was sent: the answer of inventory is due in 3
        seconds.

        It is confirmed as soon as every tcc and saga branch is settled.

        What to do: nothing, it goes on by itself. `trypact tx retry order-17 --reason ...` asks
        at once instead of waiting.
    """)


def test_a_confirm_that_is_stuck_after_many_failures() -> None:
    story = Story(STOCK).confirmed_tries().fails_until_stuck("stock", Operation.CONFIRM)

    text = story.told_after(2)

    assert "Confirm of branch stock (inventory.reserve) failed " in text
    assert "and 3 calls got no OK; the last said" in text
    assert "A human is needed. It is asked again in" in text
    assert text.endswith(
        said("""
        What to do: mend inventory, then `trypact tx retry order-17 --reason ...` asks at once.
        Only if its effect was put right by hand:
        `trypact tx skip-branch order-17 stock --reason ...`. The decision itself cannot be changed.
    """)
    )


def test_a_refused_confirm_says_that_it_may_not_be_refused() -> None:
    story = Story(STOCK).confirmed_tries()
    story.answers("stock", Operation.CONFIRM, Refused("no such reservation"), 1)

    text = story.told_after(5)

    assert (
        said("""
        Confirm of branch stock (inventory.reserve) was refused by inventory 5 seconds ago:
        “no such reservation”. A decided operation may not be refused, so a human is needed.
    """)
        in text
    )


def test_a_cancel_says_who_refused_and_why() -> None:
    story = Story(STOCK, MONEY).answers("stock", Operation.TRY, Ok(), 1)
    story.answers("money", Operation.TRY, Refused("balance_low: 3 of 5"), 1)

    assert story.told_after(1).startswith(
        said("""
        Transaction order-17 (order.submit) was decided Cancel 1 second ago, because branch money
        (balance.freeze) refused: “balance_low: 3 of 5”. That never changes. 1 of 2 branches are
        released.
    """)
    )


def test_a_cancel_by_an_operator_names_them_and_their_reason() -> None:
    story = Story(STOCK).answers("stock", Operation.TRY, Unknown("X: y"), 1)
    story.happens(DecideAct(actor="ann", reason="buyer withdrew", decision=Decision.CANCEL))

    text = story.told_after(1)

    assert "because the operator ann cancelled it: “buyer withdrew”. That never" in text


def test_a_cancel_that_waits_for_an_unknown_try() -> None:
    story = Story(STOCK, MONEY).answers("stock", Operation.TRY, Unknown("X: y"), 1)
    story.answers("money", Operation.TRY, Refused("no"), 0)

    assert said("""
        Cancel of branch stock (inventory.reserve) waits until its Try, whose outcome is unknown,
        can no longer be running. It is asked again in 4 seconds.
    """) in story.told_after(0)


def test_a_paused_transaction() -> None:
    story = Story(STOCK, MONEY).answers("stock", Operation.TRY, Ok(), 1)
    story.answers("money", Operation.TRY, Unknown("X: y"), 1)
    story.happens(PauseAct(actor="ann", reason="look first"))

    text = story.told_after(1)

    assert "It is paused by an operator: no call leaves until it is resumed." in text
    assert "The deadline still decides." in text
    assert "It is not asked again while that lasts." in text
    assert text.endswith(
        "What to do: `trypact tx resume order-17 --reason ...` lets calls leave again."
    )


def test_a_frozen_transaction() -> None:
    story = Story(STOCK)
    story.tx = freeze(story.tx, "two decisions", story.now, POLICY).transaction

    text = story.told_after(1)

    assert "It is frozen. An invariant did not hold: “two decisions”." in text
    assert "No command changes a frozen transaction." in text
    assert "deadline" not in text


def test_a_pending_confirm() -> None:
    story = Story(STOCK).confirmed_tries()
    story.answers("stock", Operation.CONFIRM, Pending(), 1)

    assert said("""
        Confirm of branch stock (inventory.reserve) was accepted by inventory 2 seconds ago,
        which has not reported its outcome yet. It is asked again in 3 seconds.
    """) in story.told_after(2)


def test_a_finished_transaction_with_a_pending_delivery() -> None:
    story = Story(STOCK, POINTS).confirmed_tries()
    story.answers("stock", Operation.CONFIRM, Ok(), 1)
    story.answers("points", Operation.DELIVER, Unknown("UNAVAILABLE: refused"), 1)

    text = story.told_after(1)

    assert "ended as confirmed 2 seconds ago" in text
    assert "1 second after it began: its outcome is final, but 1 delivery is still owed." in text
    assert "everything" not in text
    assert "member holds that delivery up: Deliver of branch points" in text
    assert "The outcome is final; only deliveries remain" in text


def test_a_finished_transaction() -> None:
    story = Story(STOCK).confirmed_tries().answers("stock", Operation.CONFIRM, Ok(), 1)

    assert story.told_after(90) == said("""
        Transaction order-17 (order.submit) ended as confirmed 1 minute ago, 1 second after it
        began: everything it set out to do was done.

        Nothing is left to do.
    """)


def test_a_notice_that_was_given_up() -> None:
    story = Story(STOCK, SMS).confirmed_tries()
    story.answers("stock", Operation.CONFIRM, Ok(), 1)
    story.answers("sms", Operation.DELIVER, Refused("no such number"), 1)

    assert "its outcome is final, but 1 delivery was given up." in story.told_after(1)
    assert "everything" not in story.told_after(1)
    assert said("""
        The notice sms (notification.send) was given up after 1 call: “no such number”.
    """) in story.told_after(1)


def test_a_branch_that_was_settled_by_hand() -> None:
    story = Story(STOCK).confirmed_tries()
    story.answers("stock", Operation.CONFIRM, Refused("gone"), 1)
    story.happens(SkipAct(actor="ann", reason="booked by hand", branch_id="stock"))

    text = story.told_after(1)

    assert "its outcome is final, but 1 branch was settled by hand." in text
    assert "Settled by hand, without the participant's word: stock." in text
    assert text.endswith("Nothing is left to do.")


def test_a_journal_that_takes_nothing_is_what_holds_everything_up() -> None:
    story = Story(STOCK, MONEY).answers("stock", Operation.TRY, Ok(), 1)

    assert explain(story.tx, story.now + SECOND, (9.0, "another program has locked it")) == said("""
        Transaction order-17 (order.submit) began 2 seconds ago and is undecided. 1 of 2 Tries
        answered OK so far.

        The journal has taken no record for 9 seconds: another program has locked it. Until it does
        nothing is decided, and what has been answered meanwhile is not shown here. What to do: see
        to the journal; then everything goes on by itself.
    """)


def test_a_journal_that_takes_nothing_holds_up_nothing_that_is_finished() -> None:
    tx = tombstone("order-18", BEGAN, 1, POLICY).transaction
    assert explain(tx, BEGAN, (9.0, "")) == explain(tx, BEGAN)


def test_an_xid_that_was_settled_before_it_was_begun() -> None:
    tx = tombstone("order-18", BEGAN, 1, POLICY).transaction

    assert explain(tx, BEGAN + 3 * SECOND) == said("""
        Transaction order-18 was settled as cancelled 3 seconds ago, before anybody began it, so
        that a late attempt to begin it is refused.

        Nothing is left to do.
    """)


@pytest.mark.parametrize("waiting", [6, 7])
def test_many_branches_are_counted_instead_of_described(waiting: int) -> None:
    branches = [
        BranchSpec(id=f"b{i}", kind=Kind.TCC, action="inventory.reserve") for i in range(waiting)
    ]
    more = waiting - 5
    noun = "branch waits" if more == 1 else "branches wait"

    assert f"{more} more {noun} in the same way." in Story(*branches).told_after(0)


def test_a_commit_that_was_asked_is_told_as_a_decision() -> None:
    story = Story(STOCK, interactive=True).confirmed_tries().happens(CommitAsked())

    assert story.tx.decision is Decision.CONFIRM
    assert "was decided Confirm" in story.told_after(1)


# ---------------------------------------------------------------- pivots and budgets

RENT = BranchSpec(id="car", kind=Kind.SAGA, action="cars.rent")
CHARGE = BranchSpec(id="charge", kind=Kind.SAGA, action="card.charge", after=("car",), pivot=True)
PRINT = BranchSpec(id="print", kind=Kind.SAGA, action="tickets.print", after=("charge",))


def test_a_pivot_that_was_sent() -> None:
    story = Story(RENT, CHARGE, PRINT).answers("car", Operation.TRY, Ok(), 1)

    assert story.told_after(1) == said("""
        Transaction order-17 (order.submit) began 2 seconds ago and is undecided. 1 of 2 Tries
        answered OK so far.

        Try of branch charge (card.charge) was sent: the answer of card is due in 4 seconds.

        Its pivot charge was sent, so nothing but the answer to that decides: OK confirms it, a
        refusal cancels it. Neither the deadline nor an operator does.

        What to do: see that card answers; `trypact tx retry order-17 --reason ...` asks at once
        instead of waiting.
    """)


def test_a_pivot_that_nobody_answers() -> None:
    story = Story(RENT, CHARGE).answers("car", Operation.TRY, Ok())
    story.fails_until_stuck("charge", Operation.TRY)
    story.happens(PauseAct(actor="ann", reason="stocktaking"))

    text = story.told_after(3600)

    assert "card holds it up: Try of branch charge (card.charge) failed" in text
    assert "A human is needed." in text
    assert "paused by an operator: no call leaves until it is resumed." in text
    assert "still decides" not in text


def test_a_step_after_the_pivot_that_is_refused() -> None:
    story = Story(RENT, CHARGE, PRINT).answers("car", Operation.TRY, Ok())
    story.answers("charge", Operation.TRY, Ok())
    story.answers("print", Operation.TRY, Refused("out of paper"))

    text = story.told_after(5)

    assert "was decided Confirm 5 seconds ago" in text
    assert "2 of 3 branches are confirmed." in text
    assert (
        said("""
        Try of branch print (tickets.print) was refused by tickets 5 seconds ago: “out of paper”.
        A decided operation may not be refused, so a human is needed.
    """)
        in text
    )
    assert "`trypact tx skip-branch order-17 print --reason ...`" in text


def test_a_budget_says_when_it_ends() -> None:
    spec = BranchSpec("car", Kind.SAGA, "cars.rent", attempts_max=3, retry_for_ms=30_000)
    story = Story(spec).answers("car", Operation.TRY, Unknown("UNAVAILABLE: refused"))

    assert said("""
        Without an OK it is given up after 3 failing calls or in 30 seconds, and the transaction
        is cancelled.
    """) in story.told_after(0)

    while not story.tx.decided:
        branch = story.tx.branches[0]
        story.now = branch.due_at
        story.happens(TimePassed())
        story.answers("car", Operation.TRY, Unknown("UNAVAILABLE: refused"))
    assert "because “car was given up after " in story.told_after(1)
