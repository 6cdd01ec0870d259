"""`trypact journal`: migrate, prune and verify a journal, without a coordinator."""

import os
from collections.abc import Callable, Coroutine
from typing import Any

import click

from trypact_coordinator.cli.failures import Failure
from trypact_coordinator.cli.output import Format, output_option, print_json, print_table
from trypact_coordinator.cli.remote import duration_ms
from trypact_coordinator.settings import DEV_JOURNAL, FIELDS, variable_of


@click.group()
def journal() -> None:
    """Migrate, prune and verify a journal.

    These work on the journal itself, not through a coordinator.
    """


def _journal_option(command: Callable[..., Any]) -> Callable[..., Any]:
    default = str(FIELDS["journal"].default)
    return click.option(
        "--journal",
        "url",
        envvar=variable_of("journal"),
        default=default,
        metavar="URL",
        help=f"{FIELDS['journal'].metadata['about']} [{variable_of('journal')}; default {default}]",
    )(command)


@journal.command()
@_journal_option
def migrate(url: str) -> None:
    """Bring the schema to this version; creates it in an empty database.

    Refused while a coordinator runs on the journal.
    """
    from trypact_coordinator.journal import administration

    migrated = _run(administration.migrate(url))
    if migrated.found == migrated.now:
        click.echo(f"The schema is at version {migrated.now} already.", err=True)
    else:
        click.echo(f"The schema went from version {migrated.found} to {migrated.now}.", err=True)


@journal.command()
@_journal_option
@click.option(
    "--older-than",
    type=duration_ms,
    required=True,
    metavar="DURATION",
    help="Delete what finished longer ago than that, such as 30d. Required.",
)
def prune(url: str, older_than: int) -> None:
    """Delete what finished long ago and has nothing left to do.

    Refused while a coordinator runs on the journal; that one prunes by itself. A pruned xid may
    be used again.
    """
    from trypact_coordinator.journal import administration

    owner = f"trypact journal prune, process {os.getpid()}"
    gone = _run(administration.prune(url, owner, older_than * 1_000))
    noun = "transaction" if gone == 1 else "transactions"
    click.echo(f"{gone} {noun} deleted.", err=True)


@journal.command()
@_journal_option
@output_option
def verify(url: str, output: Format) -> None:
    """Read every row and hold it against its own content; changes nothing.

    Exits with 1 when something is wrong. Can run beside a coordinator.
    """
    from trypact_coordinator.journal import administration

    if absent := _absent(url):
        raise absent
    verified = _run(administration.verify(url))
    if output in (Format.JSON, Format.JSONL):
        print_json(_view(verified))
    elif output is Format.IDS:
        for xid in dict.fromkeys(xid for xid, _ in verified.problems):
            click.echo(xid)
    else:
        rows = [[state.name, str(count)] for state, count in verified.states.items()]
        rows += [["in all", str(verified.transactions)], ["unfinished", str(verified.unfinished)]]
        rows += [["stuck", str(verified.stuck)], ["paused", str(verified.paused)]]
        print_table(["STATE", "TRANSACTIONS"], rows)
        click.echo(f"schema version {verified.schema_version}", err=True)
        for xid, what in verified.problems:
            click.echo(f"{xid}: {what}", err=True)
    if verified.problems_total:
        raise Failure(
            "the journal does not hold together",
            f"{verified.problems_total} problems were found",
            "Keep a copy of it, and report them; do not delete anything.",
        )


def _view(verified: Any) -> dict[str, Any]:
    return {
        "schema_version": verified.schema_version,
        "transactions": verified.transactions,
        "states": {state.name: count for state, count in verified.states.items()},
        "unfinished": verified.unfinished,
        "stuck": verified.stuck,
        "paused": verified.paused,
        "instances": verified.instances,
        "problems": [{"xid": xid, "what": what} for xid, what in verified.problems],
        "problems_total": verified.problems_total,
    }


def _run(main: Coroutine[Any, Any, Any]) -> Any:
    import asyncio

    return asyncio.run(main)


def _absent(url: str) -> Failure | None:
    """Return what to say when nothing is at the address that is used unless one is named."""
    from trypact_coordinator.journal.url import is_sqlite, sqlite_path

    default = str(FIELDS["journal"].default)
    if url != default or not is_sqlite(url) or sqlite_path(url).exists():
        return None
    return Failure(
        "there is no journal to verify",
        f"nothing is at {default}, where `trypact serve` keeps it by default",
        f"Name it with --journal; `trypact dev` keeps it at {DEV_JOURNAL}.",
    )
