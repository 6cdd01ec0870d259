"""What an examination found: a line for each case, and the trace of what failed."""

from dataclasses import dataclass
from enum import StrEnum

from trypact.kinds import Kind


class Mark(StrEnum):
    """How a case ended.

    >>> report = await conformance(inventory, "inventory.reserve", {"pieces": 1})
    >>> [finding.name for finding in report.findings if finding.mark is Mark.FAILED]
    []
    """

    HELD = "✓"
    FAILED = "✗"
    NOT_TRIED = "–"


@dataclass(frozen=True)
class Finding:
    """One case, and how it ended.

    >>> report = await conformance(inventory, "inventory.reserve", {"pieces": 1})
    >>> print(report.findings[0].sentence)
    A Try is answered OK, and its Cancel takes everything back
    """

    name: str
    kind: Kind
    sentence: str
    mark: Mark
    # Why it failed, or was not tried.
    why: str = ""
    # The calls and answers in their order, where it failed.
    trace: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """All findings about one action. Its text is a table.

    >>> report = await conformance(inventory, "inventory.reserve", {"pieces": 1})
    >>> print(report)
    inventory.reserve: ... held, ... not tried...
    """

    action: str
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return not self.failed

    @property
    def failed(self) -> tuple[str, ...]:
        """The names of the cases that failed."""
        return tuple(each.name for each in self.findings if each.mark is Mark.FAILED)

    def __str__(self) -> str:
        width = max((len(each.name) for each in self.findings), default=0)
        lines = [self.headline]
        for each in self.findings:
            if each.mark is not Mark.NOT_TRIED:
                lines.append(f"{each.mark} {each.name:<{width}}  {each.sentence}")
            if each.mark is Mark.FAILED:
                lines += [f"      {line}" for line in (*each.trace, f"=> {each.why}")]
        lines += [f"{Mark.NOT_TRIED} {line}" for line in self.not_tried]
        return "\n".join(lines)

    @property
    def not_tried(self) -> tuple[str, ...]:
        """A line for each reason why cases were not tried, with their names."""
        names: dict[str, list[str]] = {}
        for each in self.findings:
            if each.mark is Mark.NOT_TRIED:
                names.setdefault(each.why, []).append(each.name)
        return tuple(f"{why}: {', '.join(those)}" for why, those in names.items())

    @property
    def headline(self) -> str:
        """Count the findings in one line."""
        marks = [each.mark for each in self.findings]
        counts = [
            f"{marks.count(mark)} {word}"
            for mark, word in (
                (Mark.HELD, "held"),
                (Mark.FAILED, "failed"),
                (Mark.NOT_TRIED, "not tried"),
            )
            if mark in marks
        ]
        return f"{self.action}: {', '.join(counts)}"


class NotConformant(AssertionError):
    """A participant breaks the contract; the message is the report, with the traces.

    >>> try:
    ...     await conformance(inventory, "inventory.reserve", {"pieces": 99})
    ... except NotConformant as no:
    ...     print(no.report.failed)
    ('try-and-cancel',)
    """

    def __init__(self, report: Report) -> None:
        self.report = report
        super().__init__(f"{report}")
