"""`trypact explain`: what an error means, and what to do about it. It asks no coordinator."""

from difflib import get_close_matches

import click

from trypact_coordinator.cli.failures import NOT_FOUND, Failure
from trypact_coordinator.cli.output import print_prose, print_table


@click.command()
@click.argument("reason", required=False)
def explain(reason: str | None) -> None:
    """Say what the REASON of an error means, and what to do about it; list all without one.

    A transaction is explained by `trypact tx explain XID`.
    """
    from trypact_coordinator.cli.catalogue import entries

    known = entries()
    if reason is None:
        rows = [(entry.reason, entry.advice.whose, entry.what) for entry in known.values()]
        print_table(("REASON", "WHOSE", "WHAT"), rows)
        return
    entry = known.get(_as_written(reason))
    if entry is None:
        raise _unknown(reason, list(known))
    print_prose(f"{entry.reason}: {entry.what}")
    for title, text in entry.paragraphs():
        click.echo()
        print_prose(f"{title}: {text}")


def _as_written(reason: str) -> str:
    """Return what somebody typed as reasons are written: `xid-conflict`, `Xid Conflict`."""
    return "_".join(reason.upper().replace("-", " ").replace("_", " ").split())


def _unknown(reason: str, known: list[str]) -> Failure:
    near = get_close_matches(_as_written(reason), known)
    why = f"the nearest: {', '.join(near)}" if near else "no reason is written like that"
    return Failure(
        f"there is no reason {reason!r}",
        why,
        "`trypact explain` lists all of them; `trypact tx explain XID` explains a transaction.",
        NOT_FOUND,
    )
