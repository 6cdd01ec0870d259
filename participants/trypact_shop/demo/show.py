"""How the demo looks: calm, on one console, with the reason for each step."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.padding import Padding
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

from trypact_shop.demo.proof import Section

SCENES = 5
_INDENT = (0, 0, 0, 5)
# What a panel's frame takes of the width.
_FRAME = 4


class Show:
    """Everything that the demo prints."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._scene = 0

    @property
    def terminal_width(self) -> int:
        """How wide the output of a command may be."""
        return max(self.console.width - _FRAME, 40)

    def scene(self, title: str, why: str) -> None:
        """Begin a scene."""
        self._scene += 1
        self.console.print()
        self.console.print(f"[bold cyan]{self._scene}/{SCENES}[/]  [bold]{title}[/]")
        self.console.print(Padding(f"[dim]{why}[/]", _INDENT))

    def good(self, text: str) -> None:
        """Say what went as it must."""
        self.console.print(Padding(f"[green]✓[/] {text}", _INDENT))

    def killed(self, text: str) -> None:
        """Say who died."""
        self.console.print(Padding(f"[red]✗ {text}[/]", _INDENT))

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
        self.console.print(Padding(table, _INDENT))

    def proof(self, sections: Sequence[Section]) -> None:
        """Show every claim."""
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
        table.add_column()
        table.add_column(justify="right")
        table.add_column(justify="center")
        table.add_column(justify="right")
        table.add_column()
        for section in sections:
            table.add_row(f"[bold]{section.subject}[/]")
            for claim in section.claims:
                mark = "[green]✓[/]" if claim.holds else "[bold red]✗[/]"
                sign = "=" if claim.holds else "[bold red]≠[/]"
                table.add_row(f"  {claim.what}", claim.left, sign, claim.right, mark)
        self.console.print(Padding(table, _INDENT))
