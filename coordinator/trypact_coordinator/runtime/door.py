"""The door: which new transactions are turned away because more comes than can be done.

Three things are looked at, each for what it alone can tell. The intake knows whether the
coordinator itself is at its limit; the lane watch knows which participants are, and turns away only
what names them; the number of transactions in memory is the last resort. Whoever asks for what is
known already is never turned away, nor is anything that follows a beginning: the door has no say
in it.
"""

from collections.abc import Callable, Sized

from trypact_coordinator.core.errors import Overloaded
from trypact_coordinator.core.transaction import BranchSpec
from trypact_coordinator.ports import Journal
from trypact_coordinator.runtime.dispatcher import LaneView
from trypact_coordinator.runtime.intake import Intake
from trypact_coordinator.runtime.lane_watch import LaneWatch
from trypact_coordinator.runtime.meters import Meters
from trypact_coordinator.runtime.recall import Recall
from trypact_coordinator.runtime.settings import RuntimeSettings

_CROWDED = "More comes than this coordinator can do. Nothing was begun; ask again a little later."
_FULL = "Too many transactions are in flight. Nothing was begun; ask again a little later."


class DoorShut(Overloaded):
    """No transaction may begin now; `Door.turn_away` has the words and the hint for a stranger."""


class Door:
    """Turns new transactions away, with a hint when to ask again.

    Args:
        journal: knows what was begun before.
        settings: the limits.
        meters: know whom participants have answered.
        elapsed: seconds of a clock that never runs backwards, from any origin.
        lane: how a participant's lane stands.
    """

    def __init__(
        self,
        journal: Journal,
        settings: RuntimeSettings,
        meters: Meters,
        elapsed: Callable[[], float],
        lane: Callable[[str], LaneView],
    ) -> None:
        self._settings = settings
        self._meters = meters
        self._time = elapsed
        self._intake = Intake(2 * settings.records_in_batch_max)
        self._lanes = LaneWatch(
            meters.attempts.keys,
            lane,
            self._answered,
            settings.lane_calls_max - settings.lane_reserved,
            settings.lane_queue_max,
        )
        self.recall = Recall(journal)
        # Records on their way to the journal, and transactions in memory: known once those who
        # keep them are there.
        self.records: Sized = ()
        self.transactions: Sized = ()

    def written(self, delay: float, took: float) -> None:
        """Note that a batch is in the journal; see GroupCommit."""
        self._intake.written(self._time(), delay, took)

    def unread(self, lasted: float) -> None:
        """Note for how many seconds a stream had always a next message that had come already."""
        self._intake.unread(self._time(), lasted)

    def is_shut(self) -> bool:
        """Whether no transaction at all may begin now."""
        if len(self.transactions) >= self._settings.transactions_in_memory_max:
            return True
        return self._intake.shut(self._time(), len(self.records))

    def turn_away(self, xid: str, count: int = 1) -> Overloaded:
        """Count transactions that are not let in while the door is shut; return what to say.

        `xid` is of one of them.
        """
        hint_ms = self._intake.refuse(self._time(), xid, count)
        full = len(self.transactions) >= self._settings.transactions_in_memory_max
        return Overloaded(_FULL if full else _CROWDED, hint_ms)

    def check(self, branches: tuple[BranchSpec, ...]) -> None:
        """Turn a new transaction away, or not. Raises Overloaded, or DoorShut.

        It counts nothing: whoever is refused here may turn out to be known already.
        """
        if self.is_shut():
            raise DoorShut
        half = self._settings.transactions_in_memory_max // 2
        behind = self._lanes.behind(self._time(), len(self.transactions) >= half)
        if not behind:
            return
        for branch in branches:
            # A delivery waits in the journal, and costs nobody anything.
            found = None if branch.is_delivery else behind.get(branch.participant)
            if found is not None:
                why = f"{found.why}. Nothing was begun; ask again a little later."
                raise Overloaded(why, found.hint_ms)

    def let_in(self) -> None:
        """Note that a transaction begins."""
        self._intake.let_in(self._time())

    def _answered(self, participant: str) -> int:
        attempts = self._meters.attempts[participant]
        return sum(count for (_, fate), count in attempts.items() if fate is not None)
