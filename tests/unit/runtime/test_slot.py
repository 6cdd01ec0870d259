"""What waits for one transaction is told, whatever another that waits does with what it is told."""

from trypact_coordinator.core.errors import CoordinatorError, ShuttingDown
from trypact_coordinator.core.transaction import Spec, Transaction
from trypact_coordinator.runtime.slot import Slot

TX = Transaction(Spec("x", "test", 1_000, b"f"), (), 1, 2)


def fails(result: Transaction | CoordinatorError) -> None:
    raise ValueError("a bug")


def test_one_that_fails_keeps_no_other_from_being_told() -> None:
    slot, told = Slot("x"), []
    for tell in (fails, told.append):
        slot.watch(lambda tx: True, tell)
    slot.tell(TX)

    assert told == [TX]
    assert slot.watchers == []


def test_one_that_fails_at_the_end_keeps_no_other_from_being_told() -> None:
    slot, told, error = Slot("x"), [], ShuttingDown()
    for tell in (fails, told.append):
        slot.watch(lambda tx: False, tell)
    slot.fail(error)

    assert told == [error]


def test_who_waits_for_something_else_goes_on_waiting_and_can_stop() -> None:
    slot, told = Slot("x"), []
    slot.watch(lambda tx: False, told.append)
    tell = slot.watchers[0][1]
    slot.tell(TX)
    assert len(slot.watchers) == 1
    slot.unwatch(tell)

    assert (told, slot.watchers) == ([], [])
