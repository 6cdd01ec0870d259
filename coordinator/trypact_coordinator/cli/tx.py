"""`trypact tx`: see transactions."""

from collections.abc import Callable
from typing import Any

import click

from trypact_coordinator.cli.acts import COMMANDS, conclude
from trypact_coordinator.cli.failures import USAGE, Failure
from trypact_coordinator.cli.output import (
    Column,
    Format,
    ago,
    ahead,
    output_option,
    print_json,
    print_prose,
    print_rows,
)
from trypact_coordinator.cli.remote import (
    Remote,
    connected,
    duration_ms,
    read_xids,
    remote_options,
)
from trypact_coordinator.durations import briefly, write_ms

_PAGE_SIZE = 500
# Unfinished transactions that `tx stuck` looks through for those that wait.
_WAITING_SCAN_MAX = 5_000


@click.group()
def tx() -> None:
    """See transactions, and act on them.

    Where a command takes XID, `-` reads them from stdin, one a line.
    """


for _command in COMMANDS:
    tx.add_command(_command)


# ---------------------------------------------------------------- list


@tx.command("list")
@click.option("--state", metavar="STATE", help="TRYING, CONFIRMING, CANCELLING, ...")
@click.option("--name", metavar="NAME", help="Of the kind of business, such as order.submit.")
@click.option("--label", metavar="KEY=VALUE", help="One of its labels.")
@click.option("--participant", metavar="NAME", help="Has a branch of this participant.")
@click.option("--stuck", is_flag=True, help="Needs a human.")
@click.option("--paused", is_flag=True, help="Paused by an operator.")
@click.option("--unfinished", is_flag=True, help="Has something left to do.")
@click.option("--since", type=duration_ms, metavar="DURATION", help="Begun within, such as 1h.")
@click.option("--older-than", type=duration_ms, metavar="DURATION", help="Begun before that.")
@click.option("--filter", "filter_", metavar="FILTER", help="Such as: state=TRYING AND stuck=true.")
@click.option("--limit", type=click.IntRange(1), default=50, help="At most so many. [default 50]")
@output_option
@remote_options
def list_(
    output: Format, server: str, timeout: int, limit: int, filter_: str | None, **terms: Any
) -> None:
    """List transactions, newest first; every condition given must hold."""
    text = _filter(filter_, **terms)
    with connected(server, timeout) as remote:
        rows, now = _search(remote, text, limit)
    more = len(rows) > limit
    _print_summaries(output, rows[:limit], now)
    if more and output in (Format.TABLE, Format.WIDE):
        click.echo(f"There are more; --limit {limit * 10} shows them.", err=True)


def _filter(
    filter_: str | None,
    *,
    state: str | None,
    name: str | None,
    label: str | None,
    participant: str | None,
    stuck: bool,
    paused: bool,
    unfinished: bool,
    since: int | None,
    older_than: int | None,
) -> str:
    """Write the options of `tx list` as one filter."""
    terms = [filter_] if filter_ and filter_.strip() else []
    if label is not None:
        key, equals, value = label.partition("=")
        if not key or not equals:
            raise Failure(
                "the transactions could not be listed",
                f"--label: {label!r} has no value",
                "Write --label KEY=VALUE.",
                USAGE,
            )
        terms.append(f"label.{_quoted(key)}={_quoted(value)}")
    texts = {"state": state, "name": name, "participant": participant}
    terms += [f"{key}={_quoted(text)}" for key, text in texts.items() if text is not None]
    flags = {"stuck": stuck, "paused": paused, "unfinished": unfinished}
    terms += [f"{key}=true" for key, given in flags.items() if given]
    ages = {"newer_than": since, "older_than": older_than}
    terms += [f"{key}={write_ms(age)}" for key, age in ages.items() if age is not None]
    return " AND ".join(terms)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _search(remote: Remote, filter_: str, limit: int) -> tuple[list[Any], int]:
    """Return what is found, with the coordinator's time.

    At most `limit` rows, and one more if there are more.
    """
    from trypact.v1 import admin_pb2

    from trypact_coordinator.cli.views import micros

    admin = remote.admin()
    rows: list[Any] = []
    token, left = "", limit + 1
    while True:
        request = admin_pb2.ListTransactionsRequest(
            page_size=min(left, _PAGE_SIZE), page_token=token, filter=filter_
        )
        page = remote.call(admin.ListTransactions, request, "the transactions could not be listed")
        rows += page.transactions
        token, left = page.next_page_token, limit + 1 - len(rows)
        if not token or left <= 0:
            return rows, micros(page, "now")


def _print_summaries(output: Format, rows: list[Any], now: int) -> None:
    from trypact_coordinator.cli import views

    def mark(row: Any) -> str:
        state = views.state_name(row.state)
        if row.stuck_reason:
            return f"STUCK {state.lower()}"
        return f"PAUSED {state.lower()}" if row.paused else state

    columns: list[Column] = [
        ("XID", lambda row: row.xid),
        ("NAME", lambda row: row.name or "-"),
        ("STATE", mark),
        ("BEGAN", lambda row: ago(views.micros(row, "created_at"), now)),
        ("WAITS FOR", lambda row: views.awaited(row) or "-"),
    ]
    wide: list[Column] = [
        ("BRANCHES", lambda row: str(row.branches)),
        ("LABELS", lambda row: ", ".join(f"{k}={v}" for k, v in sorted(row.labels.items()))),
    ]
    print_rows(output, rows, views.summary_view, columns, wide, empty="No transactions found.")


# ---------------------------------------------------------------- stuck


@tx.command()
@click.option("--limit", type=click.IntRange(1), default=100, help="At most so many. [default 100]")
@output_option
@remote_options
def stuck(output: Format, server: str, timeout: int, limit: int) -> None:
    """Show what needs a human, and what waits beyond its first back-off."""
    with connected(server, timeout) as remote:
        stuck_rows, _ = _search(remote, "stuck=true", limit)
        unfinished, now = _search(remote, "unfinished=true", _WAITING_SCAN_MAX)
    found = {row.xid: row for row in stuck_rows}
    found |= {row.xid: row for row in unfinished if _waits(row)}
    rows = sorted(found.values(), key=_urgency)[:limit]
    from trypact_coordinator.cli import views

    def since(row: Any) -> str:
        failing = views.micros(row.waiting_for, "failing_since")
        return briefly(now - (failing or views.micros(row, "created_at")))

    def next_try(row: Any) -> str:
        return ahead(views.micros(row.waiting_for, "next_attempt_at"), now).removeprefix("in ")

    columns: list[Column] = [
        ("XID", lambda row: row.xid),
        ("NEEDS", _needs),
        ("WAITS FOR", lambda row: views.awaited(row) or "-"),
        ("SINCE", since),
        ("CALLS", lambda row: str(row.waiting_for.attempts or "-")),
        ("NEXT", next_try),
    ]
    wide: list[Column] = [
        ("STATE", lambda row: views.state_name(row.state)),
        ("ACTION", lambda row: row.waiting_for.action or "-"),
        ("NAME", lambda row: row.name or "-"),
    ]

    def view(row: Any) -> dict[str, Any]:
        return views.summary_view(row) | {"needs_human": bool(row.stuck_reason)}

    print_rows(
        output,
        rows,
        view,
        columns,
        wide,
        empty="Nothing is stuck, nothing waits.",
        under=lambda row: row.waiting_for.reason or row.stuck_reason or "no error",
    )


def _waits(row: Any) -> bool:
    branch = row.waiting_for
    beyond_first = branch.attempts > 1 and branch.HasField("failing_since")
    return bool(row.stuck_reason or row.paused or beyond_first)


def _needs(row: Any) -> str:
    if row.stuck_reason:
        return "human"
    return "resume" if row.paused else "time"


def _urgency(row: Any) -> tuple[bool, int]:
    since = row.waiting_for.failing_since.seconds or row.created_at.seconds
    return not row.stuck_reason, int(since)


# ---------------------------------------------------------------- show, explain, watch


@tx.command()
@click.argument("xids", metavar="XID...", nargs=-1, required=True)
@output_option
@remote_options
def show(xids: tuple[str, ...], output: Format, server: str, timeout: int) -> None:
    """Show transactions whole: branches, attempts, timeline, and the same in words."""
    from trypact_coordinator.cli import views
    from trypact_coordinator.cli.timeline import print_transaction

    with connected(server, timeout) as remote:
        answers, finish = _show_each(remote, xids)

    def view(answer: Any) -> dict[str, Any]:
        return views.detail_view(answer.transaction, answer.explanation)

    if output is Format.JSON and len(xids) == 1 and len(answers) == 1 and xids != ("-",):
        print_json(view(answers[0]))
    elif output in (Format.JSON, Format.JSONL, Format.IDS):
        print_rows(output, answers, view, [], id_of=lambda row: row.transaction.summary.xid)
    else:
        for place, answer in enumerate(answers):
            if place:
                click.echo()
            print_transaction(answer, wide=output is Format.WIDE)
    finish()


@tx.command()
@click.argument("xids", metavar="XID...", nargs=-1, required=True)
@remote_options
def explain(xids: tuple[str, ...], server: str, timeout: int) -> None:
    """Say in plain words what a transaction does, who holds it up, and what you may do."""
    with connected(server, timeout) as remote:
        answers, finish = _show_each(remote, xids)
    for place, answer in enumerate(answers):
        if place:
            click.echo()
        print_prose(answer.explanation)
    finish()


def _show_each(remote: Remote, xids: tuple[str, ...]) -> tuple[list[Any], Callable[[], None]]:
    """Ask for each. Returns the answers, and what raises the failures once they are printed."""
    from trypact.v1 import admin_pb2

    admin = remote.admin()
    wanted = read_xids(xids)
    answers, failures = [], []
    for xid in wanted:
        request = admin_pb2.ShowTransactionRequest(xid=xid)
        try:
            what = f"transaction {xid} could not be shown"
            answers.append(remote.call(admin.ShowTransaction, request, what))
        except Failure as failure:
            failures.append(failure)
    return answers, lambda: conclude(failures, len(wanted), "shown")


@tx.command()
@click.argument("xid")
@click.option(
    "--every",
    type=duration_ms,
    default="500ms",
    metavar="DURATION",
    help="How often to look. [default 500ms]",
)
@remote_options
def watch(xid: str, every: int, server: str, timeout: int) -> None:
    """Print a transaction's timeline as it grows, until nothing is left to do."""
    from threading import Event

    from trypact.v1 import admin_pb2

    from trypact_coordinator.cli.timeline import is_over, print_new_entries

    request = admin_pb2.ShowTransactionRequest(xid=xid)
    never, seen = Event(), 0
    with connected(server, timeout) as remote:
        admin = remote.admin()
        while True:
            answer = remote.call(
                admin.ShowTransaction, request, f"transaction {xid} could not be watched"
            )
            seen = print_new_entries(answer.transaction, seen)
            if is_over(answer.transaction):
                return
            never.wait(every / 1_000)
