"""How the demo looks: calm, on one console, with the reason for each step."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from trypact_shop.demo.proof import Claim

SCENES = 5


class Show:
    """Everything that the demo prints."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._scene = 0

    def scene(self, title: str, why: str) -> None:
        """Begin a scene."""
        self._scene += 1
        self.console.print()
        self.console.print(f"[bold cyan]{self._scene}/{SCENES}[/]  [bold]{title}[/]")
        self.console.print(f"     [dim]{why}[/]")

    def note(self, text: str) -> None:
        """Say what has happened."""
        self.console.print(f"     {text}", highlight=False)

    def good(self, text: str) -> None:
        """Say what went as it must."""
        self.console.print(f"     [green]✓[/] {text}", highlight=False)

    def killed(self, text: str) -> None:
        """Say who died."""
        self.console.print(f"     [red]✗ {text}[/]", highlight=False)

    def terminal(self, command: str, output: str) -> None:
        """Show a command as people would run it, and what it printed."""
        text = Text.assemble(("$ " + command, "bold"), "\n", output.rstrip())
        panel = Panel(text, box=box.ROUNDED, border_style="dim", padding=(0, 1))
        self.console.print(panel)

    def progress(self) -> Progress:
        """Return a progress bar for the orders."""
        return Progress(
            TextColumn("     [progress.description]{task.description}"),
            BarColumn(bar_width=36),
            TaskProgressColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.console,
        )

    def refusals(self, counts: Sequence[tuple[str, str, int]]) -> None:
        """Show who refused how many orders, and why."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("refused by")
        table.add_column("why")
        table.add_column("orders", justify="right")
        for participant, code, count in counts:
            table.add_row(participant, code.replace("_", " "), str(count))
        self.console.print(_indented(table))

    def proof(self, claims: Sequence[Claim]) -> None:
        """Show every claim."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("")
        table.add_column("what must be equal")
        table.add_column("is", justify="right")
        table.add_column("must be", justify="right")
        table.add_column("")
        for claim in claims:
            mark = "[green]✓[/]" if claim.holds else "[bold red]✗[/]"
            table.add_row(f"[bold]{claim.subject}[/]", claim.what, claim.left, claim.right, mark)
        self.console.print(_indented(table))


def _indented(table: Table) -> Table:
    outer = Table.grid(padding=0)
    outer.add_column(width=5)
    outer.add_column()
    outer.add_row("", table)
    return outer
