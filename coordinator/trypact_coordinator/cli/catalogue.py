"""Every error that a coordinator or a service can answer, with all there is to say about it.

The terminal (`trypact explain`) and the error pages of the reference are made from these entries,
so they say the same. It must never know an error that the coordinator does not: what an error is
called and what it means stands at its class.
"""

from collections.abc import Iterator
from typing import NamedTuple

# These modules add errors of their own to the tree.
import trypact_coordinator.journal.schema
import trypact_coordinator.server.errors
import trypact_coordinator.server.listening
import trypact_coordinator.settings  # noqa: F401
from trypact_coordinator.cli.advice import ADVICE, Advice
from trypact_coordinator.cli.failures import exit_code_of
from trypact_coordinator.cli.service_advice import SERVICE_ADVICE
from trypact_coordinator.core.errors import CallerError, CoordinatorError, JournalError

# What stands only for its subclasses.
_ABSTRACT = (CoordinatorError, CallerError, JournalError)

_WHOSE = {
    "business": "Nobody's: it is a business no, and an answer.",
    "caller": "The caller's, who sent the request.",
    "nobody": "Nobody's: it passes, and asking again helps.",
    "operator": "The operator's, of the coordinator or its journal.",
    "us": "Ours: it is a bug.",
}


class Entry(NamedTuple):
    """One reason: what it means, and what the reader of it can do."""

    reason: str
    # The name of the gRPC status.
    status: str
    # One or two sentences.
    what: str
    advice: Advice
    # Said by services to their callers, and by no coordinator.
    by_services: bool = False

    def paragraphs(self) -> Iterator[tuple[str, str]]:
        """Yield what there is to say, each paragraph with what it is about."""
        yield "When", self.advice.when
        yield "What to do", self.advice.todo
        yield "Whose it is", _WHOSE[self.advice.whose]
        if self.by_services:
            yield "On the wire", f"gRPC status `{self.status}`, details `{self.reason}: ...`."
        elif self.advice.raises:
            yield "On the wire", f"gRPC status `{self.status}`, ErrorInfo reason `{self.reason}`."
        if self.advice.raises:
            yield "In Python", f"`trypact.errors.{self.advice.raises}`."
        if not self.by_services:
            code = exit_code_of(self.status, self.reason)
            yield "At the command line", f"Exit code {code}."
        yield "For example", f"“{self.advice.example}”"


def entries() -> dict[str, Entry]:
    """Return all entries by reason: the coordinator's in the order of its tree, then services'."""
    found: dict[str, Entry] = {}
    for error in _tree(CoordinatorError):
        if error not in _ABSTRACT and error.reason not in found:
            what = " ".join((error.__doc__ or "").split())
            found[error.reason] = Entry(error.reason, error.status, what, ADVICE[error.reason])
    nameless = "Something failed that has no name."
    found["INTERNAL"] = Entry("INTERNAL", "INTERNAL", nameless, ADVICE["INTERNAL"])
    for reason, (status, what, advice) in SERVICE_ADVICE.items():
        found[reason] = Entry(reason, status, what, advice, by_services=True)
    return found


def _tree(root: type[CoordinatorError]) -> Iterator[type[CoordinatorError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)
