"""What the command `trypact` runs: imports nothing that only the extra `server` brings."""

import sys


def main() -> int:
    """Run the command line; return its exit code. Without the extra, say how to install it."""
    try:
        from trypact_coordinator.cli.main import main as run
    except ModuleNotFoundError as missing:
        sys.stderr.write(
            "error: the command line is not installed\n"
            f"  why: it needs {missing.name}\n"
            "   do: pip install 'trypact[server]'\n"
        )
        return 1
    return run()
