"""`python -m tests.sim --seed N [--count K] [--verbose]`: run seeds, tell what happened in one."""

import argparse
import subprocess
import sys
import time

from tests.sim.oracle import OracleFailed
from tests.sim.simulation import Simulation


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--count", type=int, default=1, help="how many seeds, one after another")
    parser.add_argument("--verbose", action="store_true", help="print the whole timeline")
    arguments = parser.parse_args()
    began = time.monotonic()
    failed = []
    virtual_us = transactions = 0
    for seed in range(arguments.seed, arguments.seed + arguments.count):
        simulation = Simulation(seed)
        try:
            simulation.run()
        except (OracleFailed, AssertionError) as error:
            failed.append(seed)
            tell(simulation)
            print(f"\nseed {seed} failed: {error}\n{repro(seed)}", file=sys.stderr)
        else:
            if arguments.verbose:
                tell(simulation)
        virtual_us += simulation.loop.us
        transactions += len(simulation.jobs)
    took = time.monotonic() - began
    print(
        f"{arguments.count} seeds, {transactions} transactions, {virtual_us / 1e6:.0f} virtual "
        f"seconds in {took:.1f} s; failed: {failed or 'none'}"
    )
    return 1 if failed else 0


def tell(simulation: Simulation) -> None:
    """Print a run's timeline."""
    for at_us, line in simulation.trace:
        print(f"{at_us / 1e6:10.6f}  {line}")


def repro(seed: int) -> str:
    """Return the line that repeats a failure."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return f"at commit {commit or 'unknown'}: python -m tests.sim --seed {seed} --verbose"


if __name__ == "__main__":
    sys.exit(main())
