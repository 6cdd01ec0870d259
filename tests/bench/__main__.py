"""Measures this machine: `make bench`, or `python -m tests.bench --help`.

Every case on the real client, a real coordinator process and a database that syncs, beside a bare
loop of our own. Absolute figures move from day to day and from machine to machine: compare within
one run.
"""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table as PrintedTable

from tests.bench import cases, findings, plots, report
from tests.bench.findings import Findings, Table
from tests.bench.machine import this_machine
from tests.bench.plan import Plan, Step
from tests.bench.recovery import recovery
from tests.bench.rig import Rig
from tests.bench.shop import shop
from tests.bench.soak import soak
from tests.bench.tabled import local, neighbour, overload
from tests.tidy.repository import ROOT

CASES: dict[str, Callable[[Plan], Iterator[Step]]] = {
    "tcc": cases.tcc,
    "bare": cases.bare,
    "rollback": cases.rollback,
    "interactive": cases.interactive,
    "saga": cases.saga,
    "shop": shop,
    "local": local,
    "overload": overload,
    "neighbour": neighbour,
    "recovery": recovery,
    "soak": soak,
}
# Each load of the one stands beside the same load of the other.
COMPARED = ("tcc", "bare")
BUSY = (
    "The machine was busy with other work: rates are low and uneven, also those of one load "
    "against another. CPU and records for each transaction are what can be relied on."
)
PAGE = ROOT / "docs/benchmarks/latest.md"
DEFAULT = Plan()
QUICK = Plan(clients=(1, 64), warm_up_seconds=0.5, seconds=1.0, soak_seconds=3.0, in_flight=(100,))
QUICK_CASES = ("tcc", "bare", "rollback", "recovery", "soak")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a first look, within a minute")
    parser.add_argument("--cases", type=_words, help=f"any of {','.join(CASES)}")
    parser.add_argument("--clients", type=_numbers, help="initiators at once, a load for each")
    parser.add_argument("--journals", type=_words, help=f"any of {','.join(DEFAULT.journals)}")
    parser.add_argument("--seconds", type=float, help="watched time of each load")
    parser.add_argument("--soak-seconds", type=float, help="watched time of the soak")
    parser.add_argument("--in-flight", type=_numbers, help="transactions at the kill, for recovery")
    parser.add_argument(
        "--out", type=Path, help="the page to write, figures and plots beside it; "
        f"{PAGE.relative_to(ROOT)} if everything is run"
    )  # fmt: skip
    parser.add_argument(
        "--draw", action="store_true", help="only write the page again, from its figures"
    )
    return parser.parse_args()


def plan_of(asked: argparse.Namespace) -> Plan:
    fields = [field.name for field in dataclasses.fields(Plan)]
    given = {name: value for name in fields if (value := getattr(asked, name, None)) is not None}
    return dataclasses.replace(QUICK if asked.quick else DEFAULT, **given)


def steps_of(asked: argparse.Namespace) -> list[Step]:
    plan = plan_of(asked)
    names = asked.cases or (QUICK_CASES if asked.quick else tuple(CASES))
    steps = {name: list(CASES[name](plan)) for name in names}
    # Beside each other in time, so that a machine that slows down slows both.
    compared = [step for name in COMPARED for step in steps.pop(name, [])]
    compared.sort(key=lambda step: step.clients)
    return [*compared, *(step for rest in steps.values() for step in rest)]


def run(steps: list[Step], console: Console) -> Findings:
    """Run the steps, one after the other; one that fails is reported, and the others go on."""
    machine = this_machine()
    console.print(machine.describe(), style="dim")
    found = Findings(datetime.now(UTC).date().isoformat(), machine.describe())
    if machine.load > machine.cores / 2:
        found.remark = BUSY
        console.print(BUSY, style="yellow")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Rig() as rig, Progress(*columns, console=console) as progress:
        bar = progress.add_task("starting", total=sum(step.seconds for step in steps))
        for step in steps:
            progress.update(bar, description=step.what)
            try:
                progress.print(f"{step.what}: {step.run(rig, found)}")
            except Exception as error:
                console.print_exception()
                found.failed.append(f"{step.what}: {type(error).__name__}")
            progress.advance(bar, step.seconds)
    return found


def write(found: Findings, page: Path) -> None:
    page.parent.mkdir(parents=True, exist_ok=True)
    findings.save(found, page.with_suffix(".json"))
    page.write_text(report.page(found, plots.draw(found, page.parent)))


def printed(table: Table) -> PrintedTable:
    shown = PrintedTable(title=table.title, title_justify="left")
    for column, right in zip(table.columns, report.to_the_right(table), strict=True):
        shown.add_column(column, justify="right" if right else "left", no_wrap=True)
    for row in table.rows:
        shown.add_row(*row)
    return shown


def main() -> int:
    asked = arguments()
    console = Console(stderr=True)
    everything = not (asked.quick or asked.cases)
    page: Path | None = asked.out or (PAGE if everything or asked.draw else None)
    if asked.draw and page is not None:
        found = findings.load(page.with_suffix(".json"))
    else:
        found = run(steps_of(asked), console)
    terminal = Console(width=None if sys.stdout.isatty() else 160)
    for table in report.tables(found):
        terminal.print(printed(table))
    if page is not None:
        write(found, page)
        console.print(f"written to {page}", style="dim")
    return 1 if found.failed else 0


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


if __name__ == "__main__":
    sys.exit(main())
