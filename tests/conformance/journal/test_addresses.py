"""Addresses of journals: what each means, and what is none."""

from pathlib import Path

import pytest
from trypact_coordinator.core.errors import InvalidArgument
from trypact_coordinator.journal import open_journal
from trypact_coordinator.journal.memory import MemoryJournal
from trypact_coordinator.journal.postgres import PostgresJournal
from trypact_coordinator.journal.sqlite import SqliteJournal
from trypact_coordinator.journal.url import sqlite_path, without_password


def test_an_address_says_which_journal_it_names() -> None:
    assert isinstance(open_journal("memory:"), MemoryJournal)
    assert isinstance(open_journal("sqlite:///journal.db"), SqliteJournal)
    assert isinstance(open_journal("postgresql://ann@127.0.0.1/journal"), PostgresJournal)


def test_three_slashes_are_relative_and_four_absolute() -> None:
    assert sqlite_path("sqlite:///journal.db") == Path("journal.db")
    assert sqlite_path("sqlite:///data/journal.db") == Path("data/journal.db")
    assert sqlite_path("sqlite:////var/lib/my%20journal.db") == Path("/var/lib/my journal.db")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "journal.db",
        "/var/lib/journal.db",
        "memory",
        "memory://x",
        "sqlite:journal.db",
        "sqlite://journal.db",
        "sqlite:///",
        "sqlite:///data/",
        "sqlite:///:memory:",
        "sqlite:///journal.db?mode=ro",
        "mysql://ann:secret@127.0.0.1/journal",
        "SQLITE:///journal.db",
    ],
)
def test_what_is_no_address_is_refused_with_what_is_allowed(url: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        open_journal(url)
    assert caught.value.field == "journal"
    assert "sqlite:///file.db" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_password_is_never_shown() -> None:
    shown = without_password("postgresql://ann:p@ss:word@127.0.0.1:5432/journal")
    assert shown == "postgresql://ann@127.0.0.1:5432/journal"
    assert without_password("postgresql:///journal") == "postgresql:///journal"
    assert "secret" not in without_password("postgresql://127.0.0.1/x?password=secret&user=ann")
