"""The journal's schema, as a list of numbered migrations for each database.

`0001_initial.sql` and its successors are run in order, each in one transaction together with the
row of `migrations` that records it. A file that was released is never edited.
"""

from importlib import resources

import msgspec

from trypact_coordinator.core.errors import SchemaMismatch


class Migration(msgspec.Struct, frozen=True):
    """One step of the schema."""

    version: int
    name: str
    sql: str


def migrations(database: str) -> tuple[Migration, ...]:
    """Return all migrations of a database ("sqlite" or "postgres"), oldest first."""
    folder = resources.files(__package__) / "migrations" / database
    found = []
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        number, _, name = file.name.removesuffix(".sql").partition("_")
        if file.name.endswith(".sql"):
            found.append(Migration(int(number), name, file.read_text("utf-8")))
    return tuple(found)


def check_version(where: str, found: int, needed: int) -> None:
    """Raise SchemaMismatch, saying what to do, unless both are the same."""
    if found == needed:
        return
    mend = (
        "Run `trypact journal migrate`."
        if found < needed
        else "It was written by a newer trypact: use that one."
    )
    raise SchemaMismatch(
        f"{where} has schema version {found}, and this trypact needs version {needed}. {mend}"
    )


class NotAJournal(SchemaMismatch):
    """The database holds something else. Give the journal a database of its own."""

    reason = "NOT_A_JOURNAL"


def foreign(where: str) -> NotAJournal:
    """Return the error for a database that holds tables, but none of a journal."""
    return NotAJournal(
        f"{where} holds tables that are no journal's. Give the journal a database of its own."
    )


def queries(database: str) -> dict[str, str]:
    """Return the named queries of a database: a comment `-- name: x` opens each."""
    text = (resources.files(__package__) / "queries" / f"{database}.sql").read_text("utf-8")
    found = {}
    for part in text.split("-- name: ")[1:]:
        name, _, body = part.partition("\n")
        lines = [line for line in body.splitlines() if not line.lstrip().startswith("--")]
        found[name.strip()] = "\n".join(lines).strip().rstrip(";")
    return found
