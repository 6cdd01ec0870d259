"""Every error that a coordinator can answer has advice for whoever sees it at the command line."""

from collections.abc import Iterator

import pytest
from trypact_coordinator.cli.advice import ADVICE
from trypact_coordinator.core.errors import (
    CallerError,
    CoordinatorError,
    JournalError,
    UnreadableRow,
)
from trypact_coordinator.journal import schema
from trypact_coordinator.server import errors, listening
from trypact_coordinator.settings import BadSetting

# What stands only for its subclasses, or speaks for itself.
ABSTRACT = {CoordinatorError, CallerError, JournalError}


def descendants(of: type[CoordinatorError]) -> Iterator[type[CoordinatorError]]:
    yield of
    for child in of.__subclasses__():
        yield from descendants(child)


def test_the_modules_that_add_errors_of_their_own_are_known() -> None:
    for error in (
        errors.Starting,
        listening.NotLoopback,
        schema.NotAJournal,
        BadSetting,
        UnreadableRow,
    ):
        assert error in descendants(CoordinatorError)


@pytest.mark.parametrize("error", sorted(set(descendants(CoordinatorError)) - ABSTRACT, key=str))
def test_an_error_has_advice(error: type[CoordinatorError]) -> None:
    assert ADVICE[error.reason].todo.endswith(".")
    assert ADVICE[error.reason].whose in ("caller", "nobody", "operator", "us")
