"""Named places at which a participant kills itself, as `kill -9` would, to show a recovery.

Armed by the environment only: TRYPACT_SHOP_FAILPOINT=balance.freeze:confirm dies when the first
Confirm of that action arrives, before anything of it happens. With `:committed` at the end
(balance.freeze:confirm:committed) it dies after the local transaction has committed and before
the coordinator hears of it.
"""

import os
import signal
from collections.abc import Callable
from typing import Any

from trypact.call import Answer, FencedCall, PendingType
from trypact.fence import Fence

from trypact_shop.errors import Invalid

VARIABLE = "TRYPACT_SHOP_FAILPOINT"
_OPERATIONS = ("try", "confirm", "cancel", "deliver")
_ALLOWED = f"ACTION:OPERATION[:committed], where OPERATION is one of {', '.join(_OPERATIONS)}"


class Failpoint:
    """A fence that lets this process die at one operation of one action.

    It answers one call at a time, so that it is known which one the process died at.

    Args:
        fence: the fence that does the work.
        armed: where to die, as in the environment variable.

    Raises Invalid.
    """

    def __init__(self, fence: Fence, armed: str) -> None:
        action, _, rest = armed.partition(":")
        operation, _, when = rest.partition(":")
        if not action or operation not in _OPERATIONS or when not in ("", "committed"):
            raise Invalid(VARIABLE, repr(armed), _ALLOWED)
        self._fence = fence
        self._at = (action, operation)
        self._committed = when == "committed"

    def run(self, call: FencedCall, handler: Callable[[Any], bytes | PendingType], /) -> Answer:
        """Run the call, or die."""
        here = (call.action, str(call.operation)) == self._at
        if here and not self._committed:
            os.kill(os.getpid(), signal.SIGKILL)
        answer = self._fence.run(call, handler)
        if here:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer


def armed_by_environment(fence: Fence) -> Fence:
    """Return the fence, with the failpoint that the environment names, if it names one."""
    armed = os.environ.get(VARIABLE, "")
    return Failpoint(fence, armed) if armed else fence
