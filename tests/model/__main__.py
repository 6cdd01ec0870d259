"""`python -m tests.model [--branches 4] [--only NAME]`: visit every state and count them."""

import argparse
import sys
import time

from tests.model.configurations import configurations
from tests.model.explorer import explore
from tests.model.protocol import Model
from tests.model.world import Violation


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--branches", type=int, choices=(3, 4), default=3)
    parser.add_argument("--only", default="", help="the configurations whose name contains this")
    arguments = parser.parse_args()
    total, began = 0, time.monotonic()
    for name, config in configurations(arguments.branches).items():
        if arguments.only not in name:
            continue
        started = time.monotonic()
        print(f"{name}: ", end="", flush=True)
        try:
            total += explore(Model(config), say=lambda line: print(line, end="")).states
        except Violation as violation:
            print(f"\n{violation}", file=sys.stderr)
            return 1
        print(f" in {time.monotonic() - started:.1f} s")
    print(f"{total} states in {time.monotonic() - began:.1f} s; every invariant holds in each")
    return 0


if __name__ == "__main__":
    sys.exit(main())
