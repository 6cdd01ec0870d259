"""Ties a process to the one that starts it, then becomes the command: `tether PARENT COMMAND...`.

Linux kills a tethered process when its parent dies, however that dies; elsewhere a parent that is
killed at once leaves its children behind. Doing this in a
process of its own, and not between fork and exec, is safe in a parent that has threads.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process and become the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the parent has died already")
    os.execv(command[0], command)  # noqa: S606 (our own commands; there is no shell)


if __name__ == "__main__":
    main()
