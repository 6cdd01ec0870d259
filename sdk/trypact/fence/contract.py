"""What a participant needs of a fence."""

from collections.abc import Callable
from typing import Any, Protocol

from trypact.call import Answer, FencedCall, PendingType


class Fence(Protocol):
    """Runs each operation of each branch at most once, in the participant's own database."""

    def run(self, call: FencedCall, handler: Callable[[Any], "bytes | PendingType"], /) -> Answer:
        """Answer a call, running the handler only if it has not run before.

        Everything happens in one local transaction: the fence's row comes first, then the handler
        with the open connection, then the answer into the row. What the handler raises undoes all
        of it, but for the Refuse of a Try, which undoes the handler's part and stays as the
        answer. Blocks; it is called on a thread of its own.

        The handler may be run again when the database asks for it (deadlock, serialization); what
        it did before is undone then.

        Raises TryTooLate, FenceUnavailable, and whatever the handler raises but Refuse.
        """
        ...
