"""What the command `trypact` runs: imports nothing that only the extra `server` brings."""

import sys

from trypact_coordinator.cli.failures import FAILED, INTERRUPTED


def main() -> int:
    """Run the command line; return its exit code. Without the extra, say how to install it.

    From here on Ctrl-C is a word and an exit code, while the rest is imported too.
    """
    try:
        from trypact_coordinator.cli.main import main as run
    except ModuleNotFoundError as missing:
        sys.stderr.write(
            "error: the command line is not installed\n"
            f"  why: it needs {missing.name}\n"
            "   do: pip install 'trypact[server]'\n"
        )
        return FAILED
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return INTERRUPTED
    return run()
