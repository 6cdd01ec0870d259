"""Named places at which a crash test kills this process, as `kill -9` would.

A process is armed by its environment only: `TRYPACT_FAILPOINT=after-decision` dies at the first
visit, `TRYPACT_FAILPOINT=after-decision:3` at the third. Without it a visit costs one comparison.
"""

import os
import signal
from collections.abc import Callable
from enum import Enum

from trypact_coordinator.core.outcome import Record


class Failpoint(Enum):
    """Where the protocol's promises are tested; each is visited once for each transaction.

    Those of the pivot only by a transaction that has one.
    """

    # The begin record is not durable yet: nothing may have left.
    BEFORE_BEGIN = "before-begin"
    # It is durable, and no Try has left.
    AFTER_BEGIN = "after-begin"
    # Every Try before the pivot is OK, and it is not durable yet that only the pivot decides.
    BEFORE_PIVOT = "before-pivot"
    # It is durable, and the pivot's Try has not left.
    AFTER_PIVOT = "after-pivot"
    # Every Try is OK or one is refused, and the decision is not durable yet.
    BEFORE_DECISION = "before-decision"
    # It is durable, and no Confirm or Cancel has left and nobody was told.
    AFTER_DECISION = "after-decision"
    # Every tcc and saga branch is settled, and the finish is not durable yet.
    BEFORE_FINISH = "before-finish"
    AFTER_FINISH = "after-finish"


def _kill_this_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Failpoints:
    """The armed failpoint of a coordinator, if any.

    Args:
        armed: `name` or `name:visits`, as in the environment variable; empty for none.
        die: ends the coordinator; where it is not a process of its own, something else does.
    """

    def __init__(self, armed: str = "", die: Callable[[], None] = _kill_this_process) -> None:
        self._die = die
        self.arm(armed)

    def arm(self, armed: str) -> None:
        """Die at that failpoint; empty for none. Raises ValueError for an unknown name."""
        name, _, visits = armed.partition(":")
        self._armed = Failpoint(name) if name else None
        self._visits_left = int(visits or 1)

    @classmethod
    def from_environment(cls) -> "Failpoints":
        """Arm what TRYPACT_FAILPOINT names. Raises ValueError for an unknown name."""
        return cls(os.environ.get("TRYPACT_FAILPOINT", ""))

    def before_record(self, record: Record) -> None:
        """Visit the failpoint before this record is written, if it has one."""
        if self._armed is None:
            return
        tx = record.transaction
        if tx.version == 1:
            self.visit(Failpoint.BEFORE_BEGIN)
        elif tx.settled:
            self.visit(Failpoint.BEFORE_FINISH)
        elif tx.decided:
            self.visit(Failpoint.BEFORE_DECISION)
        elif tx.pivot_sent and record.forced:
            self.visit(Failpoint.BEFORE_PIVOT)

    def after_record(self, record: Record) -> None:
        """Visit the failpoint after this record is durable, if it has one."""
        if self._armed is None:
            return
        tx = record.transaction
        if tx.settled:
            self.visit(Failpoint.AFTER_FINISH)
        elif tx.decided:
            self.visit(Failpoint.AFTER_DECISION)
        elif tx.version == 1:
            self.visit(Failpoint.AFTER_BEGIN)
        elif tx.pivot_sent and record.forced:
            self.visit(Failpoint.AFTER_PIVOT)

    def visit(self, failpoint: Failpoint) -> None:
        """Die here if this is the armed failpoint's turn."""
        if failpoint is not self._armed:
            return
        self._visits_left -= 1
        if self._visits_left == 0:
            self._die()
