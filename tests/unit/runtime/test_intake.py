"""The intake, against a coordinator that is a few lines of arithmetic in virtual time."""

import heapq
from collections import deque
from dataclasses import dataclass, field

import pytest
from trypact_coordinator.runtime.intake import (
    CALM_AFTER,
    CROWDED_MAX,
    HINT_MS,
    HINT_MS_MAX,
    UNREAD_MAX,
    UNREAD_MAX_CROWDED,
    WINDOW_FIRST,
    WINDOW_MIN,
    Intake,
)

# A transaction is three records, and between two of them its participants are asked.
RECORDS = 3
BATCH_MAX = 512


@dataclass
class Coordinator:
    """Writes one batch after the other; each takes the journal's own time and some for each record.

    Args:
        arrivals: a second.
        commit: seconds the journal takes for any batch.
        record: seconds of ours for each record.
        late: seconds after which participants answer.
    """

    arrivals: float
    commit: float = 0.001
    record: float = 0.00007
    late: float = 0.003
    intake: Intake = field(default_factory=lambda: Intake(2 * BATCH_MAX))
    now: float = 0.0
    came: float = 0.0
    refused: int = 0
    # (when it came, when it waits here, which record it is at) of each that waits for a batch.
    waiting: deque[tuple[float, float, int]] = field(default_factory=deque)
    # How many are in the batch that is being written.
    writing: int = 0
    # The same of those whose participants are asked, by when they answer.
    elsewhere: list[tuple[float, float, int]] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)

    def run(self, seconds: float) -> "Coordinator":
        """Forget what was counted, and go on for so long."""
        self.latencies, self.refused, until = [], 0, self.now + seconds
        while self.now < until:
            self.arrive()
            if self.waiting:
                self.write()
            else:
                self.now += 0.0005
        return self

    def arrive(self) -> None:
        """Take in what has come until now, and what participants have answered."""
        while self.came <= self.now:
            if self.intake.shut(self.now, len(self.waiting) + self.writing):
                self.intake.refuse(self.now, f"x{self.came}")
                self.refused += 1
            else:
                self.intake.let_in(self.now)
                self.waiting.append((self.came, self.now, 1))
            self.came += 1 / self.arrivals
        while self.elsewhere and self.elsewhere[0][0] <= self.now:
            answered_at, came, step = heapq.heappop(self.elsewhere)
            self.waiting.append((came, answered_at, step))

    def write(self) -> None:
        batch = [self.waiting.popleft() for _ in range(min(len(self.waiting), BATCH_MAX))]
        self.writing = len(batch)
        since, began = batch[0][1], self.now
        ends_at = self.now + self.commit + len(batch) * self.record
        while self.now < ends_at:
            self.now = min(self.now + 0.0005, ends_at)
            self.arrive()
        self.writing = 0
        self.intake.written(self.now, self.now - since, self.now - began)
        for came, _, step in batch:
            if step == RECORDS:
                self.latencies.append(self.now - came)
            else:
                heapq.heappush(self.elsewhere, (self.now + self.late, came, step + 1))

    def p99(self) -> float:
        return sorted(self.latencies)[len(self.latencies) * 99 // 100]


def capacity(commit: float = 0.001, clients: int = 256) -> float:
    """Transactions a second of so many, each of which has a record in each batch."""
    return clients / (commit + clients * 0.00007) / RECORDS


def test_what_can_be_done_is_never_refused() -> None:
    coordinator = Coordinator(arrivals=0.9 * capacity()).run(20)
    assert coordinator.refused == 0
    assert not coordinator.intake.crowded


@pytest.mark.parametrize("times", [1.5, 2.0, 5.0])
@pytest.mark.parametrize("commit", [0.001, 0.02])
def test_past_saturation_the_work_goes_on_and_stays_quick(times: float, commit: float) -> None:
    most = capacity(commit)
    calm = Coordinator(arrivals=0.1 * most, commit=commit).run(5).p99()
    coordinator = Coordinator(arrivals=times * most, commit=commit)
    # Until it knows how much at once is best.
    coordinator.run(10)
    coordinator.run(5)
    assert len(coordinator.latencies) / 5 > 0.75 * most
    assert coordinator.p99() < 4 * calm
    assert coordinator.refused > 0


def test_a_slow_journal_soon_has_as_much_on_its_way_as_it_needs() -> None:
    most = capacity(0.02)
    coordinator = Coordinator(arrivals=2 * most, commit=0.02).run(4)
    assert len(coordinator.run(1).latencies) > 0.75 * most
    # It stays what it was when the door is tried out.
    coordinator.run(CROWDED_MAX)
    assert len(coordinator.run(1).latencies) > 0.75 * most


@pytest.mark.parametrize("late", [0.05, 1.0])
def test_participants_that_are_slow_do_not_keep_anybody_out(late: float) -> None:
    quick = Coordinator(arrivals=2 * capacity()).run(10)
    slow = Coordinator(arrivals=2 * capacity(), late=late).run(10)
    assert len(slow.run(5).latencies) > 0.9 * len(quick.run(5).latencies)
    asked = (RECORDS - 1) * late
    assert slow.p99() - asked < 1.5 * quick.p99()


def test_a_load_that_falls_is_let_in_whole_again() -> None:
    coordinator = Coordinator(arrivals=3 * capacity())
    coordinator.run(3)
    assert coordinator.intake.crowded
    coordinator.arrivals = 0.5 * capacity()
    coordinator.run(CALM_AFTER + 2)
    coordinator.run(5)
    assert coordinator.refused == 0
    assert not coordinator.intake.crowded


def test_a_burst_that_two_batches_hold_is_let_in() -> None:
    intake = Intake(2 * BATCH_MAX)
    assert not intake.shut(0.0, 2 * BATCH_MAX)
    assert intake.shut(0.0, 2 * BATCH_MAX + 1)


def test_requests_that_lie_unread_shut_the_door_too() -> None:
    intake = Intake(2 * BATCH_MAX)
    intake.unread(1.0, UNREAD_MAX / 2)
    assert not intake.shut(1.0, 5)
    assert not intake.crowded
    intake.unread(1.1, UNREAD_MAX)
    assert width(intake, 1.1) == WINDOW_FIRST


def crowded() -> Intake:
    """Return one that has just become so, at 0.0, by too many records on their way."""
    intake = Intake(2 * BATCH_MAX)
    assert intake.shut(0.0, 2 * BATCH_MAX + 1)
    return intake


def width(intake: Intake, now: float) -> int:
    """Return how many records have to be on their way for a crowded door to be shut."""
    records = 0
    while not intake.shut(now, records):
        assert intake.crowded
        records += 1
    intake.refuse(now, "refused")
    return records


def test_through_a_crowded_door_one_comes_while_few_records_are_on_their_way() -> None:
    intake = crowded()
    assert not intake.shut(0.0, WINDOW_FIRST - 1)
    assert intake.shut(0.0, WINDOW_FIRST)
    assert not intake.shut(0.0, 0)


def window(delay: float, took: float, batches: int = 400) -> int:
    """Return how wide the window is after so many batches that fared so."""
    intake = crowded()
    for batch in range(batches):
        width(intake, batch / 1000)
        intake.written(batch / 1000, delay, took)
    return width(intake, batches / 1000)


def test_a_delay_is_long_or_short_beside_what_the_journal_itself_takes() -> None:
    assert window(delay=0.02, took=0.001) == WINDOW_MIN
    assert WINDOW_FIRST < window(delay=0.015, took=0.004) < 2 * BATCH_MAX


def test_the_window_widens_soon_where_it_is_far_from_what_it_should_be() -> None:
    assert window(delay=0.02, took=0.02, batches=40) > 2 * WINDOW_FIRST
    assert window(delay=0.015, took=0.004, batches=40) < 1.25 * WINDOW_FIRST


def test_the_window_has_a_bound() -> None:
    assert window(delay=0.0, took=0.001) == 2 * BATCH_MAX


def test_a_window_that_nobody_finds_full_does_not_widen() -> None:
    intake = crowded()
    for _ in range(400):
        intake.written(0.0, 0.001, 0.001)
    assert width(intake, 0.0) == WINDOW_FIRST


def test_what_was_found_full_in_an_earlier_batch_does_not_widen_it() -> None:
    intake = crowded()
    width(intake, 0.0)
    intake.written(0.0, 0.02, 0.02)
    wider = width(intake, 0.5)
    for _ in range(400):
        intake.written(0.5, 0.02, 0.02)
    # Those who found it full at 0.5 widened it once.
    assert wider <= width(intake, 0.9) <= 1.1 * wider + 1


def test_what_lies_unread_narrows_the_window_however_short_the_delay() -> None:
    intake = Intake(2 * BATCH_MAX)
    intake.unread(0.0, UNREAD_MAX)
    for batch in range(400):
        at = batch / 1000
        intake.unread(at, UNREAD_MAX_CROWDED)
        intake.refuse(at, "refused")
        intake.written(at, 0.001, 0.001)
    assert width(intake, 0.4) == WINDOW_MIN


@pytest.mark.parametrize("records_max", [10, 2 * BATCH_MAX])
def test_while_the_journal_stands_no_more_come_in_than_it_may_be_behind(records_max: int) -> None:
    intake = Intake(records_max)
    records = 0
    for tenth in range(600):
        while not intake.shut(tenth / 10, records):
            records += 1
        intake.refuse(tenth / 10, "refused")
    assert records == records_max + 1


@pytest.mark.parametrize("records_max", [10, 2 * BATCH_MAX])
def test_a_crowded_door_is_never_wider_than_a_calm_one(records_max: int) -> None:
    intake = Intake(records_max)
    intake.unread(0.0, UNREAD_MAX)
    for batch in range(400):
        assert width(intake, batch / 1000) <= records_max
        intake.written(batch / 1000, 0.001, 0.001)


def test_transactions_that_are_dear_do_not_pile_up() -> None:
    coordinator = Coordinator(arrivals=400, record=0.0025)
    # Until what came before it was crowded is done.
    coordinator.run(25)
    coordinator.run(5)
    assert len(coordinator.waiting) < 2 * WINDOW_FIRST
    assert coordinator.p99() < 1


def test_it_is_tried_out_now_and_then_whether_it_is_still_crowded() -> None:
    intake = crowded()
    for tenth in range(int(CROWDED_MAX * 10)):
        width(intake, tenth / 10)
    assert intake.shut(CROWDED_MAX - 0.1, WINDOW_FIRST)
    assert not intake.shut(CROWDED_MAX, WINDOW_FIRST)
    assert not intake.crowded


def test_a_hint_grows_with_how_many_are_refused_and_is_bounded() -> None:
    intake = Intake(10)
    first = intake.refuse(0.0, "x")
    assert HINT_MS // 2 <= first < 2 * HINT_MS
    for _ in range(9):
        intake.refuse(0.5, "x")
    for _ in range(5):
        intake.let_in(0.5)
    assert intake.refuse(1.0, "x") == 3 * first
    for _ in range(1_000_000):
        intake.refuse(1.5, "x")
    assert intake.refuse(2.5, "x") < 2 * HINT_MS_MAX


def test_those_who_are_refused_together_do_not_come_back_together() -> None:
    intake = Intake(10)
    hints = {intake.refuse(0.0, f"x{number}") for number in range(100)}
    assert len(hints) > 10
    assert intake.refuse(0.0, "x7") == intake.refuse(0.0, "x7")
