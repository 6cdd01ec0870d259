"""How `trypact tx show` draws one transaction: a headline, its branches, its timeline, words."""

from typing import Any

import click

from trypact_coordinator.cli import views
from trypact_coordinator.cli.output import (
    ago,
    ahead,
    print_prose,
    print_rich,
    print_table,
    style_of,
)
from trypact_coordinator.durations import briefly
from trypact_coordinator.text import one_line

_SIGNS = {
    "CONFIRMED": "●", "DELIVERED": "●", "CANCELLED": "●", "NOT_NEEDED": "○", "REGISTERED": "○",
    "REFUSED": "✕", "UNDELIVERED": "✕", "SKIPPED": "◇",
}  # fmt: skip
_UNDER_WAY = "◐"


def print_transaction(answer: Any, *, wide: bool) -> None:
    """Draw what ShowTransaction answered; `wide` adds order and sizes to the branches."""
    tx, now = answer.transaction, views.micros(answer, "now")
    _print_headline(tx, now)
    click.echo()
    _print_branches(tx, now, wide=wide)
    click.echo()
    _print_timeline(tx)
    click.echo()
    print_prose(answer.explanation)


def _print_headline(tx: Any, now: int) -> None:
    from rich.text import Text

    summary = tx.summary
    state = views.state_name(summary.state)
    line = Text.assemble((summary.xid, "bold"), ("  " + summary.name if summary.name else ""))
    line.append(f"  {state}", style_of(state))
    for mark, given in (("STUCK", bool(summary.stuck_reason)), ("PAUSED", summary.paused)):
        if given:
            line.append(f"  {mark}", style_of(mark))
    print_rich(line)
    began = views.micros(summary, "created_at")
    facts = [f"began {ago(began, now)}"]
    if summary.HasField("finished_at"):
        facts.append(f"took {briefly(views.micros(summary, 'finished_at') - began)}")
    elif tx.HasField("deadline_at") and not tx.HasField("decided_at"):
        facts.append(f"deadline {ahead(views.micros(tx, 'deadline_at'), now)}")
    elif not tx.HasField("decided_at"):
        facts.append("only its pivot decides")
    facts.append("interactive" if tx.interactive else "one shot")
    facts.append(f"version {tx.version}, epoch {tx.epoch}")
    facts += [f"{key}={one_line(value)}" for key, value in sorted(summary.labels.items())]
    print_rich(Text(" · ".join(facts), "dim"))


def _print_branches(tx: Any, now: int, *, wide: bool) -> None:
    if not tx.branches:
        print_rich("No branches.")
        return
    titles = ["BRANCH", "KIND", "ACTION", "STATE", "CALLS", "NEXT TRY", "LAST WORD"]
    if wide:
        titles[3:3] = ["AFTER", "PAYLOAD", "RESULT"]
    rows = []
    for branch in tx.branches:
        state = views.branch_state_name(branch.state)
        cells = [
            f"{_SIGNS.get(state, _UNDER_WAY)} {branch.id}",
            views.kind_name(branch.kind) + (", pivot" if branch.pivot else ""),
            branch.action + (f" on {branch.topic}" if branch.topic else ""),
            state,
            _calls(branch),
            ahead(views.micros(branch, "next_attempt_at"), now),
            branch.reason or "-",
        ]
        if wide:
            cells[3:3] = [
                ", ".join(branch.after) or "-",
                f"{branch.payload_bytes} B",
                f"{len(branch.result)} B",
            ]
        rows.append(cells)
    print_table(titles, rows)


def _calls(branch: Any) -> str:
    """Count the calls, and say what its budget is: `2 (budget: 5, 30s)`."""
    budget = [str(branch.attempts_max)] if branch.attempts_max else []
    budget += [briefly(branch.retry_for_ms * 1_000)] if branch.retry_for_ms else []
    if not budget:
        return str(branch.attempts or "-")
    return f"{branch.attempts} (budget: {', '.join(budget)})"


def _print_timeline(tx: Any) -> None:
    """Draw the timeline with its instants counted from the beginning."""
    from rich.table import Table
    from rich.text import Text

    began = views.micros(tx.summary, "created_at")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("AT", justify="right", no_wrap=True)
    table.add_column("EVENT", no_wrap=True)
    table.add_column("BRANCH", no_wrap=True)
    table.add_column("DETAIL", overflow="fold")
    for entry in tx.timeline:
        at = views.micros(entry, "at") - began
        style = _event_style(entry.event)
        table.add_row(
            _offset(at),
            Text(entry.event, style),
            Text(entry.branch_id),
            Text(one_line(entry.detail)),
        )
    print_rich(table)


_LEFT_TO_DO = frozenset({"REGISTERED", "TRYING", "TRIED", "CONFIRMING", "CANCELLING", "DELIVERING"})


def print_new_entries(tx: Any, seen: int) -> int:
    """Print the timeline's entries from number `seen` on; return how many there are now."""
    from rich.text import Text

    began = views.micros(tx.summary, "created_at")
    # A timeline that outgrew its limit lost some of its middle, and is shorter than before.
    for entry in tx.timeline[min(seen, len(tx.timeline)) :]:
        line = Text(f"{_offset(views.micros(entry, 'at') - began):>9}  ")
        line.append(f"{entry.event:<15}", _event_style(entry.event))
        line.append(f"  {entry.branch_id}  {one_line(entry.detail)}")
        print_rich(line)
    return len(tx.timeline)


def is_over(tx: Any) -> bool:
    """Whether a transaction is final and all its deliveries are done."""
    states = {views.branch_state_name(branch.state) for branch in tx.branches}
    return tx.summary.HasField("finished_at") and not states & _LEFT_TO_DO


def _offset(at: int) -> str:
    if at < 1_000_000:
        return f"+{at / 1_000:.1f}ms"
    if at < 60_000_000:
        return f"+{at / 1_000_000:.2f}s"
    return f"+{briefly(at)}"


def _event_style(event: str) -> str:
    if event.startswith("decided") or event in ("confirmed", "cancelled"):
        return "bold"
    if event.endswith(" ok"):
        return "green"
    if event.endswith((" unknown", " refused", "frozen")):
        return "red"
    return "yellow" if event.endswith((" retry", " pending")) else ""
