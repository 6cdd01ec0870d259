"""Measures this machine: `make bench`, or `python -m tests.bench --help`.

The real client, a real coordinator process and a no-op participant process, TCC of 4 branches, on
SQLite and on a PostgreSQL that syncs. Prints a table and writes it as a page. Absolute figures
move from day to day and from machine to machine: compare within one run.
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.bench.cases import JOURNALS, Bench, Case, Result
from tests.bench.load import SHAPES
from tests.bench.machine import Machine, this_machine
from tests.tidy.repository import ROOT

COLUMNS = (
    "journal",
    "clients",
    "tx/s",
    "p50 ms",
    "p99 ms",
    "coordinator",
    "client",
    "participant",
    "database",
    "commits/tx",
    "records/tx",
)
PAGE = """\
# Benchmark

Written by `make bench` on {date}. {machine}.

Each transaction is a {shape} of 4 branches at 4 no-op participants (one process, no database):
the real client, one coordinator process, everything on this one machine. Each client waits for its
outcome (all branches settled) before it opens the next transaction. The journal is durable:
SQLite with `synchronous=FULL`, PostgreSQL with `fsync` on. CPU is milliseconds for 1,000
transactions; *client* is all initiators together, and SQLite works inside the coordinator.

{table}

Absolute figures move from day to day and from machine to machine; compare within one run.
"""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a first look: 1 second a case")
    parser.add_argument("--seconds", type=float, default=5.0, help="watched time of each case")
    parser.add_argument("--clients", default="1,16,64", help="initiators at once, a case for each")
    parser.add_argument("--journals", default=",".join(JOURNALS), help="any of %(default)s")
    parser.add_argument("--shape", default="tcc", choices=sorted(SHAPES))
    parser.add_argument(
        "--out", type=Path, default=ROOT / "docs/benchmarks/latest.md", help="the page to write"
    )
    return parser.parse_args()


def cases(asked: argparse.Namespace) -> list[Case]:
    seconds = 1.0 if asked.quick else asked.seconds
    return [
        Case(
            journal=journal,
            shape=asked.shape,
            clients=int(clients),
            warm_up_seconds=min(seconds, 1.0),
            seconds=seconds,
        )
        for journal in asked.journals.split(",")
        for clients in asked.clients.split(",")
    ]


def cells(result: Result) -> list[str]:
    return [
        result.case.journal,
        str(result.case.clients),
        f"{result.rate:,.0f}",
        f"{result.p50_ms:.1f}",
        f"{result.p99_ms:.1f}",
        f"{result.coordinator_cpu_ms:,.0f}",
        f"{result.client_cpu_ms:,.0f}",
        f"{result.participant_cpu_ms:,.0f}",
        f"{result.database_cpu_ms:,.0f}" if result.database_cpu_ms else "-",
        f"{result.commits:.2f}",
        f"{result.records:.2f}",
    ]


def page(results: Sequence[Result], machine: Machine, shape: str) -> str:
    lines = [COLUMNS, ["---"] * len(COLUMNS), *map(cells, results)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    date = datetime.now(UTC).date().isoformat()
    return PAGE.format(date=date, machine=machine.describe(), shape=shape, table=table)


def main() -> int:
    asked = arguments()
    console = Console(stderr=True)
    machine = this_machine()
    console.print(machine.describe(), style="dim")
    if machine.load > machine.cores / 2:
        console.print("This machine is busy; the figures will be low.", style="yellow")
    bench, results = Bench(), []
    try:
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console) as progress:
            everything = cases(asked)
            bar = progress.add_task("starting", total=2 * len(everything))
            for case in everything:
                what = f"{case.journal}, {case.shape}, {case.clients} clients"
                progress.update(bar, description=what)
                results.append(bench.run(case, tick=lambda: progress.advance(bar)))
                progress.advance(bar)
                progress.print(f"{what}: {results[-1].rate:,.0f} tx/s")
    finally:
        bench.close()
    table = Table(title=f"{asked.shape}, 4 branches; CPU in ms for 1,000 transactions")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "journal" else "right", no_wrap=True)
    for result in results:
        table.add_row(*cells(result))
    Console(width=None if sys.stdout.isatty() else 132).print(table)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(page(results, machine, asked.shape))
    console.print(f"written to {asked.out}", style="dim")
    return 0


if __name__ == "__main__":
    sys.exit(main())
